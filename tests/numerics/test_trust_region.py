"""Against dense solves, closed forms, finite differences, and SciPy's constrained optimiser."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from surefoot.numerics.trust_region import (
    alpha_projection,
    categorical_kl,
    conjugate_gradient,
    constrained_step,
    fisher_product,
    gaussian_kl,
    line_search,
    steepest_step,
)


def definite(seed, size, low=0.5):
    """A random symmetric matrix with eigenvalues from ``low`` to 3."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    return basis @ np.diag(rng.uniform(low, 3, size)) @ basis.T


def times(distribution, divergence, theta, v, damping=0.0):
    """F v, in one compiled call."""

    @jax.jit
    def product(theta, v):
        return fisher_product(distribution, divergence, theta, damping=damping)(v)

    return np.asarray(product(to_float32(theta), to_float32(v)))


# Divergences and their curvature


def test_divergences_equal_their_definitions():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), 5), rng.dirichlet(np.ones(4), 5)
    wanted = [sum(a * np.log(a / b) for a, b in zip(x, y, strict=True)) for x, y in zip(p, q, strict=True)]
    np.testing.assert_allclose(categorical_kl(jnp.log(p), jnp.log(q)), wanted, rtol=1e-4)
    # A Gaussian in one dimension, by the integral.
    x = np.linspace(-12, 12, 200_001)

    def density(mean, std):
        return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))

    here, there = density(0.3, 0.7), density(-0.4, 1.5)
    wanted = np.sum(here * (np.log(np.maximum(here, 1e-300)) - np.log(there))) * (x[1] - x[0])
    found = gaussian_kl(
        jnp.array([0.3]), jnp.log(jnp.array([0.7])), jnp.array([-0.4]), jnp.log(jnp.array([1.5]))
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_fisher_product_of_a_linear_softmax():
    # F = mean_s  x x^T (x) (diag p - p p^T)
    rng = np.random.default_rng(1)
    x, weights = rng.normal(size=(7, 3)), rng.normal(size=(3, 4))
    logits = x @ weights
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    dense = np.mean(
        [np.kron(np.outer(a, a), np.diag(b) - np.outer(b, b)) for a, b in zip(x, p, strict=True)], 0
    )
    v = rng.normal(size=12)
    found = times(
        lambda theta: to_float32(x) @ theta.reshape(3, 4),
        lambda here, there: jnp.mean(categorical_kl(here, there)),
        weights.ravel(),
        v,
        damping=0.1,
    )
    np.testing.assert_allclose(found, dense @ v + 0.1 * v, rtol=1e-3, atol=1e-5)


def test_fisher_product_of_a_linear_gaussian_with_a_learned_spread():
    # F = mean_s x x^T (x) diag(1 / std^2) for the means, 2 I for the logarithms of the spreads.
    rng = np.random.default_rng(2)
    x, log_std = rng.normal(size=(6, 3)), np.array([-0.5, 0.4])
    dense = np.zeros((8, 8))
    dense[:6, :6] = np.kron(x.T @ x / 6, np.diag(np.exp(-2 * log_std)))
    dense[6:, 6:] = 2 * np.eye(2)
    v = rng.normal(size=8)
    found = times(
        lambda theta: (to_float32(x) @ theta[:6].reshape(3, 2), theta[6:]),
        lambda here, there: jnp.mean(gaussian_kl(*here, *there)),
        np.concatenate([rng.normal(size=6), log_std]),
        v,
    )
    np.testing.assert_allclose(found, dense @ v, rtol=1e-3, atol=1e-4)


def test_fisher_product_is_the_second_difference_of_the_divergence():
    rng = np.random.default_rng(3)
    x, theta, v = rng.normal(size=(5, 2)), rng.normal(size=12), rng.normal(size=12)

    def means(theta, module):
        return module.tanh(module.tanh(x @ theta[:8].reshape(2, 4)) @ theta[8:].reshape(4, 1))

    def divergence(h):  # in double precision: 200 |.|^2, as with a spread of 0.05
        return 200 * np.mean(np.sum((means(theta + h * v, np) - means(theta, np)) ** 2, 1))

    log_std = jnp.log(jnp.array([0.05]))
    product = times(
        lambda theta: means(theta, jnp),
        lambda here, there: jnp.mean(gaussian_kl(here, log_std, there, log_std)),
        theta,
        v,
    )
    found = v @ product
    np.testing.assert_allclose(found, 2 * divergence(1e-4) / 1e-8, rtol=1e-3)


# Solving and searching


def test_conjugate_gradient_equals_a_dense_solve_and_forgives_zero():
    matrix = definite(4, 9)
    right = np.random.default_rng(4).normal(size=9)

    def product(v):
        return jnp.asarray(matrix, jnp.float32) @ v

    solve = jax.jit(partial(conjugate_gradient, product, iterations=20))
    found = solve(to_float32(right))
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-3, atol=1e-4)
    assert not solve(jnp.zeros(9)).any()
    early = conjugate_gradient(product, jnp.asarray(right, jnp.float32), iterations=1)
    np.testing.assert_allclose(early, right * (right @ right) / (right @ matrix @ right), rtol=1e-4)


