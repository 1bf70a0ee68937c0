import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from surefoot.errors import SurefootError
from surefoot.numerics.density import (
    Density,
    Function,
    Gaussian,
    InsideDisc,
    Kde,
    Mixture,
    OutsideBox,
    OutsideDisc,
    Product,
    Sum,
    UniformBox,
    check_density,
    extent,
    grid,
    normalise,
)

POINTS = jnp.array([(0.0, 0.0), (1.0, -0.5), (2.0, 3.0), (-4.0, 0.1)])
HILL = Gaussian((1.0, 2.0), (0.5, 2.0))
TWO = Mixture((Gaussian((1, 3), 0.3), Gaussian((3, 1), 0.6)), (1, 3))


def test_gaussian_equals_scipy():
    expected = stats.multivariate_normal((1.0, 2.0), np.diag([0.25, 4.0])).logpdf(np.asarray(POINTS))
    np.testing.assert_allclose(HILL.log_prob(POINTS), expected, rtol=1e-5)
    np.testing.assert_allclose(HILL.log_prob(POINTS.reshape(2, 2, 2)), expected.reshape(2, 2), rtol=1e-5)


@pytest.mark.parametrize("covariance", [((1.0, 0.6), (0.6, 0.5)), ((1e-4, 0.9e-3), (0.9e-3, 1e-2))])
def test_gaussian_with_a_covariance_equals_scipy(covariance):
    tilted = Gaussian((1.0, 2.0), covariance=covariance)
    points = np.asarray(tilted.mean) + np.array([(0.0, 0.0), (0.01, -0.05), (0.02, 0.2), (-0.03, 0.1)])
    expected = stats.multivariate_normal(tilted.mean, covariance).logpdf(points)
    found = jax.jit(tilted.log_prob)(jnp.asarray(points, jnp.float32).reshape(2, 2, 2))
    np.testing.assert_allclose(found, expected.reshape(2, 2), rtol=2e-3)
    drawn = tilted.sample(jax.random.key(0), 100_000)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, rtol=0.03)
    np.testing.assert_allclose(drawn.mean(axis=0), tilted.mean, rtol=0.01)
    assert math.exp(-normalise(tilted, *extent(tilted)).log_scale) == pytest.approx(1.0, abs=1e-3)


def test_a_diagonal_covariance_is_the_squared_std():
    same = Gaussian(HILL.mean, covariance=np.diag(np.square(HILL.spread)))
    assert same.spread == HILL.spread
    np.testing.assert_allclose(same.log_prob(POINTS), HILL.log_prob(POINTS), rtol=1e-5)


def test_mixture_is_the_weighted_sum_and_integrates_to_one():
    p = 0.25 * jnp.exp(TWO.parts[0].log_prob(POINTS)) + 0.75 * jnp.exp(TWO.parts[1].log_prob(POINTS))
    np.testing.assert_allclose(jnp.exp(TWO.log_prob(POINTS)), p, rtol=1e-4)
    assert math.exp(-normalise(TWO, (-2, -2), (6, 6)).log_scale) == pytest.approx(1.0, abs=1e-3)


def test_mixture_far_from_all_parts_stays_finite():
    far = jnp.array([[60.0, 60.0]])
    expected = math.log(0.75) + float(TWO.parts[1].log_prob(far)[0])
    np.testing.assert_allclose(TWO.log_prob(far), [expected], rtol=1e-6)


def test_uniform_box():
    box = UniformBox((0, 0), (2, 3))
    points = jnp.array([(1, 1), (0, 3), (2.1, 1), (1, -0.1)])
    np.testing.assert_allclose(
        box.log_prob(points), [-math.log(6), -math.log(6), -np.inf, -np.inf], rtol=1e-6
    )


