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


def _adam(learning_rate: float) -> optax.GradientTransformation:
    return optax.adam(learning_rate)
