"""Critics: networks that predict returns."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from surefoot.networks.mlp import Mlp


class TwinQ(eqx.Module):
    """Two independent action-value networks for discrete actions, held as one stacked network."""

    networks: Mlp
    """Every array with a leading axis of two."""

    @classmethod
    def create(cls, sizes: tuple[int, ...], key: PRNGKeyArray) -> TwinQ:
        return cls(jax.vmap(lambda k: Mlp.create(sizes, k))(jax.random.split(key, 2)))

    def __call__(self, observation: Float[Array, "batch obs"]) -> Float[Array, "2 batch actions"]:
        """Q of every action by either network."""
        return jax.vmap(lambda network: network(observation))(self.networks)

    def minimum(self, observation: Float[Array, "batch obs"]) -> Float[Array, "batch actions"]:
        """The smaller of the two (clipped double Q-learning, Fujimoto et al. 2018)."""
        return jnp.min(self(observation), axis=0)


class TwinContinuousQ(eqx.Module):
    """Two independent networks from observation and action to a value, held as one stacked network."""

    networks: Mlp
    """Every array with a leading axis of two."""

    @classmethod
    def create(cls, obs: int, act: int, hidden: tuple[int, ...], key: PRNGKeyArray) -> TwinContinuousQ:
        """Fresh networks for observations of ``obs`` and actions of ``act`` numbers."""
        sizes = (obs + act, *hidden, 1)
        return cls(jax.vmap(lambda k: Mlp.create(sizes, k))(jax.random.split(key, 2)))

    def __call__(
        self, observation: Float[Array, "batch obs"], action: Float[Array, "batch act"]
    ) -> Float[Array, "2 batch"]:
        """Q by either network."""
        both = jnp.concatenate([observation, action], axis=-1)
        return jax.vmap(lambda network: network(both))(self.networks)[..., 0]

    def first(
        self, observation: Float[Array, "*batch obs"], action: Float[Array, "*batch act"]
    ) -> Float[Array, "*batch"]:
        """Q by the first network, at the cost of one."""
        both = jnp.concatenate([observation, action], axis=-1)
        return jax.tree.map(lambda x: x[0], self.networks)(both)[..., 0]

    def minimum(
        self, observation: Float[Array, "batch obs"], action: Float[Array, "batch act"]
    ) -> Float[Array, " batch"]:
        """The smaller of the two (clipped double Q-learning, Fujimoto et al. 2018)."""
        return jnp.min(self(observation, action), axis=0)
