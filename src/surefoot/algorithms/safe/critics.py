"""Action-value functions of reward and costs, fitted to whole episodes of one policy.

What an action is worth shows only through the noise around the policy's mean. A network that takes the
action itself begins with a slope in it that is as large as any other, and that the noise hardly corrects: a
policy that descends it goes where the initial weights point. So there is another form, :class:`Centred`,
which takes the noise in its own unit and is flat in it at first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from surefoot.data.trajectories import Trajectories
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import BoundedGaussianPolicy
from surefoot.numerics.pieces import summed_gradient
from surefoot.numerics.returns import lambda_return, of_each
from surefoot.task import Task

Networks = TypeVar("Networks")


class Critics(eqx.Module):
    """Q_R and one Q_C a constraint: networks of their own from observation and action to a number."""

    reward: Mlp
    costs: tuple[Mlp, ...]
    form: str = eqx.field(static=True, default="raw")
    """What they take of an action: raw, itself; noise, what :class:`Centred` says."""

    @classmethod
    def create(cls, task: Task, hidden: tuple[int, ...], key: PRNGKeyArray, *, form: str = "raw") -> Critics:
        """Fresh networks with tanh between their layers, which take no notice of the noise yet."""
        action = getattr(task.action, "size", 1)
        sizes = (task.observation.size + action, *hidden, 1)

        def network(key: PRNGKeyArray) -> Mlp:
            made = Mlp.create(sizes, key, activation="tanh")
            if form == "raw":
                return made
            blind = made.weights[0].at[task.observation.size :].set(0.0)
            return eqx.tree_at(lambda network: network.weights[0], made, blind)

        first, *rest = map(network, jax.random.split(key, 1 + len(task.constraints)))
        return cls(first, tuple(rest), form)

    def value(
        self, observation: Float[Array, "*batch obs"], action: Float[Array, "*batch act"]
    ) -> Float[Array, "*batch"]:
        """Q_R(s, a)."""
        return self.reward(jnp.concatenate([observation, action], axis=-1))[..., 0]

    def cost(
        self, observation: Float[Array, "*batch obs"], action: Float[Array, "*batch act"]
    ) -> Float[Array, "*batch constraints"]:
        """Q_C(s, a) of each constraint."""
        both = jnp.concatenate([observation, action], axis=-1)
        return jnp.concatenate([network(both) for network in self.costs], axis=-1)

    def all(
        self, observation: Float[Array, "*batch obs"], action: Float[Array, "*batch act"]
    ) -> Float[Array, "*batch signals"]:
        """Q_R and then every Q_C."""
        value = self.value(observation, action)[..., None]
        return jnp.concatenate([value, self.cost(observation, action)], axis=-1)


class Centred(eqx.Module):
    """Critics that take of an action its distance from a policy's mean, in units of that policy's spread.

        Q(s, a) = network(s, (a - pi_B(s)) / delta)

    Distances of actions that were sampled have variance 1 whatever the exploration noise.
    """

    critics: Critics
    policy: BoundedGaussianPolicy
    """pi_B, with delta as its spread."""

    @property
    def costs(self) -> tuple[Mlp, ...]:
        return self.critics.costs

    def value(
        self, observation: Float[Array, "*batch obs"], action: Float[Array, "*batch act"]
    ) -> Float[Array, "*batch"]:
        """Q_R(s, a)."""
        return self.critics.value(observation, self.distance(observation, action))

    def cost(
        self, observation: Float[Array, "*batch obs"], action: Float[Array, "*batch act"]
    ) -> Float[Array, "*batch constraints"]:
        """Q_C(s, a) of each constraint."""
        return self.critics.cost(observation, self.distance(observation, action))

    def all(
        self, observation: Float[Array, "*batch obs"], action: Float[Array, "*batch act"]
    ) -> Float[Array, "*batch signals"]:
        """Q_R and then every Q_C."""
        return self.critics.all(observation, self.distance(observation, action))

    def distance(
        self, observation: Float[Array, "*batch obs"], action: Float[Array, "*batch act"]
    ) -> Float[Array, "*batch act"]:
        """(a - pi_B(s)) / delta."""
        return (action - self.policy.mode(observation)) / jnp.exp(self.policy.log_std)


def seen_from(critics: Critics, policy: BoundedGaussianPolicy) -> Critics | Centred:
    """The critics as functions of an action, whatever they take of it; ``policy`` is pi_B."""
    return Centred(critics, policy) if critics.form == "noise" else critics


def targets(
    critics: Critics | Centred,
    policy: BoundedGaussianPolicy,
    batch: Trajectories,
    *,
    discount: float,
    trace: float,
) -> Float[Array, "time envs signals"]:
    """TD(lambda) targets of reward and costs; with ``trace`` 1 the Monte Carlo return.

    Where an episode is cut, Q at the true successor and the policy's mean action stands for the rest.
    """
    signals = jnp.concatenate([batch.reward[..., None], batch.cost], axis=-1)
    following = critics.all(batch.next_observation, policy.mode(batch.next_observation))
    ends = of_each(signals, batch.terminated, batch.truncated)
    return lambda_return(signals, following, *ends, discount=discount, trace=trace)


def optimiser(learning_rate: float) -> optax.GradientTransformation:
    """Adam; its state stays over the epochs."""
    return optax.adam(learning_rate)


def regression(
    found: Callable[[Networks, Any], Float[Array, "batch signals"]],
    networks: Networks,
    state: optax.OptState,
    inputs: Any,
    target: Float[Array, "batch signals"],
    weight: Float[Array, " batch"],
    *,
    steps: int | Int[Array, ""],
    learning_rate: float,
    minibatch: int = 0,
    key: PRNGKeyArray | None = None,
) -> tuple[Networks, optax.OptState, Float[Array, " signals"]]:
    """``steps`` of Adam on the mean squared error of ``found(networks, inputs)`` over the whole batch.

    Returns also the last error of each signal. With ``minibatch`` each step is on so many transitions, drawn
    with ``key`` in proportion to their weights.
    """
    adam = optimiser(learning_rate)
    total = jnp.cumsum(weight)

    def error(networks: Networks, data: tuple[Any, Array, Array]) -> tuple[Array, Array]:
        inputs, target, weight = data
        each = weight @ (found(networks, inputs) - target) ** 2
        return jnp.sum(each), each

    def chosen(i: Int[Array, ""]) -> tuple[Any, Array, Array]:
        if not minibatch:
            return inputs, target, weight
        assert key is not None
        places = jax.random.uniform(jax.random.fold_in(key, i), (minibatch,)) * total[-1]
        rows = jnp.minimum(jnp.searchsorted(total, places, side="right"), len(weight) - 1)
        drawn = jax.tree.map(lambda x: x[rows], (inputs, target))
        return *drawn, jnp.full(minibatch, 1 / minibatch)

    def step(
        i: Int[Array, ""], carry: tuple[Networks, optax.OptState, Array]
    ) -> tuple[Networks, optax.OptState, Array]:
        networks, state, _ = carry
        slope, each = summed_gradient(error, networks, chosen(i))
        change, state = adam.update(slope, state)
        return optax.apply_updates(networks, change), state, each  # type: ignore[return-value]

    return jax.lax.fori_loop(0, steps, step, (networks, state, jnp.zeros(target.shape[-1])))
