"""PPO-Lagrangian: PPO with a multiplier a cost limit (Ray, Achiam, Amodei 2019, https://openai.com/index/benchmarking-safe-exploration-in-deep-reinforcement-learning/).

It seeks max J(pi) subject to J_i(pi) <= d_i, where J_i is the expected undiscounted cost of an episode.

  1  collect T steps in each of N environments with pi_old
  2  J_i <- mean cost of the episodes that ended;  nu_i = softplus(x_i), Adam on x_i ascends nu_i (J_i - d_i)
  3  A, A_i <- generalised advantages of the reward and of each cost, each with its own value network
  4  for K passes in minibatches: Adam on
         L = [ - mean min(rho A, clip(rho) A) + sum_i nu_i mean(rho A_i) ] / (1 + sum_i nu_i)
             + c_1 mean (V(s) - R)^2 + c_C mean (V_i(s) - R_i)^2 - c_2 mean entropy

Reward advantages are standardised in each minibatch. Cost advantages are only centred, so that a policy
that hardly costs anything is hardly pushed. Dividing by 1 + sum nu keeps the size of a step as nu grows.

With ``multiplier_update="pid"`` line 2 is a PID controller instead (Stooke et al. 2020).

Departures from the paper, and why: Adam ascends nu_i (J_i - d_i) in x_i where theirs ascends x_i (J_i - d_i).
There is a multiplier for each constraint, and the learned cost of ICRL fits in through :func:`update`.
Several constraints share one value network with an output each, and one Adam with a clipped norm learns
policy and values. If no episode ended in an iteration, the last known J_i stands. The sizes are PPO's usual
ones and not theirs (30,000 steps, networks of 256 x 256, 80 passes over the whole batch, lambda 0.97, values
at 1e-3).
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.rl.ppo import (
    adam,
    approximate_kl,
    check_settings,
    clipped_gain,
    create_policy,
    create_values,
    minibatch_passes,
    restarted,
    standardise,
)
from surefoot.algorithms.safe.episodes import check_limits, check_memory, limits_of
from surefoot.data.trajectories import Trajectories, episode_metrics, flat
from surefoot.errors import check_range, unknown
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import BoundedGaussianPolicy, CategoricalPolicy, GaussianPolicy
from surefoot.numerics.dual import Multipliers, PidMultipliers
from surefoot.numerics.returns import cost_advantage, generalised_advantage
from surefoot.task import Task
from surefoot.worlds.world import Steps, World

UPDATES = ("adam", "pid")
"""Of the multipliers."""


class Networks(eqx.Module):
    """What the minibatch passes train."""

    policy: CategoricalPolicy | GaussianPolicy | BoundedGaussianPolicy
    value: Mlp
    """V: one output."""
    cost_value: Mlp
    """V_i: one output a constraint."""


class State(eqx.Module):
    """All that a resumed run needs."""

    networks: Networks
    optimiser: optax.OptState
    multipliers: Multipliers | PidMultipliers
    """nu."""
    episode_cost: Float[Array, " constraints"]
    """Last known J_i; the limits themselves before any episode ended."""


class Sample(eqx.Module):
    """What the loss needs of a step, or of a batch of them."""

    observation: Float[Array, "*batch obs"]
    action: Shaped[Array, "..."]
    log_prob: Float[Array, "*batch"]
    """log pi_old(a|s)."""
    advantage: Float[Array, "*batch"]
    target: Float[Array, "*batch"]
    """R."""
    cost_advantage: Float[Array, "*batch constraints"]
    cost_target: Float[Array, "*batch constraints"]
    """R_i."""


class PpoLagrangian(eqx.Module):
    """PPO with a Lagrange multiplier a cost limit."""

    needs_demonstrations: ClassVar[bool] = False
    interacts: ClassVar[bool] = True

    cost_limits: tuple[float, ...] | None = None
    """d: bound on the expected undiscounted cost of an episode, one a constraint or one for all;
    none takes the limits of the task."""
    multiplier_start: float = 1.0
    """nu before the first iteration."""
    multiplier_learning_rate: float = 0.05
    """Of Adam on x: about how much x moves an iteration."""
    multiplier_update: str = "adam"
    """adam, as in the paper; pid, a controller with pid-gains in its place."""
    pid_gains: tuple[float, float, float] = (0.1, 0.01, 0.01)
    """K_P, K_I, K_D on the excess J - d, in 1 / cost of an episode."""
    batch_steps: int = 2048
    """NT: environment steps per iteration, over all parallel environments."""
    passes: int = 10
    """K: most passes over these steps."""
    minibatch: int = 256
    """Steps a gradient step; what is left over of a pass is dropped."""
    learning_rate: float = 3e-4
    """Of Adam on the networks."""
    discount: float = 0.99
    """gamma of the reward."""
    trace: float = 0.95
    """lambda of the reward's advantage estimate: 0 trusts V, 1 trusts the sampled return."""
    cost_discount: float = 0.99
    """gamma of the costs; the limits bound undiscounted costs all the same."""
    cost_trace: float = 0.95
    """lambda of the costs' advantage estimates."""
    clip: float = 0.2
    """epsilon: how far the probability ratio may gain by moving."""
    value_weight: float = 0.5
    """c_1, weight of the error of the values in the loss."""
    cost_value_weight: float = 0.5
    """c_C, weight of the error of the cost values in the loss."""
    entropy_weight: float = 0.0
    """c_2, weight of the policy's entropy in the loss."""
    gradient_norm: float = 0.5
    """Longer gradients are scaled down to this norm."""
    target_kl: float = 0.02
    """Passes stop after one whose mean divergence from pi_old exceeds 1.5 times this, in nats."""
    hidden: tuple[int, ...] = (64, 64)
    """Hidden layers (tanh) of the policy and of each value network."""
    initial_std: float = 1.0
    """Spread of a continuous policy at the start, in half widths of the action space."""

    def __check_init__(self) -> None:
        check_settings(self)
        check_range("cost_discount", self.cost_discount, low=0, high=1)
        check_range("cost_trace", self.cost_trace, low=0, high=1)
        check_range("cost_value_weight", self.cost_value_weight, low=0)
        check_range("multiplier_start", self.multiplier_start, low=0, open_low=True)
        check_range("multiplier_learning_rate", self.multiplier_learning_rate, low=0)
        check_limits(self.cost_limits)
        if self.multiplier_update not in UPDATES:
            raise unknown("multiplier_update", self.multiplier_update, UPDATES)
        for gain in self.pid_gains:
            check_range("pid_gains", gain, low=0)

    @property
    def steps_per_iteration(self) -> int:
        return self.batch_steps

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Any = None) -> State:
        """Fresh networks and multipliers; demonstrations are ignored."""
        limits = self.limits(task)
        check_memory(task, self.batch_steps, ())
        key_policy, key_value, key_cost = jax.random.split(key, 3)
        networks = Networks(
            create_policy(task, self.hidden, key_policy, initial_std=self.initial_std),
            create_values(task, self.hidden, 1, key_value),
            create_values(task, self.hidden, len(limits), key_cost),
        )
        return State(
            networks,
            adam(self.learning_rate, self.gradient_norm).init(networks),  # type: ignore[arg-type]
            self.multipliers(len(limits)),
            jnp.array(limits),
        )

    def limits(self, task: Task) -> tuple[float, ...]:
        """d, one a constraint of ``task``."""
        return limits_of("PPO-Lagrangian", task, self.cost_limits)

    def multipliers(self, constraints: int) -> Multipliers | PidMultipliers:
        """Fresh ones, of the kind that the settings name."""
        if self.multiplier_update == "pid":
            return PidMultipliers.create(constraints, self.multiplier_start, self.pid_gains)
        return Multipliers.create(constraints, self.multiplier_start)

    def start_from(self, state: State, policy: Any, critics: Any) -> State:
        """``state`` with the network of another run's policy, whatever its sizes, and the spread of these
        settings; the value networks start afresh."""
        del critics
        networks = eqx.tree_at(lambda n: n.policy, state.networks, restarted(state.networks.policy, policy))
        optimiser = adam(self.learning_rate, self.gradient_norm).init(eqx.filter(networks, eqx.is_array))
        return eqx.tree_at(lambda s: (s.networks, s.optimiser), state, (networks, optimiser))

    def policy(self, state: State) -> CategoricalPolicy | GaussianPolicy | BoundedGaussianPolicy:
        return state.networks.policy

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        names = world.task.constraints
        key_collect, key_update = jax.random.split(key)
        world, batch = world.collect(self.policy(state), Steps(self.batch_steps), key_collect)  # line 1
        episode_cost = mean_episode_cost(batch, state.episode_cost)  # line 2
        state = eqx.tree_at(lambda s: s.episode_cost, state, episode_cost)
        excess = episode_cost - jnp.array(self.limits(world.task))
        state, metrics = update(self, state, batch, batch.cost, excess, key_update)  # lines 2, 3, 4
        nu = state.multipliers.value
        multipliers = {f"multiplier/{name}": nu[i] for i, name in enumerate(names)}
        return state, world, {**episode_metrics(batch, world.task), **metrics, **multipliers}