def test_never_here():
    avoid = Product((HILL, OutsideDisc((0, 0), 0.5), OutsideBox((1.5, 2.5), (9, 9))))
    points = jnp.array([(0.0, 0.4), (0.0, 0.6), (2.0, 3.0), (1.0, 2.0)])
    found = avoid.log_prob(points)
    np.testing.assert_array_equal(jnp.isneginf(found), [True, False, True, False])
    np.testing.assert_allclose(found[1::2], HILL.log_prob(points[1::2]))


def test_sum_and_scaled():
    both = Sum((UniformBox((0, 0), (1, 1)), HILL), (2.0, 0.5))
    inside = jnp.array([(0.5, 0.5)])
    np.testing.assert_allclose(
        jnp.exp(both.log_prob(inside)), 2 + 0.5 * jnp.exp(HILL.log_prob(inside)), rtol=1e-5
    )
    assert not both.normalised
    whole = normalise(both, (0, 0), (1, 1), cells=200)
    assert whole.normalised
    total = jnp.mean(jnp.exp(whole.log_prob(jnp.asarray(grid((0, 0), (1, 1), 100)))))
    np.testing.assert_allclose(total, 1.0, rtol=1e-4)


def log_cauchy(points):
    return -jnp.sum(jnp.log1p(points**2), axis=-1)


def test_any_function():
    expected = np.sum(-np.log1p(np.asarray(POINTS) ** 2), axis=1)
    np.testing.assert_allclose(Function(log_cauchy).log_prob(POINTS), expected, rtol=1e-6)
    plain = Function(lambda points: jnp.exp(log_cauchy(points)), gives="density")
    np.testing.assert_allclose(plain.log_prob(POINTS), expected, rtol=1e-5)


def test_all_are_densities():
    kde = Kde(POINTS, 0.5)
    for each in (
        HILL,
        TWO,
        UniformBox((0,), (1,)),
        OutsideDisc((0,), 1),
        Sum((HILL,)),
        Product((HILL,)),
        kde,
    ):
        assert isinstance(each, Density)
    assert isinstance(normalise(HILL, (-5, -5), (5, 5), cells=20), Density)


# Samples: their moments, and how many fall where


@pytest.mark.parametrize(
    "density, mean, variance",
    [
        (HILL, (1, 2), (0.25, 4)),
        (UniformBox((0, -1), (2, 5)), (1, 2), (4 / 12, 36 / 12)),
        (TWO, (2.5, 1.5), (0.25 * 0.09 + 0.75 * 0.36 + 0.75, 0.25 * 0.09 + 0.75 * 0.36 + 0.75)),
        # Of an Epanechnikov kernel in two dimensions each coordinate has the variance b^2 / 6.
        (Kde(jnp.array([(1.0, 2.0)]), 3.0), (1, 2), (1.5, 1.5)),
        (Kde(jnp.array([(1.0, 2.0)]), 3.0, "gaussian"), (1, 2), (9, 9)),
    ],
    ids=["gaussian", "box", "mixture", "epanechnikov", "gaussian kernel"],
)
def test_samples_have_the_right_moments(density, mean, variance):
    drawn = np.asarray(density.sample(jax.random.key(0), 40_000))
    assert drawn.shape == (40_000, 2)
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=5 * np.sqrt(np.max(variance) / 40_000))
    np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.05)


def test_epanechnikov_samples_have_its_radii():
    # In two dimensions P(r < R) = 2 R^2 - R^4 (bandwidth 1).
    drawn = np.asarray(Kde(jnp.zeros((1, 2)), 1.0).sample(jax.random.key(1), 20_000))
    assert stats.kstest(np.linalg.norm(drawn, axis=1), lambda r: 2 * r**2 - r**4).pvalue > 1e-3


# Kernel density estimates


