"""Lagrange multipliers of inequality constraints ``J_i <= d_i``."""

from __future__ import annotations

import math
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


class Multipliers(eqx.Module):
    """One multiplier a constraint, ``nu = softplus(x) > 0``, with Adam ascending on ``x``."""

    raw: Float[Array, " constraints"]
    """x."""
    optimiser: optax.OptState

    @classmethod
    def create(cls, constraints: int, start: float) -> Self:
        """All multipliers at ``start`` > 0."""
        raw = jnp.full(constraints, start + math.log(-math.expm1(-start)))  # the inverse of softplus
        return cls(raw, _adam(0.0).init(raw))

    @property
    def value(self) -> Float[Array, " constraints"]:
        """nu."""
        return jax.nn.softplus(self.raw)

    def ascend(self, excess: Float[Array, " constraints"], learning_rate: float) -> Self:
        """One Adam step on ``-nu * excess``, where ``excess = J - d`` is positive if a limit is broken.

        Adam takes steps of about ``learning_rate`` in ``x`` whatever the unit of the cost is.
        """
        gradient = -jax.nn.sigmoid(self.raw) * excess
        step, optimiser = _adam(learning_rate).update(gradient, self.optimiser)
        return type(self)(optax.apply_updates(self.raw, step), optimiser)  # type: ignore[arg-type]


class PidMultipliers(eqx.Module):
    """One multiplier a constraint, steered as by a PID controller (Stooke et al. 2020, arXiv 2007.03964).

    With the excess ``e = J - d`` of each iteration (Alg. 2, without its filters)::

        I  <- max(0, I + e)
        nu <- max(0, K_P e + K_I I + K_D max(0, J - J_before))

    The integral alone is plain gradient ascent on nu; the other two damp its swings.
    """

    integral: Float[Array, " constraints"]
    """I."""
    before: Float[Array, " constraints"]
    """The excess of the iteration before; its differences are those of J."""
    started: Float[Array, ""]
    """0 until there is one."""
    value: Float[Array, " constraints"]
    """nu."""
    gains: tuple[float, float, float] = eqx.field(static=True)
    """K_P, K_I, K_D."""

    @classmethod
    def create(cls, constraints: int, start: float, gains: tuple[float, float, float]) -> Self:
        """All multipliers at ``start`` until the first excess; the integral is what holds it there."""
        integral = jnp.full(constraints, start / gains[1] if gains[1] > 0 else 0.0)
        return cls(integral, jnp.zeros(constraints), jnp.zeros(()), jnp.full(constraints, start), gains)

    def ascend(self, excess: Float[Array, " constraints"]) -> Self:
        """With the excess of one more iteration."""
        proportional, integral, differential = self.gains
        total = jnp.maximum(0.0, self.integral + excess)
        rise = self.started * jnp.maximum(0.0, excess - self.before)
        nu = jnp.maximum(0.0, proportional * excess + integral * total + differential * rise)
        return type(self)(total, excess, jnp.ones(()), nu, self.gains)


def _adam(learning_rate: float) -> optax.GradientTransformation:
    return optax.adam(learning_rate)
