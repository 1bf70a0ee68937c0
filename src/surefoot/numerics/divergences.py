"""f-divergences and what their gradients need (Csiszar 1967; Ni et al. 2020, Table 1 and Theorem 4.1).

For a convex ``f`` with ``f(1) = 0``, and the density ratio ``u = p(x) / q(x)``::

    D_f(p || q) = integral of q(x) f(p(x) / q(x)) dx
    h_f(u)      = f(u) - u f'(u)

``h_f`` is what enters the gradient of ``D_f`` with respect to ``q``: it falls in ``u``, so that descent moves
``q`` to where ``p`` is larger. Adding a constant to ``h_f`` changes no gradient, as ``q`` always sums to one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from surefoot.errors import unknown


@dataclass(frozen=True)
class Divergence:
    """One f-divergence, by the functions of the density ratio u = p/q that describe it."""

    f: Callable[[Float[Array, "*n"]], Float[Array, "*n"]]
    """The generator f(u), for u > 0."""
    h: Callable[[Float[Array, "*n"]], Float[Array, "*n"]]
    """h_f as a function of log u, which is what density models and discriminators yield."""


DIVERGENCES = {
    # KL(p || q). Covers every mode of p: where p is much larger than q, h is hugely negative.
    "fkl": Divergence(f=lambda u: u * jnp.log(u), h=lambda log_u: -jnp.exp(log_u)),
    # KL(q || p). Keeps q out of where p is small, so that it may settle on one mode. Needs log p up to a
    # constant only: the constant adds to h.
    "rkl": Divergence(f=lambda u: -jnp.log(u), h=lambda log_u: 1.0 - log_u),
    # Twice the Jensen-Shannon divergence, KL(p || m) + KL(q || m) with m = (p + q) / 2. Between the two.
    "js": Divergence(
        f=lambda u: u * jnp.log(u) - (1 + u) * jnp.log((1 + u) / 2),
        h=lambda log_u: math.log(2) - jax.nn.softplus(log_u),
    ),
}
"""By name: forward KL, reverse KL, Jensen-Shannon."""


def divergence(name: str) -> Divergence:
    """The f-divergence of that name; raises :class:`SurefootError` if there is none."""
    if name not in DIVERGENCES:
        raise unknown("divergence", name, DIVERGENCES)
    return DIVERGENCES[name]


def between(name: str, p: Float[Array, " outcomes"], q: Float[Array, " outcomes"]) -> Float[Array, ""]:
    """D_f(p || q) of two distributions over finitely many outcomes, both above 0 everywhere; in nats."""
    return jnp.sum(q * divergence(name).f(p / q))
