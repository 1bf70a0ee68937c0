"""Policies: a network and the distribution that it parameterises.

Every method takes one observation or any leading batch axes.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from surefoot.networks.mlp import Mlp


class CategoricalPolicy(eqx.Module):
    """Discrete actions: softmax of the network's outputs."""

    network: Mlp

    def log_probabilities(self, observation: Float[Array, "*batch obs"]) -> Float[Array, "*batch actions"]:
        return jax.nn.log_softmax(self.network(observation))

    def act(self, observation: Float[Array, "*batch obs"], key: PRNGKeyArray) -> Int[Array, "*batch"]:
        """A sampled action."""
        return jax.random.categorical(key, self.network(observation))

    def mode(self, observation: Float[Array, "*batch obs"]) -> Int[Array, "*batch"]:
        """The most probable action."""
        return jnp.argmax(self.network(observation), axis=-1)

    def log_prob(
        self, observation: Float[Array, "*batch obs"], action: Int[Array, "*batch"]
    ) -> Float[Array, "*batch"]:
        log_p = self.log_probabilities(observation)
        return jnp.take_along_axis(log_p, action[..., None], axis=-1)[..., 0]

    def entropy(self, observation: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        """In nats."""
        log_p = self.log_probabilities(observation)
        return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


class GaussianPolicy(eqx.Module):
    """Continuous actions: a diagonal Gaussian with a state-independent spread, unbounded.

    The world clips actions to its bounds; log-probabilities are those of the unclipped action.
    """

    network: Mlp
    log_std: Float[Array, " act"]

    def act(self, observation: Float[Array, "*batch obs"], key: PRNGKeyArray) -> Float[Array, "*batch act"]:
        """A sampled action."""
        mean = self.network(observation)
        return mean + jnp.exp(self.log_std) * jax.random.normal(key, mean.shape)

    def mode(self, observation: Float[Array, "*batch obs"]) -> Float[Array, "*batch act"]:
        """The mean."""
        return self.network(observation)

    def log_prob(
        self, observation: Float[Array, "*batch obs"], action: Float[Array, "*batch act"]
    ) -> Float[Array, "*batch"]:
        z = (action - self.network(observation)) / jnp.exp(self.log_std)
        return -jnp.sum(0.5 * z**2 + self.log_std + 0.5 * math.log(2 * math.pi), axis=-1)

    def entropy(self, observation: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        """In nats; the same at every observation."""
        each = jnp.sum(self.log_std + 0.5 * math.log(2 * math.pi * math.e))
        return jnp.broadcast_to(each, observation.shape[:-1])


class WarmUp(eqx.Module):
    """A discrete policy that acts uniformly at random while ``uniform`` holds."""

    policy: CategoricalPolicy
    uniform: Bool[Array, ""]

    def act(self, observation: Float[Array, "*batch obs"], key: PRNGKeyArray) -> Int[Array, "*batch"]:
        """A sampled action."""
        logits = jnp.where(self.uniform, 0.0, self.policy.network(observation))
        return jax.random.categorical(key, logits)
