"""Policies: a network and the distribution that it parameterises.

Every method takes one observation or any leading batch axes.
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from surefoot.errors import SurefootError
from surefoot.networks.mlp import Activation, Mlp
from surefoot.task import Discrete, Task


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
        """Of the given actions, in nats."""
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
        """Log-density of the given actions, as they are before the world clips them, in nats."""
        return gaussian_log_density(action, self.network(observation), self.log_std)

    def entropy(self, observation: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        """In nats; the same at every observation."""
        return jnp.broadcast_to(gaussian_entropy(self.log_std), observation.shape[:-1])


class BoundedGaussianPolicy(eqx.Module):
    """Continuous actions: a diagonal Gaussian whose mean stays within the bounds.

        mean(s) = (low + high) / 2 + (high - low) / 2 * tanh(network(s)),    action ~ N(mean(s), std^2)

    With a small spread that is not learned it is a deterministic policy with exploration noise. The world
    clips actions to the bounds; log-densities are those of the action before.
    """

    network: Mlp
    log_std: Float[Array, " act"]
    low: tuple[float, ...] = eqx.field(static=True)
    high: tuple[float, ...] = eqx.field(static=True)

    @classmethod
    def create(
        cls, task: Task, hidden: tuple[int, ...], key: PRNGKeyArray, *, std: float, activation: Activation
    ) -> BoundedGaussianPolicy:
        """Fresh, with means near the middle of the bounds and a spread of ``std``, in the action's unit.

        Raises :class:`SurefootError` unless actions are real and have finite bounds.
        """
        low, high = finite_bounds(task)
        sizes = (task.observation.size, *hidden, len(low))
        network = Mlp.create(sizes, key, activation=activation, last_scale=0.01)
        return cls(network, jnp.full(len(low), math.log(std)), low, high)

    def act(self, observation: Float[Array, "*batch obs"], key: PRNGKeyArray) -> Float[Array, "*batch act"]:
        """A sampled action, not yet clipped."""
        mean = self.mode(observation)
        return mean + jnp.exp(self.log_std) * jax.random.normal(key, mean.shape)

    def mode(self, observation: Float[Array, "*batch obs"]) -> Float[Array, "*batch act"]:
        """The mean."""
        low, high = jnp.asarray(self.low), jnp.asarray(self.high)
        return (low + high) / 2 + (high - low) / 2 * jnp.tanh(self.network(observation))

    def uniform(
        self, observation: Float[Array, "*batch obs"], key: PRNGKeyArray
    ) -> Float[Array, "*batch act"]:
        """An action drawn uniformly within the bounds."""
        shape = (*observation.shape[:-1], len(self.low))
        return jax.random.uniform(key, shape, minval=jnp.asarray(self.low), maxval=jnp.asarray(self.high))

    def log_prob(
        self, observation: Float[Array, "*batch obs"], action: Float[Array, "*batch act"]
    ) -> Float[Array, "*batch"]:
        """Log-density of the given actions, as they are before the world clips them, in nats."""
        return gaussian_log_density(action, self.mode(observation), self.log_std)

    def entropy(self, observation: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        """In nats; the same at every observation."""
        return jnp.broadcast_to(gaussian_entropy(self.log_std), observation.shape[:-1])


def gaussian_log_density(
    action: Float[Array, "*batch act"], mean: Float[Array, "*batch act"], log_std: Float[Array, " act"]
) -> Float[Array, "*batch"]:
    """log N(action; mean, std^2), summed over the entries; in nats."""
    z = (action - mean) / jnp.exp(log_std)
    return -jnp.sum(0.5 * z**2 + log_std + 0.5 * math.log(2 * math.pi), axis=-1)


def gaussian_entropy(log_std: Float[Array, " act"]) -> Float[Array, ""]:
    """Of a diagonal Gaussian, in nats."""
    return jnp.sum(log_std + 0.5 * math.log(2 * math.pi * math.e))


LOG_STD_RANGE = (-20.0, 2.0)
"""Of a squashed Gaussian, before the squashing (Haarnoja et al. 2018)."""
EDGE = 1.0 - 1e-6
"""How far from the middle of [-1, 1] a given action may lie: atanh is infinite at the ends."""


class SquashedGaussianPolicy(eqx.Module):
    """Continuous actions within bounds: tanh of a diagonal Gaussian, scaled to the bounds.

        u ~ N(mean(s), std(s)^2),   action = (low + high) / 2 + (high - low) / 2 * tanh(u)

    Log-densities are those of tanh(u), the action scaled to [-1, 1]: a temperature then means the same
    whatever the action's units (Haarnoja et al. 2018, arXiv 1801.01290, appendix C):

        log pi(a|s) = log N(u) - sum_i log(1 - tanh(u_i)^2)
                    = log N(u) - sum_i 2 (log 2 - u_i - softplus(-2 u_i))

    where the second form stays finite for every u.
    """

    network: Mlp
    """``2 * act`` outputs: the means, then the logarithms of the standard deviations."""
    low: tuple[float, ...] = eqx.field(static=True)
    high: tuple[float, ...] = eqx.field(static=True)

    @classmethod
    def create(cls, task: Task, hidden: tuple[int, ...], key: PRNGKeyArray) -> SquashedGaussianPolicy:
        """A fresh policy; raises :class:`SurefootError` unless every action has finite bounds."""
        low, high = finite_bounds(task)
        sizes = (task.observation.size, *hidden, 2 * len(low))
        return cls(Mlp.create(sizes, key), low, high)

    def gaussian(
        self, observation: Float[Array, "*batch obs"]
    ) -> tuple[Float[Array, "*batch act"], Float[Array, "*batch act"]]:
        """Mean and log standard deviation of u."""
        mean, log_std = jnp.split(self.network(observation), 2, axis=-1)
        return mean, jnp.clip(log_std, *LOG_STD_RANGE)

    def act(self, observation: Float[Array, "*batch obs"], key: PRNGKeyArray) -> Float[Array, "*batch act"]:
        """A sampled action."""
        mean, log_std = self.gaussian(observation)
        return self.scaled(jnp.tanh(mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)))

    def mode(self, observation: Float[Array, "*batch obs"]) -> Float[Array, "*batch act"]:
        """The squashed mean (the median of each entry, not the densest point)."""
        return self.scaled(jnp.tanh(self.gaussian(observation)[0]))

    def sample(
        self, observation: Float[Array, "*batch obs"], key: PRNGKeyArray
    ) -> tuple[Float[Array, "*batch act"], Float[Array, "*batch"]]:
        """A sampled action and its log-density, both differentiable in the network's parameters."""
        shape = (*observation.shape[:-1], len(self.low))
        return self.reparameterised(observation, jax.random.normal(key, shape))

    def reparameterised(
        self, observation: Float[Array, "*batch obs"], noise: Float[Array, "*batch act"]
    ) -> tuple[Float[Array, "*batch act"], Float[Array, "*batch"]]:
        """The action that standard normal ``noise`` leads to, and its log-density."""
        mean, log_std = self.gaussian(observation)
        u = mean + jnp.exp(log_std) * noise
        return self.scaled(jnp.tanh(u)), squashed_log_density(u, noise, log_std)

    def log_prob(
        self, observation: Float[Array, "*batch obs"], action: Float[Array, "*batch act"]
    ) -> Float[Array, "*batch"]:
        """Log-density of the given actions, in nats; they are first moved off the bounds by 1e-6 of half the
        range."""
        middle, half = self._middle_and_half()
        u = jnp.arctanh(jnp.clip((action - middle) / half, -EDGE, EDGE))
        mean, log_std = self.gaussian(observation)
        return squashed_log_density(u, (u - mean) / jnp.exp(log_std), log_std)

    def uniform(
        self, observation: Float[Array, "*batch obs"], key: PRNGKeyArray
    ) -> Float[Array, "*batch act"]:
        """An action drawn uniformly within the bounds."""
        shape = (*observation.shape[:-1], len(self.low))
        return self.scaled(jax.random.uniform(key, shape, minval=-1.0, maxval=1.0))

    def scaled(self, squashed: Float[Array, "*batch act"]) -> Float[Array, "*batch act"]:
        """From [-1, 1] to the bounds."""
        middle, half = self._middle_and_half()
        return middle + half * squashed

    def _middle_and_half(self) -> tuple[Float[Array, " act"], Float[Array, " act"]]:
        low, high = jnp.asarray(self.low), jnp.asarray(self.high)
        return (low + high) / 2, (high - low) / 2