def mean_episode_cost(
    batch: Trajectories, before: Float[Array, " constraints"]
) -> Float[Array, " constraints"]:
    """Line 2: mean undiscounted cost of the episodes that ended in ``batch``, else ``before``."""
    done = batch.done
    total = jnp.sum(jnp.where(done[..., None], batch.totals.cost, 0.0), axis=(0, 1))
    count = jnp.sum(done)
    return jnp.where(count > 0, total / jnp.maximum(count, 1), before)


@eqx.filter_jit
def update(
    settings: PpoLagrangian,
    state: State,
    batch: Trajectories,
    cost: Float[Array, "time envs constraints"],
    excess: Float[Array, " constraints"],
    key: PRNGKeyArray,
) -> tuple[State, Metrics]:
    """Lines 2 to 4, with ``cost`` as the cost of each step and ``excess`` as J - d."""
    if isinstance(state.multipliers, PidMultipliers):  # line 2
        multipliers = state.multipliers.ascend(excess)
    else:
        multipliers = state.multipliers.ascend(excess, settings.multiplier_learning_rate)
    data = flat(advantages(settings, state.networks, batch, cost))  # line 3
    networks, optimiser, metrics = minibatch_passes(  # line 4
        lambda networks, sample: loss(settings, networks, multipliers.value, sample),
        state.networks,
        state.optimiser,
        data,
        key,
        optimiser=adam(settings.learning_rate, settings.gradient_norm),
        passes=settings.passes,
        minibatch=settings.minibatch,
        stop_above=1.5 * settings.target_kl,
    )
    return State(networks, optimiser, multipliers, state.episode_cost), metrics


