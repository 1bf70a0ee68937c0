"""Entropy and Kullback-Leibler divergence from samples, by distances to nearest neighbours.

Kozachenko and Leonenko 1987 (entropy), Wang, Kulkarni and Verdu 2009 (divergence); the largest of the
coordinates' distances is the metric throughout. With ``rho_i`` the distance of ``x_i`` to its k-th neighbour
among the other ``x``, and ``nu_i`` to its k-th neighbour in ``y``::

    H(p)       = psi(n) - psi(k) + d log 2 + (d / n) sum_i log rho_i
    KL(p || q) = log(m / (n - 1)) + (d / n) sum_i (log nu_i - log rho_i)

for ``n`` points ``x`` of ``p`` and ``m`` points ``y`` of ``q`` in ``d`` dimensions. Both are consistent, and
the bias is small in few dimensions; a divergence so estimated can come out below zero.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma
from jaxtyping import Array, Float

from surefoot.errors import SurefootError

LEAST_DISTANCE = 1e-10
"""Points may coincide, at a wall say; the logarithm of their distance is taken of this instead."""
_QUERIES, _CHUNK = 256, 64
"""Points that look for neighbours together, and candidates that they look at together: fast on a CPU."""


def entropy(x: Float[Array, "n d"], *, k: int = 3) -> Float[Array, ""]:
    """Differential entropy of the distribution that ``x`` was drawn from, in nats.

    Raises :class:`SurefootError` for ``k`` below 1, or no more points than neighbours.
    """
    n, d = x.shape
    _check_number(n - 1, k)
    log_rho = _log(kth_distance(x, x, k + 1))  # the nearest point of x is x_i itself
    return digamma(float(n)) - digamma(float(k)) + d * math.log(2) + d * jnp.mean(log_rho)


def kl(x: Float[Array, "n d"], y: Float[Array, "m d"], *, k: int = 3) -> Float[Array, ""]:
    """KL(p || q) in nats, from points ``x`` of p and ``y`` of q; raises as :func:`entropy` does."""
    (n, d), m = x.shape, len(y)
    _check_number(n - 1, k)
    _check_number(m, k)
    log_rho, log_nu = _log(kth_distance(x, x, k + 1)), _log(kth_distance(x, y, k))
    return math.log(m / (n - 1)) + d * jnp.mean(log_nu - log_rho)


def kth_distance(x: Float[Array, "n d"], y: Float[Array, "m d"], k: int) -> Float[Array, " n"]:
    """Largest coordinate difference between each point of ``x`` and its k-th nearest in ``y``.

    Both sets are sorted by their first coordinate. A block of queries starts at its own place in ``y`` and
    looks at chunk after chunk to both sides, until the first coordinate alone says that no later point can
    be nearer than those found. Nothing of size n times m is ever made.
    """
    n, d = x.shape
    order = jnp.argsort(x[:, 0])
    queries = jnp.pad(x[order], ((0, -n % _QUERIES), (0, 0)), mode="edge").reshape(-1, _QUERIES, d)
    y = y[jnp.argsort(y[:, 0])]
    chunks = jnp.pad(y, ((0, -len(y) % _CHUNK), (0, 0)), constant_values=jnp.inf).reshape(-1, _CHUNK, d)
    found = jax.lax.map(lambda block: _search(block.T, chunks, k), queries)
    return jnp.zeros(n, x.dtype).at[order].set(found.reshape(-1)[:n])


def _search(
    queries: Float[Array, "d block"], chunks: Float[Array, "chunks size d"], k: int
) -> Float[Array, " block"]:
    """k-th nearest distance of queries sorted by their first coordinate, among sorted chunks."""
    number = len(chunks)
    first, last = chunks[:, 0, 0], chunks[:, -1, 0]

    def look(index: Array, best: Float[Array, "k block"]) -> Float[Array, "k block"]:
        """Puts the points of one chunk into the sorted list of the k smallest distances of each query."""

        def put(best: Array, point: Array) -> tuple[Array, None]:
            distance = jnp.max(jnp.abs(queries - point[:, None]), axis=0)
            smaller = jnp.concatenate(
                [jnp.full_like(best[:1], -jnp.inf), best[:-1]]
            )  # the list, moved by one
            return jnp.minimum(best, jnp.maximum(smaller, distance)), None

        return jax.lax.scan(put, best, chunks[index], unroll=2)[0]

    def sides(state: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        """Whether the next chunk to the left, and to the right, could hold a nearer point."""
        left, right, best = state
        farthest = jnp.max(best[-1])
        gap_left = queries[0, 0] - last[jnp.maximum(left, 0)]
        gap_right = first[jnp.minimum(right, number - 1)] - queries[0, -1]
        return (left >= 0) & (gap_left < farthest), (right < number) & (gap_right < farthest)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        left, right, best = state
        _, go_right = sides(state)
        best = look(jnp.where(go_right, right, left), best)
        return jnp.where(go_right, left, left - 1), jnp.where(go_right, right + 1, right), best

    start = jnp.searchsorted(first, queries[0, queries.shape[1] // 2])  # the chunks to its left begin before
    nothing = jnp.full((k, queries.shape[1]), jnp.inf, queries.dtype)
    *_, best = jax.lax.while_loop(
        lambda state: jnp.any(jnp.stack(sides(state))), step, (start - 1, start, nothing)
    )
    return best[-1]


def _log(distance: Float[Array, " n"]) -> Float[Array, " n"]:
    return jnp.log(jnp.maximum(distance, LEAST_DISTANCE))


def _check_number(points: int, k: int) -> None:
    if k < 1 or points < k:
        raise SurefootError(f"k = {k}: the k-th neighbour among {points} points does not exist.")