def finite_bounds(task: Task) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Bounds of real actions; raises :class:`SurefootError` for discrete actions and infinite bounds."""
    if isinstance(task.action, Discrete):
        raise SurefootError(
            f"'{task.name}' has discrete actions, but this algorithm needs continuous ones; choose another "
            "environment (--env), such as PointMass-v0."
        )
    low, high = tuple(map(float, task.action.low)), tuple(map(float, task.action.high))
    if not all(map(math.isfinite, low + high)):
        raise SurefootError(
            f"'{task.name}' has actions without bounds, but this algorithm needs finite ones; wrap the "
            "environment in gymnasium.wrappers.TransformAction with a finite Box."
        )
    return low, high


def squashed_log_density(
    u: Float[Array, "*batch act"], z: Float[Array, "*batch act"], log_std: Float[Array, "*batch act"]
) -> Float[Array, "*batch"]:
    """Log-density of tanh(u), where u = mean + std z, summed over the entries; in nats."""
    gaussian = -0.5 * z**2 - log_std - 0.5 * math.log(2 * math.pi)
    log_slope = 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))  # of tanh at u
    return jnp.sum(gaussian - log_slope, axis=-1)


class WarmUp(eqx.Module):
    """A policy that acts uniformly at random while ``uniform`` holds."""

    policy: Any
    """Categorical, or one that has ``uniform(observation, key)``."""
    uniform: Bool[Array, ""]

    def act(self, observation: Float[Array, "*batch obs"], key: PRNGKeyArray) -> Shaped[Array, "..."]:
        """A sampled action."""
        if not isinstance(self.policy, CategoricalPolicy):  # one key for both: only one draw is used
            drawn = self.policy.uniform(observation, key)
            return jnp.where(self.uniform, drawn, self.policy.act(observation, key))
        logits = jnp.where(self.uniform, 0.0, self.policy.network(observation))
        return jax.random.categorical(key, logits)

    def memory(self) -> Any:
        """That of the policy, if it remembers from step to step; else ``None``."""
        return self.policy.memory() if hasattr(self.policy, "memory") else None

    def act_with(
        self, memory: Any, observation: Float[Array, " obs"], key: PRNGKeyArray
    ) -> tuple[Float[Array, " act"], Any]:
        """A sampled action, and the memory after it, which uniform actions leave as it is."""
        return jax.lax.cond(
            self.uniform,
            lambda: (self.policy.uniform(observation, key), memory),
            lambda: self.policy.act_with(memory, observation, key),
        )


class Mode(eqx.Module):
    """A policy without its noise: s -> pi(s), most probable or mean action, and a policy of its own."""

    policy: Any

    def __call__(self, observation: Float[Array, "*batch obs"]) -> Shaped[Array, "..."]:
        return self.policy.mode(observation)

    def act(self, observation: Float[Array, "*batch obs"], key: PRNGKeyArray) -> Shaped[Array, "..."]:
        """Its mode; the key is not used."""
        return self.policy.mode(observation)
