"""Trust-region steps: Fisher products, conjugate gradient, line search, linear constraints, projections.

Parameters are one flat vector (``jax.flatten_util.ravel_pytree``). Nothing here knows a policy: a caller
gives the function from parameters to the numbers of its distributions, and the divergence of two of them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product as all_pairs
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Vector = Float[Array, " parameters"]
Product = Callable[[Array], Array]
"""v -> F v."""

TINY = 1e-12
"""Squared lengths below this count as zero."""


# Divergences -------------------------------------------------------------------------------------------


def gaussian_kl(
    mean: Float[Array, "*batch act"],
    log_std: Float[Array, " act"],
    other_mean: Float[Array, "*batch act"],
    other_log_std: Float[Array, " act"],
) -> Float[Array, "*batch"]:
    """KL(N(mean, std^2) || N(other mean, other std^2)) of diagonal Gaussians, summed over entries, in nats.

    log(std' / std) + (std^2 + (mean - mean')^2) / (2 std'^2) - 1/2
    """
    narrower = jnp.exp(2 * (log_std - other_log_std))
    apart = ((mean - other_mean) / jnp.exp(other_log_std)) ** 2
    return jnp.sum(other_log_std - log_std + 0.5 * (narrower + apart - 1), axis=-1)


def categorical_kl(
    logits: Float[Array, "*batch actions"], other_logits: Float[Array, "*batch actions"]
) -> Float[Array, "*batch"]:
    """KL(p || q) of the softmax of both, in nats.

    Of logits, which are free: :func:`fisher_product` needs a slope of zero where p = q, and in
    log-probabilities, which are not, the divergence has none.
    """
    log_p, log_q = jax.nn.log_softmax(logits), jax.nn.log_softmax(other_logits)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


# The unconstrained step --------------------------------------------------------------------------------


def fisher_product(
    distribution: Callable[[Vector], Any],
    divergence: Callable[[Any, Any], Array],
    parameters: Vector,
    *,
    damping: float = 0.0,
) -> Product:
    """v -> (F + damping I) v, with F the Hessian of theta' -> mean divergence of theta and theta', at theta.

    ``distribution(theta)`` gives means or logits of all states, ``divergence(here, there)`` the mean over
    states. The divergence is zero with zero slope where both agree, so the chain rule leaves one term,
    F = J^T H J, with J the Jacobian of the distributions and H the divergence's own Hessian. J is
    linearised once, for however many products.
    """
    here, push = jax.linearize(distribution, parameters)
    pull = jax.linear_transpose(push, parameters)
    slope = jax.grad(lambda there: divergence(here, there))

    def multiply(v: Array) -> Array:
        _, curved = jax.jvp(slope, (here,), (push(v),))
        return pull(curved)[0] + damping * v

    return multiply


def conjugate_gradient(
    product: Product, right: Vector, *, iterations: int = 10, tolerance: float = 1e-10
) -> Vector:
    """x with ``product(x) = right`` for a positive definite product, starting at 0.

    Ends after ``iterations``, or when the residual's squared length is below ``tolerance`` times that of
    ``right``.
    """
    enough = tolerance * (right @ right)

    def more(carry: tuple[Array, ...]) -> Array:
        _, _, _, length, done = carry
        return (done < iterations) & (length > enough)

    def step(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        x, residual, direction, length, done = carry
        image = product(direction)
        pace = length / jnp.maximum(direction @ image, TINY**2)
        residual = residual - pace * image
        shorter = residual @ residual
        return x + pace * direction, residual, residual + shorter / length * direction, shorter, done + 1

    start = (jnp.zeros_like(right), right, right, right @ right, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(more, step, start)[0]


def steepest_step(product: Product, gradient: Vector, radius: float, *, iterations: int = 10) -> Vector:
    """argmin g.x subject to x.Fx / 2 <= radius: x = -sqrt(2 radius / (v.Fv)) v with v = F^-1 g.

    Zero if the gradient is; else the same whatever its length, as a reward's unit should not matter.
    """
    steepness = jnp.linalg.norm(gradient)
    gradient = gradient / jnp.where(steepness > 0, steepness, 1.0)
    direction = conjugate_gradient(product, gradient, iterations=iterations)
    length = direction @ product(direction)
    return jnp.where(length > TINY, -jnp.sqrt(2 * radius / jnp.maximum(length, TINY)), 0.0) * direction


def line_search(
    acceptable: Callable[[Array], Bool[Array, ""]], *, factor: float = 0.5, trials: int = 10
) -> Float[Array, ""]:
    """The first of 1, factor, factor^2, ... that is ``acceptable``; 0 if none of ``trials`` is."""

    def more(carry: tuple[Array, Array]) -> Array:
        done, found = carry
        return (done < trials) & ~found

    def step(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        done, _ = carry
        return done + 1, acceptable(_fraction(done))

    def _fraction(done: Array) -> Array:
        return jnp.asarray(factor, jnp.float32) ** done

    done, found = jax.lax.while_loop(more, step, (jnp.zeros((), jnp.int32), jnp.zeros((), bool)))
    return jnp.where(found, _fraction(done - 1), 0.0)


# The step with linear constraints ----------------------------------------------------------------------


class ConstrainedStep(eqx.Module):
    """What :func:`constrained_step` finds."""

    step: Vector
    case: Int[Array, ""]
    """Achiam et al.'s cases: 3, the whole region is feasible; 2, a boundary cuts it and the start is
    feasible; 1, the start is not, but part of the region is; 0, nothing in the region is, or the start is
    not and only descent was wanted."""


def constrained_step(
    gradient: Vector,
    cost_gradients: Float[Array, "constraints parameters"],
    excess: Float[Array, " constraints"],
    solve: Callable[[Array], Array],
    radius: float,
    *,
    descend: bool = False,
) -> ConstrainedStep:
    """argmin g.x subject to c_i + b_i.x <= 0 for all i and x.Hx / 2 <= radius (Achiam et al. 2017, Eq. 11).

    ``solve(b)`` is H^-1 b. Every set S of constraints is tried as the active one: where B_S x = -c_S holds
    with equality, the best point is, with v = H^-1 g, W = H^-1 B_S^T and M = B_S W,

        x = -W M^-1 c + t d,    d = -(v - W M^-1 B_S v),    t^2 = (2 radius - c.M^-1 c) / (-d.g)

    and the feasible one of least g.x is the answer; for one constraint that is the solution by duality that
    the paper gives, with its cases, but without its quotients that may be zero. There are 2^m sets.

    If no point of the region is feasible (case 0), the sum of the broken constraints is what descends; with
    ``descend``, whenever one is broken, however near the feasible points may be.
    """
    count = len(excess)
    solved = jax.lax.map(solve, jnp.concatenate([gradient[None], cost_gradients]))
    v, w = solved[0], solved[1:].T
    gram, along = cost_gradients @ w, cost_gradients @ v  # b_i . H^-1 b_j and b_i . H^-1 g
    reach = jnp.sqrt(2 * radius * jnp.maximum(jnp.diag(gram), 0))  # most that b_i.x can be in the region

    def candidate(active: Array) -> tuple[Array, Array]:
        """Coefficients ``(of v, of w)`` of the best point with these constraints tight, and its worth."""
        # Rows of inactive constraints become those of the identity: their coefficients are zero.
        matrix = jnp.where(active[:, None] & active[None, :], gram, jnp.eye(count))
        inverse = jnp.linalg.inv(_regular(matrix))
        restore, lean = (inverse @ jnp.where(active, x, 0.0) for x in (excess, along))
        left = 2 * radius - jnp.where(active, excess, 0.0) @ restore
        descent = jnp.maximum(gradient @ v - along @ lean, 0.0)  # -g.d = d.Hd
        t = jnp.where(descent > TINY, jnp.sqrt(jnp.maximum(left, 0.0) / jnp.maximum(descent, TINY)), 0.0)
        coefficients = jnp.concatenate([-t[None], t * lean - restore])
        then = excess + jnp.stack([along, *gram.T]).T @ coefficients
        slack = 1e-4 * (jnp.abs(excess) + reach) + TINY
        feasible = (left >= 0) & jnp.all(then <= slack)
        worth = jnp.concatenate([(gradient @ v)[None], gradient @ w]) @ coefficients
        return coefficients, jnp.where(feasible & jnp.isfinite(worth), worth, jnp.inf)

    sets = jnp.asarray(np.array(list(all_pairs((False, True), repeat=count))).reshape(-1, count))
    coefficients, worth = jax.vmap(candidate)(sets)
    best = jnp.argmin(worth)
    broken = jnp.where(excess > 0, 1.0, 0.0)
    possible = jnp.isfinite(worth[best])
    if descend:
        possible &= ~jnp.any(excess > 0)

    uphill = broken @ gram @ broken
    down = jnp.where(uphill > TINY, -jnp.sqrt(2 * radius / jnp.maximum(uphill, TINY)), 0.0) * broken
    chosen = jnp.where(possible, coefficients[best], jnp.concatenate([jnp.zeros(1), down]))

    whole, safe = jnp.all(excess + reach <= 0), jnp.all(excess <= 0)
    case = jnp.where(possible, jnp.where(whole, 3, jnp.where(safe, 2, 1)), 0)
    return ConstrainedStep(chosen[0] * v + w @ chosen[1:], case)


def _regular(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """With a little on the diagonal, so that constraints of one direction, or of none, have an inverse."""
    return matrix + jnp.diag(1e-6 * jnp.diag(matrix) + TINY)


# The projection of actions -----------------------------------------------------------------------------


def alpha_projection(
    wanted: Float[Array, "batch act"],
    baseline: Float[Array, "batch act"],
    slopes: Float[Array, "constraints batch act"],
    budget: Float[Array, " constraints"],
    *,
    mixing: float = 0.0,
    sweeps: int = 100,
) -> Float[Array, "batch act"]:
    """The correction lam.G that SDDPG subtracts, state by state (Chow et al. 2019, alpha-projection).

    With u the wanted action, a_B the baseline's and G_i the slope of the cost's Q at a_B, the safe action is

        argmin_a  eta/2 |a - a_B|^2 + (1 - eta)/2 |a - u|^2   subject to  G_i . (a - a_B) <= eps_i
          = (1 - eta) u + eta a_B - sum_i lam_i G_i

    One constraint has a closed form, lam = max(0, ((1 - eta) G.(u - a_B) - eps) / G.G). For several, lam is
    found by going through them in turn with that formula (Hildreth 1957), ``sweeps`` times. Returns
    sum_i lam_i G_i.
    """
    count = slopes.shape[0]
    squares = jnp.sum(slopes**2, axis=-1) + 1e-6
    free = (1 - mixing) * (wanted - baseline)

    def one(lam: Array, index: Array | int) -> Array:
        others = jnp.einsum("cb,cba->ba", lam.at[index].set(0.0), slopes)
        over = jnp.sum(slopes[index] * (free - others), axis=-1) - budget[index]
        return lam.at[index].set(jnp.maximum(0.0, over / squares[index]))

    lam = jnp.zeros(squares.shape)
    turns = count * (1 if count == 1 else sweeps)
    lam = jax.lax.fori_loop(0, turns, lambda i, lam: one(lam, i % count), lam)
    return jnp.einsum("cb,cba->ba", lam, slopes)