def slow_kde(centres, points, b, kernel):
    d = centres.shape[1]
    r2 = ((points[:, None] - centres[None]) ** 2).sum(axis=-1) / b**2
    volume = {1: 2.0, 2: math.pi, 3: 4 * math.pi / 3}[d]
    if kernel == "epanechnikov":
        values = np.where(r2 < 1, 1 - r2, 0) * (d + 2) / (2 * volume)
    else:
        values = np.exp(-r2 / 2) / (2 * math.pi) ** (d / 2)
    return values.mean(axis=1) / b**d


@pytest.mark.parametrize("kernel", ["epanechnikov", "gaussian"])
@pytest.mark.parametrize("d, n, m", [(1, 5, 3), (2, 700, 300), (3, 400, 600)])
def test_kde_equals_the_double_sum(kernel, d, n, m):
    rng = np.random.default_rng(d)
    centres, points = rng.normal(size=(n, d)), 2 * rng.normal(size=(m, d))
    centres[: n // 3] = np.maximum(centres[: n // 3], 0.2)  # a wall with many points on it
    found = Kde(jnp.asarray(centres, jnp.float32), 0.4, kernel).log_prob(jnp.asarray(points, jnp.float32))
    np.testing.assert_allclose(np.exp(found), slow_kde(centres, points, 0.4, kernel), rtol=2e-4, atol=1e-7)


def test_gaussian_kde_equals_scipy():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(200, 1))
    theirs = stats.gaussian_kde(x.T, bw_method=0.3 / x.std(ddof=1))
    points = np.linspace(-4, 4, 50)[:, None]
    found = Kde(jnp.asarray(x, jnp.float32), 0.3, "gaussian").log_prob(jnp.asarray(points, jnp.float32))
    np.testing.assert_allclose(np.exp(found), theirs(points.T), rtol=1e-3)


def test_kde_of_its_own_points_is_never_zero():
    lone = jnp.array([[5.0, 5.0], [0.0, 0.0], [0.0, 0.01]])
    expected = 2 / (math.pi * 0.04) / 3  # the point itself, and nothing else
    np.testing.assert_allclose(jnp.exp(Kde(lone, 0.2).log_prob(lone))[0], expected, rtol=1e-5)


def test_kde_of_thirty_thousand_points_needs_little_memory():
    x = jax.ShapeDtypeStruct((30_000, 2), jnp.float32)
    needed = jax.jit(lambda x: Kde(x, 0.02).log_prob(x)).lower(x).compile().memory_analysis()
    assert needed.temp_size_in_bytes < 30_000 * 2 * 4 * 20


# Bad input


