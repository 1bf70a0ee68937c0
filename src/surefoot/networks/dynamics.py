"""Probabilistic ensembles: learned models of what an action does (Chua et al. 2018, arXiv 1805.12114).

Each of E members is a network from a state and an action to a Gaussian over the change of the state and,
where asked for, the reward of the step:

    (y - target_mean) / target_scale ~ N(mu_e(x), diag exp(l_e(x))),    y = (s' - s, r)
    x = ((s, a) - input_mean) / input_scale

Log-variances are kept within learned bounds, smoothly (Chua et al., appendix A.1):

    l = max - softplus(max - raw);    l <- min + softplus(l - min)

Where costs are asked for, each member has a second network for their expected values, max(mu, 0). In one
network, what makes a cost rare and sharp would spoil the prediction of the state, or the other way round.

Departures: targets are normalised as inputs are, so that small changes are learned as well as large ones and
the bounds mean the same for each; the bounds are each member's own, so that members are independent of each
other; what hardly varies is not magnified. :mod:`surefoot.networks.dynamics_fit` fits it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from surefoot.errors import SurefootError, check_range

PRECISIONS = ("float32", "bfloat16")
"""Of numbers that are multiplied: bfloat16 has the range of float32 and 8 of its 24 binary digits."""
MAX_LOG_VARIANCE, MIN_LOG_VARIANCE = 0.5, -10.0
"""Where the bounds of the log-variances start (Chua et al.'s code)."""


class Members(eqx.Module):
    """What a fit changes; every array has the members as its first axis."""

    weights: tuple[Float[Array, "members _in _out"], ...]
    biases: tuple[Float[Array, "members _out"], ...]
    cost_weights: tuple[Float[Array, "members _in _out"], ...]
    cost_biases: tuple[Float[Array, "members _out"], ...]
    """Of the networks for the costs; empty if there are none."""
    max_log_variance: Float[Array, "members drawn"]
    min_log_variance: Float[Array, "members drawn"]

    def __call__(
        self, x: Float[Array, "members batch in"]
    ) -> tuple[Float[Array, "members batch outputs"], Float[Array, "members batch drawn"]]:
        """Means of all outputs and log-variances of those that are drawn, at normalised inputs."""
        mean, raw = jnp.split(_layers(x, self.weights, self.biases), 2, axis=-1)
        upper, lower = self.max_log_variance[:, None], self.min_log_variance[:, None]
        log_variance = upper - jax.nn.softplus(upper - raw)
        if self.cost_weights:
            mean = jnp.concatenate([mean, _layers(x, self.cost_weights, self.cost_biases)], axis=-1)
        return mean, lower + jax.nn.softplus(log_variance - lower)


def _layers(x: Array, weights: tuple[Array, ...], biases: tuple[Array, ...]) -> Array:
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = jnp.matmul(x.astype(weight.dtype), weight, preferred_element_type=bias.dtype) + bias[:, None]
        if layer < len(weights) - 1:
            x = swish(x)
    return x


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
    target_mean: Float[Array, " drawn"]
    target_scale: Float[Array, " drawn"]
    """Of (s' - s, r)."""
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
        cost_hidden: tuple[int, ...] = (64, 64),
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
            cost_hidden: widths of the hidden layers of their networks.
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
        for name, widths in (("hidden", hidden), ("cost_hidden", cost_hidden)):
            if not widths or any(width < 1 for width in widths):
                raise SurefootError(f"{name} = {widths}: give the width of at least one hidden layer.")
        drawn = observation_size + rewards
        sizes = (observation_size + action_size, *hidden, 2 * drawn)
        cost_sizes = (sizes[0], *cost_hidden, costs) if costs else ()
        layers = [*pairwise(sizes), *pairwise(cost_sizes)]
        ends = list(accumulate(members * n_in * n_out for n_in, n_out in layers))
        # One draw for all: a draw an array takes several times as long to compile.
        draws = jnp.split(jax.random.truncated_normal(key, -2.0, 2.0, (ends[-1],)), ends[:-1])
        weights = tuple(
            x.reshape(members, n_in, n_out) / (2 * math.sqrt(n_in))
            for x, (n_in, n_out) in zip(draws, layers, strict=True)
        )
        biases = tuple(jnp.zeros((members, n_out)) for _, n_out in layers)
        depth = len(sizes) - 1
        networks = Members(
            weights[:depth],
            biases[:depth],
            weights[depth:],
            biases[depth:],
            jnp.full((members, drawn), MAX_LOG_VARIANCE),
            jnp.full((members, drawn), MIN_LOG_VARIANCE),
        )
        mean, scale = jnp.zeros(sizes[0]), jnp.ones(sizes[0])
        targets = jnp.zeros(drawn), jnp.ones(drawn)
        chosen_first = jnp.arange(chosen, dtype=jnp.int32)
        return cls(
            networks, mean, scale, *targets, chosen_first, observation_size, action_size, rewards, costs
        )

    @property
    def size(self) -> int:
        """E, the number of members."""
        return self.members.biases[0].shape[0]

    def predict(
        self, observation: Float[Array, "*members batch obs"], action: Float[Array, "*members batch act"]
    ) -> tuple[Float[Array, "members batch outputs"], Float[Array, "members batch drawn"]]:
        """Means ``[E, batch, outputs]`` of (s' - s, r, costs) and log-variances of (s' - s, r).

        Rows without a first axis for the members are given to each of them.
        """
        x = jnp.concatenate([observation, action], axis=-1)
        x = (x - self.input_mean) / self.input_scale
        mean, log_variance = self.members(jnp.broadcast_to(x, (self.size, *x.shape[-2:])))
        drawn = len(self.target_scale)
        changes = self.target_mean + self.target_scale * mean[..., :drawn]
        mean = jnp.concatenate([changes, mean[..., drawn:]], axis=-1) if self.costs else changes
        return mean, log_variance + 2 * jnp.log(self.target_scale)

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
        log_variance: Float[Array, "*some_batch drawn"],
        key: PRNGKeyArray,
    ) -> Prediction:
        """s' = s + dy and r from the Gaussian; costs are the last means, cut at 0."""
        shape = jnp.broadcast_shapes(observation.shape[:-1], mean.shape[:-1])
        drawn = self.observation_size + self.rewards
        noise = jax.random.normal(key, (*shape, drawn))
        y = mean[..., :drawn] + jnp.exp(0.5 * log_variance) * noise
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

    def products_in(self, precision: str) -> Ensemble:
        """The same model, whose layers multiply in this precision (:data:`PRECISIONS`) and sum in float32.

        States, biases, log-variances and noise stay in float32. Such a model is to be used, not fitted.
        """
        weights, cost_weights = (
            tuple(weight.astype(precision) for weight in layers)
            for layers in (self.members.weights, self.members.cost_weights)
        )
        return replace(self, members=replace(self.members, weights=weights, cost_weights=cost_weights))

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
