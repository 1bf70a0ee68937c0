"""Probabilistic ensembles: learned models of what an action does (Chua et al. 2018, arXiv 1805.12114).

Each of E members is a network from a state and an action to a Gaussian over the change of the state and,
where asked for, the reward and the costs of the step:

    y = (s' - s, r, c_1 .. c_m) ~ N(mu_e(x), diag exp(l_e(x))),    x = ((s, a) - mean) / scale

Log-variances are kept within learned bounds, smoothly (Chua et al., appendix A.1):

    l = max - softplus(max - raw);    l <- min + softplus(l - min)

Costs are expected values, max(mu, 0), and the width of their Gaussian means nothing.

Departures: the bounds are each member's own, so that members are independent of each other; inputs that
hardly vary are not magnified. :mod:`surefoot.networks.dynamics_fit` fits it.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from surefoot.errors import SurefootError, check_range

MAX_LOG_VARIANCE, MIN_LOG_VARIANCE = 0.5, -10.0
"""Where the bounds of the log-variances start (Chua et al.'s code)."""


class Members(eqx.Module):
    """What a fit changes; every array has the members as its first axis."""

    weights: tuple[Float[Array, "members _in _out"], ...]
    biases: tuple[Float[Array, "members _out"], ...]
    max_log_variance: Float[Array, "members outputs"]
    min_log_variance: Float[Array, "members outputs"]

    def __call__(
        self, x: Float[Array, "members batch in"]
    ) -> tuple[Float[Array, "members batch outputs"], Float[Array, "members batch outputs"]]:
        """Means and log-variances at normalised inputs."""
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = jnp.matmul(x, weight) + bias[:, None]
            if layer < len(self.weights) - 1:
                x = swish(x)
        mean, raw = jnp.split(x, 2, axis=-1)
        upper, lower = self.max_log_variance[:, None], self.min_log_variance[:, None]
        log_variance = upper - jax.nn.softplus(upper - raw)
        return mean, lower + jax.nn.softplus(log_variance - lower)


def swish(x: Array) -> Array:
    """x sigmoid(x)."""
    return x * (0.5 + 0.5 * jnp.tanh(0.5 * x))


class Prediction(eqx.Module):
    """What a model says that a step leads to."""

    next_observation: Float[Array, "*batch obs"]
    reward: Float[Array, "*batch"] | None
    """``None`` if the model does not predict it."""
    cost: Float[Array, "*batch costs"]
    """Expected cost, without noise and not below 0; no columns if the model does not predict it."""


class Ensemble(eqx.Module):
    """E networks that predict a step, held as one."""

    members: Members
    input_mean: Float[Array, " in"]
    input_scale: Float[Array, " in"]
    elites: Int[Array, " elites"]
    """Numbers of the members that count; all of them, unless the fit holds transitions out to choose."""
    observation_size: int = eqx.field(static=True)
    action_size: int = eqx.field(static=True)
    rewards: bool = eqx.field(static=True)
    """Whether the reward is predicted."""
    costs: int = eqx.field(static=True)
    """How many costs are predicted."""

    @classmethod
    def create(
        cls,
        observation_size: int,
        action_size: int,
        *,
        key: PRNGKeyArray,
        members: int = 5,
        hidden: tuple[int, ...] = (200, 200, 200, 200),
        rewards: bool = True,
        costs: int = 0,
        elites: int | None = None,
    ) -> Self:
        """Fresh members: weights from a normal cut at two deviations of 1 / (2 sqrt(inputs)), biases 0.

        Args:
            observation_size: entries of a state.
            action_size: entries of an action.
            key: consumed for the weights.
            members: E, the number of networks.
            hidden: widths of the hidden layers.
            rewards: predict the reward as well.
            costs: predict so many costs as well.
            elites: use only so many members, those with the least error on transitions held out.

        Raises:
            SurefootError: a size out of range.
        """
        check_range("observation_size", observation_size, low=1)
        check_range("action_size", action_size, low=1)
        check_range("members", members, low=1)
        check_range("costs", costs, low=0)
        chosen = members if elites is None else elites
        check_range("elites", chosen, low=1, high=members)
        if not hidden or any(width < 1 for width in hidden):
            raise SurefootError(f"hidden = {hidden}: give the width of at least one hidden layer.")
        outputs = observation_size + rewards + costs
        sizes = (observation_size + action_size, *hidden, 2 * outputs)
        layers = list(zip(sizes[:-1], sizes[1:], strict=True))
        ends = list(accumulate(members * n_in * n_out for n_in, n_out in layers))
        # One draw for all: a draw an array takes several times as long to compile.
        draws = jnp.split(jax.random.truncated_normal(key, -2.0, 2.0, (ends[-1],)), ends[:-1])
        weights = (
            x.reshape(members, n_in, n_out) / (2 * math.sqrt(n_in))
            for x, (n_in, n_out) in zip(draws, layers, strict=True)
        )
        networks = Members(
            tuple(weights),
            tuple(jnp.zeros((members, n_out)) for n_out in sizes[1:]),
            jnp.full((members, outputs), MAX_LOG_VARIANCE),
            jnp.full((members, outputs), MIN_LOG_VARIANCE),
        )
        mean, scale = jnp.zeros(sizes[0]), jnp.ones(sizes[0])
        chosen_first = jnp.arange(chosen, dtype=jnp.int32)
        return cls(networks, mean, scale, chosen_first, observation_size, action_size, rewards, costs)

    @property
    def size(self) -> int:
        """E, the number of members."""
        return self.members.biases[0].shape[0]

    def predict(
        self, observation: Float[Array, "*members batch obs"], action: Float[Array, "*members batch act"]
    ) -> tuple[Float[Array, "members batch outputs"], Float[Array, "members batch outputs"]]:
        """Means and log-variances ``[E, batch, outputs]`` of (s' - s, r, costs).

        Rows without a first axis for the members are given to each of them.
        """
        x = jnp.concatenate([observation, action], axis=-1)
        x = (x - self.input_mean) / self.input_scale
        return self.members(jnp.broadcast_to(x, (self.size, *x.shape[-2:])))

    def step(
        self,
        observation: Float[Array, "members batch obs"],
        action: Float[Array, "members batch act"],
        key: PRNGKeyArray,
    ) -> Prediction:
        """One sampled step of rows that each belong to a member (TS-infinity if they stay with it)."""
        return self.sample(observation, *self.predict(observation, action), key)

    def step_any(
        self,
        observation: Float[Array, "batch obs"],
        action: Float[Array, "batch act"],
        key: PRNGKeyArray,
        *,
        balanced: bool = False,
    ) -> Prediction:
        """One sampled step of each row by a member drawn for it (TS1 if it is drawn at every step).

        With ``balanced`` all members get the same number of rows (one more or less), in a random order:
        each row's member is still uniform, and the work is that of one member.
        """
        key_member, key_noise = jax.random.split(key)
        batch, size = len(observation), self.size
        if balanced:
            rows = -(-batch // size)
            order = jax.random.permutation(key_member, size * rows).reshape(size, rows)
            place = jnp.minimum(order, batch - 1)  # numbers beyond the batch fill the last places
            mean, log_variance = (
                jnp.zeros((batch, y.shape[-1])).at[order.ravel()].set(y.reshape(size * rows, -1), mode="drop")
                for y in self.predict(observation[place], action[place])
            )
        else:
            member, row = jax.random.randint(key_member, (batch,), 0, size), jnp.arange(batch)
            mean, log_variance = (y[member, row] for y in self.predict(observation, action))
        return self.sample(observation, mean, log_variance, key_noise)

    def sample(
        self,
        observation: Float[Array, "*batch obs"],
        mean: Float[Array, "*some_batch outputs"],
        log_variance: Float[Array, "*some_batch outputs"],
        key: PRNGKeyArray,
    ) -> Prediction:
        """s' = s + dy and r from the Gaussian; costs are its mean, cut at 0."""
        shape = jnp.broadcast_shapes(observation.shape[:-1], mean.shape[:-1])
        drawn = self.observation_size + self.rewards
        noise = jax.random.normal(key, (*shape, drawn))
        y = mean[..., :drawn] + jnp.exp(0.5 * log_variance[..., :drawn]) * noise
        cost = jnp.broadcast_to(jnp.maximum(mean[..., drawn:], 0.0), (*shape, self.costs))
        reward = y[..., self.observation_size] if self.rewards else None
        return Prediction(observation + y[..., : self.observation_size], reward, cost)

    def chosen(self) -> Ensemble:
        """An ensemble of the elites alone."""
        if len(self.elites) == self.size:
            return self
        members = jax.tree.map(lambda x: x[self.elites], self.members)
        elites = jnp.arange(len(self.elites), dtype=jnp.int32)
        return eqx.tree_at(lambda e: (e.members, e.elites), self, (members, elites))

    def check_sizes(self, observation_size: int, action_size: int, costs: int | None = None) -> None:
        """Raises :class:`SurefootError` unless the model was made for these sizes."""
        wanted = {"observations": observation_size, "actions": action_size}
        found = {"observations": self.observation_size, "actions": self.action_size}
        if costs is not None:
            wanted["costs"], found["costs"] = costs, self.costs
        for name, size in wanted.items():
            if size != found[name]:
                raise SurefootError(
                    f"The model was made for {found[name]} {name}, but {size} are needed; "
                    "give one of the same sizes, or fit a new one."
                )