def gap(points):
    return jnp.where(points[:, 0] > 1.5, jnp.nan, 0.0)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: UniformBox((0, 0), (1, math.inf)), "no bound on some side"),
        (lambda: UniformBox((0, 0), (1, 0)), "must be below"),
        (lambda: Gaussian((0, 0), (1, 1, 1)), "2 numbers needs one std or 2, not 3"),
        (lambda: Gaussian((0, 0), -1), "std = -1.0 is out of range"),
        (lambda: Gaussian((0, math.nan), 1), "all of them finite"),
        (lambda: Gaussian((0, 0)), "needs a std or a covariance"),
        (lambda: Gaussian((0, 0), 1, ((1, 0), (0, 1))), "one of the two"),
        (lambda: Gaussian((0, 0), covariance=(1, 2)), "is not a matrix, such as"),
        (lambda: Gaussian((0, 0), covariance=((1, 0), (0,))), "rows are not equally long"),
        (
            lambda: Gaussian((0, 0, 0), covariance=((1, 0), (0, 1))),
            r"needs a covariance \(3, 3\), not \(2, 2\)",
        ),
        (lambda: Gaussian((0, 0), covariance=((1, 0.5), (0, 1))), "must be symmetric"),
        (lambda: Gaussian((0, 0), covariance=((1, 1), (1, 1))), "must be positive definite"),
        (lambda: Gaussian("ab", 1), "not a vector of numbers"),
        (lambda: Mixture((HILL, Gaussian((0,), 1))), r"over \[1, 2\] numbers"),
        (lambda: Mixture((HILL, HILL), (1, -1)), "weight = -1.0 is out of range"),
        (lambda: Mixture((HILL, HILL), (1,)), "2 densities need as many weights, not 1"),
        (lambda: Mixture((HILL, Sum((HILL,)))), "must integrate to one"),
        (lambda: Sum(()), "needs at least one density"),
        (lambda: Product((1.0,)), "made of densities, not of a float"),
        (lambda: OutsideDisc((0, 0), 0), "radius = 0.0 is out of range"),
        (lambda: Kde(jnp.zeros((3, 2)), 0.0), "bandwidth = 0.0 is out of range"),
        (lambda: Kde(jnp.zeros((3, 2)), 0.1, "box"), "Unknown kernel 'box'"),
        (lambda: Kde(jnp.zeros((0, 2)), 0.1), "needs points"),
        (
            lambda: Mixture((HILL, Function(log_cauchy, normalised=True))).sample(jax.random.key(0), 2),
            "drawn from",
        ),
        (lambda: HILL.log_prob(jnp.zeros((4, 3))), "over 2 numbers was asked about points of 3"),
        (lambda: Function(lambda points: points).log_prob(POINTS), "must return one number a point"),
        (
            lambda: jax.jit(Function(lambda points: np.array(points)[:, 0]).log_prob)(POINTS),
            "cannot be compiled; write it with jax.numpy",
        ),
        (lambda: normalise(OutsideBox((0,), (1,)), (0,), (1,)), "integrates to 0"),
        (lambda: check_density(HILL, 3, np.zeros((5, 3))), "over 2 numbers, but 3 numbers of the state"),
        (lambda: check_density(Function(gap), 2, np.asarray(POINTS)), r"not a number \(NaN\) at \(2, 3\)"),
        (
            lambda: check_density(Function(lambda p: p[:, 0] - 0.5, gives="density"), 2, np.asarray(POINTS)),
            "negative",
        ),
        (lambda: check_density(UniformBox((8, 8), (9, 9)), 2, np.asarray(POINTS)), "zero at all of 4 states"),
    ],
)
def test_clear_errors(make, words):
    with pytest.raises(SurefootError, match=words):
        make()


def test_draws_of_a_product_are_those_of_the_part_that_lie_in_its_regions():
    """Beyond the unit disc the squared radius of a standard Gaussian is 1 more than anywhere: mean 3."""
    hill = Gaussian((0.0, 0.0), 1.0)
    beyond = np.asarray(Product((hill, OutsideDisc((0.0, 0.0), 1.0))).sample(jax.random.key(0), 20_000))
    squared = np.sum(beyond**2, axis=1)
    assert squared.min() >= 1.0 and squared.mean() == pytest.approx(3.0, abs=0.06)
    within = np.asarray(Product((hill, InsideDisc((0.0, 0.0), 1.0))).sample(jax.random.key(1), 20_000))
    squared = np.sum(within**2, axis=1)  # exponential with mean 2, given that it is below 1
    ratio = math.exp(-0.5)
    assert squared.max() <= 1.0 and squared.mean() == pytest.approx(2 - ratio / (1 - ratio), abs=0.01)
    nowhere = Product((hill, OutsideDisc((0.0, 0.0), 50.0))).sample(jax.random.key(2), 3)
    assert np.isnan(nowhere).all()
    with pytest.raises(SurefootError, match="all its parts but one are regions"):
        Product((hill, hill)).sample(jax.random.key(3), 1)


def test_only_here_is_one_within_the_ball():
    ball = InsideDisc((1.0, 0.0, 0.0), 2.0)
    found = ball.log_prob(jnp.array([(1.0, 0.0, 1.99), (1.0, 0.0, 2.01), (3.0, 0.0, 0.0), (-1.1, 0.0, 0.0)]))
    np.testing.assert_array_equal(found, [0.0, -np.inf, 0.0, -np.inf])