def test_steepest_step_lies_on_the_region_and_is_best_there():
    matrix, radius = definite(5, 6), 0.012
    gradient = np.random.default_rng(5).normal(size=6)

    def product(v):
        return jnp.asarray(matrix, jnp.float32) @ v

    best = jax.jit(lambda gradient: steepest_step(product, gradient, radius))
    step = np.asarray(best(to_float32(gradient)))
    np.testing.assert_allclose(0.5 * step @ matrix @ step, radius, rtol=1e-3)
    np.testing.assert_allclose(step, least(gradient, [], [], matrix, radius), rtol=1e-2, atol=1e-3)
    assert not best(jnp.zeros(6)).any()


@pytest.mark.parametrize("unit", [1e-10, 1e-5, 1e5, 1e10])
def test_the_unit_of_the_reward_changes_no_step(unit):
    matrix = definite(5, 6)
    gradient = to_float32(np.random.default_rng(5).normal(size=6))

    def product(v):
        return jnp.asarray(matrix, jnp.float32) @ v

    usual, scaled = (steepest_step(product, g, 0.012) for g in (gradient, unit * gradient))
    np.testing.assert_allclose(scaled, usual, rtol=1e-4, atol=1e-6)
    found = conjugate_gradient(product, unit * gradient, iterations=20) / unit
    np.testing.assert_allclose(found, np.linalg.solve(matrix, gradient), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("good_from, wanted", [(1.0, 1.0), (0.3, 0.25), (1e-9, 0.0)])
def test_line_search_takes_the_first_that_will_do(good_from, wanted):
    found = jax.jit(lambda limit: line_search(lambda fraction: fraction <= limit))(good_from)
    np.testing.assert_allclose(found, wanted)


# Linear constraints


def least(gradient, rows, excess, matrix, radius):
    """The same problem by SciPy's sequential quadratic programming, from several starts."""
    scale = np.sqrt(radius)
    constraints = [{"type": "ineq", "fun": lambda x: 1 - 0.5 * x @ matrix @ x}]
    for row, over in zip(rows, excess, strict=True):
        constraints.append({"type": "ineq", "fun": lambda x, row=row, over=over: -over / scale - row @ x})
    best = None
    for seed in range(4):
        start = 0.3 * np.random.default_rng(seed).normal(size=len(gradient))
        found = minimize(
            lambda x: gradient @ x,
            start,
            jac=lambda x: gradient,
            constraints=constraints,
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        inside = all(constraint["fun"](found.x) > -1e-7 for constraint in constraints)
        if inside and (best is None or gradient @ found.x < gradient @ best):
            best = found.x
    return None if best is None else scale * best


@pytest.mark.parametrize("constraints", [1, 2, 3])
def test_constrained_step_equals_a_numerical_optimiser_in_every_case(constraints):
    radius, cases = 0.01, set()
    for seed in range(10):
        rng = np.random.default_rng(100 * constraints + seed)
        matrix = definite(seed, 5)
        gradient, rows = rng.normal(size=5), rng.normal(size=(constraints, 5))
        reach = np.sqrt(2 * radius * np.einsum("ij,ij->i", rows, np.linalg.solve(matrix, rows.T).T))
        excess = reach * rng.uniform(-1.4, 1.2, constraints) * (0.6 if constraints > 1 else 1.0)
        if seed < 3:
            excess = -1.5 * reach  # the region is feasible
        if seed == 3:
            excess = 1.3 * reach  # nothing in it is
        wanted = least(gradient, rows, excess, matrix, radius)
        found = SOLVE(*map(to_float32, (gradient, rows, excess, matrix)), radius)
        case, step = int(found.case), np.asarray(found.step, np.float64)
        cases.add(case)
        assert 0.5 * step @ matrix @ step < radius * 1.001
        assert (case == 0) == (wanted is None)
        if wanted is None:
            broken = rows[excess > 0].sum(0)
            np.testing.assert_allclose(step, least(broken, [], [], matrix, radius), rtol=0.02, atol=1e-3)
            continue
        assert case == (3 if (excess + reach <= 0).all() else 2 if (excess <= 0).all() else 1)
        assert (excess + rows @ step < 1e-4 * np.abs(reach) + 1e-6).all()
        np.testing.assert_allclose(gradient @ step, gradient @ wanted, rtol=2e-3, atol=1e-5)
    assert cases == {0, 1, 2, 3}


def to_float32(x):
    return jnp.asarray(x, jnp.float32)


@partial(jax.jit, static_argnums=4)
def SOLVE(gradient, rows, excess, matrix, radius):
    return constrained_step(gradient, rows, excess, lambda b: jnp.linalg.solve(matrix, b), radius)


@pytest.mark.parametrize("over, case", [((0.5, -0.5), 0), ((-0.5, -0.2), 2)])
def test_descent_forgets_the_gradient_where_a_constraint_is_broken(over, case):
    """Both are within reach: the broken one's own steepest descent, or else the usual step."""
    radius, rng, matrix = 0.01, np.random.default_rng(0), definite(0, 5)
    gradient, rows = rng.normal(size=5), rng.normal(size=(2, 5))
    excess = np.sqrt(2 * radius * np.einsum("ij,ij->i", rows, np.linalg.solve(matrix, rows.T).T)) * over
    given = (*map(to_float32, (gradient, rows, excess)), lambda b: jnp.linalg.solve(matrix, b), radius)
    found, usual = constrained_step(*given, descend=True), constrained_step(*given)
    assert int(found.case) == case and int(usual.case) == (case or 1)
    wanted = usual.step if case else least(rows[0], [], [], matrix, radius)
    np.testing.assert_allclose(found.step, wanted, rtol=1e-3, atol=1e-4)


def test_the_papers_closed_form_for_one_constraint():
    # The dual of Achiam et al. 2017, appendix 10.2, written out for cases 1 and 2.
    radius = 0.01
    for seed in range(12):
        rng = np.random.default_rng(seed)
        matrix, g, b = definite(seed, 4), rng.normal(size=4), rng.normal(size=4)
        v, w = np.linalg.solve(matrix, g), np.linalg.solve(matrix, b)
        q, r, s = g @ v, g @ w, b @ w
        c = np.sqrt(2 * radius * s) * rng.uniform(-0.95, 0.95)
        a, left = q - r**2 / s, 2 * radius - c**2 / s
        tight, loose = (0.0, r / c), (r / c, np.inf)
        if c >= 0:
            tight, loose = loose, tight
        lam_a = max(tight[0], min(tight[1], np.sqrt(a / left)))
        lam_b = max(loose[0], min(loose[1], np.sqrt(q / (2 * radius))))

        def worth_a(lam, a=a, left=left, r=r, c=c, s=s):
            return -(a / lam + left * lam) / 2 - r * c / s if lam > 0 else -np.inf

        def worth_b(lam, q=q):
            return -(q / lam + 2 * radius * lam) / 2 if lam > 0 else -np.inf

        # Where r/c < 0 one of the intervals is empty.
        usable_a, usable_b = tight[0] <= tight[1], loose[0] <= loose[1]
        take_a = usable_a and (not usable_b or worth_a(lam_a) >= worth_b(lam_b))
        lam = lam_a if take_a else lam_b
        nu = max(0.0, lam * c - r) / s
        wanted = -(v + nu * w) / lam
        found = SOLVE(*map(to_float32, (g, b[None], [c], matrix)), radius)
        np.testing.assert_allclose(found.step, wanted, rtol=5e-3, atol=2e-4, err_msg=f"seed {seed}")


def test_costs_without_a_slope_make_no_step_infinite():
    nothing = jnp.zeros((1, 3))
    gradient = jnp.array([1.0, 0.0, 0.0])
    for excess, case in ((-1.0, 3), (0.0, 3), (1.0, 0)):
        found = SOLVE(gradient, nothing, jnp.array([excess]), jnp.eye(3), 0.02)
        assert int(found.case) == case and np.isfinite(found.step).all()
        np.testing.assert_allclose(found.step[0], -0.2 if case else 0.0, rtol=1e-4)
    found = SOLVE(jnp.zeros(3), jnp.ones((1, 3)), jnp.array([-0.01]), jnp.eye(3), 0.02)
    np.testing.assert_allclose(found.step, 0.0, atol=1e-6)
    # Twice the same constraint, tight.
    twice = SOLVE(-jnp.ones(3), jnp.ones((2, 3)), jnp.array([-0.1, -0.1]), jnp.eye(3), 0.02)
    np.testing.assert_allclose(jnp.sum(twice.step), 0.1, rtol=1e-2)


# The projection


@pytest.mark.parametrize("constraints", [1, 3])
@pytest.mark.parametrize("mixing", [0.0, 0.4])
def test_projection_equals_a_quadratic_program(constraints, mixing):
    rng = np.random.default_rng(7)
    wanted, baseline = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    slopes, budget = rng.normal(size=(constraints, 6, 2)), rng.uniform(0.05, 0.5, constraints)
    project = jax.jit(partial(alpha_projection, mixing=mixing))
    lean = project(*map(to_float32, (wanted, baseline, slopes, budget)))
    found = (1 - mixing) * wanted + mixing * baseline - np.asarray(lean)
    for s in range(6):
        answer = minimize(
            lambda a, s=s: (
                0.5 * mixing * np.sum((a - baseline[s]) ** 2)
                + 0.5 * (1 - mixing) * np.sum((a - wanted[s]) ** 2)
            ),
            baseline[s],
            method="SLSQP",
            constraints=[
                {
                    "type": "ineq",
                    "fun": lambda a, i=i, s=s: budget[i] - slopes[i, s] @ (a - baseline[s]),
                }
                for i in range(constraints)
            ],
            options={"ftol": 1e-12},
        )
        np.testing.assert_allclose(found[s], answer.x, atol=2e-3)
