"""Demonstrated states and actions as arrays, to draw batches from inside compiled code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations


class Pairs(eqx.Module):
    """Demonstrated states and actions, all episodes one after the other."""

    observation: Float[Array, "pairs obs"]
    action: Shaped[Array, "pairs *act"]
    """Integers ``[pairs]``, or floats ``[pairs, act]``."""

    @classmethod
    def of(cls, demonstrations: Demonstrations) -> Pairs:
        """Every step of the demonstrations."""
        return cls(jnp.asarray(demonstrations.observations), jnp.asarray(demonstrations.actions))

    def sample(self, key: PRNGKeyArray, n: int) -> Pairs:
        """``n`` pairs, uniformly with replacement."""
        rows = jax.random.randint(key, (n,), 0, len(self.action))
        return Pairs(self.observation[rows], self.action[rows])