def advantages(
    settings: PpoLagrangian,
    networks: Networks,
    batch: Trajectories,
    cost: Float[Array, "time envs constraints"],
) -> Sample:
    """Line 3: advantages and regression targets of reward and costs, ``[time, envs, ...]``."""
    value, next_value = networks.value(batch.observation), networks.value(batch.next_observation)
    advantage = generalised_advantage(
        batch.reward,
        value[..., 0],
        next_value[..., 0],
        batch.terminated,
        batch.truncated,
        discount=settings.discount,
        trace=settings.trace,
    )
    cost_value = networks.cost_value(batch.observation)
    costs_ahead = cost_advantage(
        cost,
        cost_value,
        networks.cost_value(batch.next_observation),
        batch.terminated,
        batch.truncated,
        discount=settings.cost_discount,
        trace=settings.cost_trace,
    )
    return Sample(
        batch.observation,
        batch.action,
        networks.policy.log_prob(batch.observation, batch.action),
        advantage,
        advantage + value[..., 0],
        costs_ahead,
        costs_ahead + cost_value,
    )


def loss(
    settings: PpoLagrangian, networks: Networks, nu: Float[Array, " constraints"], sample: Sample
) -> tuple[Float[Array, ""], Metrics]:
    """L of line 4, and what it is made of."""
    log_ratio = networks.policy.log_prob(sample.observation, sample.action) - sample.log_prob
    gain = clipped_gain(log_ratio, standardise(sample.advantage), settings.clip)
    centred = sample.cost_advantage - jnp.mean(sample.cost_advantage, axis=0)
    price = jnp.dot(nu, jnp.mean(jnp.exp(log_ratio)[:, None] * centred, axis=0))
    policy_loss = (price - gain) / (1 + jnp.sum(nu))
    value_loss = jnp.mean((networks.value(sample.observation)[..., 0] - sample.target) ** 2)
    cost_value_loss = jnp.mean((networks.cost_value(sample.observation) - sample.cost_target) ** 2)
    entropy = jnp.mean(networks.policy.entropy(sample.observation))
    total = (
        policy_loss
        + settings.value_weight * value_loss
        + settings.cost_value_weight * cost_value_loss
        - settings.entropy_weight * entropy
    )
    return total, {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "cost_value_loss": cost_value_loss,
        "entropy": entropy,
        "kl": approximate_kl(log_ratio),
    }
