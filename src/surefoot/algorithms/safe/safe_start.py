"""A safe policy to start from: LBPO's recovery alone (Sikchi's thesis 2022, appendix 4.5.3).

  1  collect N episodes with pi_B(s) + N(0, delta^2);   D_i <- mean cost of an episode
  2  Q_R, Q_Ci <- regression on the returns of these episodes
  3  where some D_i > the target:  theta <- argmin mean_s of the sum of these Q_Ci, within a mean KL of mu

The policy stands still while no D_i is above the target. After some such epochs in a row (one of 30 episodes
may be luck, where few episodes cost much) it is handed on together with the critics. With ``stop_at_target``
False training goes on; while costs stay low only the critics learn. ``recovery`` and ``recoveries`` count
epochs above the target here, ``unsafe`` those above the limit. The thesis trains on the cost "with standard
RL" until the policy is safe, and does not say how far. Costs of 0 to 7 where 25 are allowed were found in the
policies that its authors started from, hence a target of 5.

Learning to be safe breaks the limit on the way. Where that may not happen, start from demonstrations of a
controller that is known to be safe: the policy is first brought to them by regression.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.safe import lbpo
from surefoot.algorithms.safe.critics import seen_from
from surefoot.algorithms.safe.episodes import (
    collect,
    episodes_of,
    limits_of,
    mean_costs,
    weights,
)
from surefoot.algorithms.safe.lbpo import (
    advance,
    budget,
    check_settings,
    create_state,
    fit_after,
    fit_before,
    reported,
    started,
)
from surefoot.algorithms.safe.policy_step import descend, trust_region_step
from surefoot.data.trajectories import Trajectories, episode_metrics, flat
from surefoot.errors import SurefootError, check_range
from surefoot.networks.policies import BoundedGaussianPolicy
from surefoot.task import Task
from surefoot.worlds.world import World

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations


class State(lbpo.State):
    """All that a resumed run needs."""

    calm: Int[Array, ""]
    """Epochs in a row so far that kept the target."""


class SafeStart(eqx.Module):
    """A policy of low cost, and critics, for other safe methods to start from."""

    needs_demonstrations: ClassVar[bool] = False
    interacts: ClassVar[bool] = True

    cost_limits: tuple[float, ...] | None = None
    """d: bound on the expected undiscounted cost of an episode, one a constraint or one for all;
    none takes the limits of the task."""
    target_cost: float = 5.0
    """The policy stands still while an epoch's mean costs are at most this; must be within the limits."""
    stop_at_target: bool = True
    """Stop there; else the critics go on learning until the steps are up."""
    calm_epochs: int = 3
    """So many epochs in a row must keep the target before training stops."""
    cloning_steps: int = 2000
    """Steps of Adam (rate 0.001) towards demonstrated actions before the first epoch, if there are any."""
    targets: str = "mc"
    """Of the critics: mc, Monte Carlo returns; td-lambda, with the trace."""
    trace: float = 0.97
    """lambda of td-lambda targets: 0 trusts Q at the next step, 1 the sampled return."""
    critic_fit: str = "after"
    """after: the step uses critics fitted to earlier epochs (in the first, to its own); before: fitted
    first."""
    batch_steps: int = 30_000
    """Environment steps per epoch: N whole episodes (30 of 1000). Shorter ones count as whole."""
    discount: float = 0.99
    """gamma of reward and costs, below 1."""
    exploration: float = 0.05
    """delta: standard deviation of the noise on actions, in their unit."""
    radius: float = 0.012
    """mu: largest mean divergence of an epoch's step, in nats."""
    damping: float = 0.1
    """Added to the diagonal of the Fisher matrix."""
    critic_action: str = "raw"
    """What the critics take of an action: raw, itself; noise, its distance from the mean in units of delta,
    to which they are blind at first."""
    critic_steps: int = 80
    """Steps of Adam per epoch."""
    critic_rounds: int = 1
    """Rounds of a fit that share its steps; each computes the targets anew from the critics so far."""
    critic_epochs: int = 1
    """Epochs whose transitions the critics are fitted to, with this one: earlier ones stand in for more
    episodes of the present policy, from which they are a few small steps away."""
    critic_minibatch: int = 0
    """Transitions per step of Adam, drawn at random; 0 takes the whole batch, as the thesis' program does."""
    critic_learning_rate: float = 1e-3
    """Of Adam on the critics."""
    hidden: tuple[int, ...] = (256, 256)
    """Hidden layers (relu) of the policy."""
    critic_hidden: tuple[int, ...] = (256, 256)
    """Hidden layers (tanh) of each critic."""

    def __check_init__(self) -> None:
        check_settings(self)
        check_range("target_cost", self.target_cost, low=0)
        check_range("calm_epochs", self.calm_epochs, low=1)
        check_range("cloning_steps", self.cloning_steps, low=0)

    @property
    def steps_per_iteration(self) -> int:
        return self.batch_steps

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Demonstrations | None = None) -> State:
        """A fresh policy, or one that does what the demonstrations show."""
        limits = limits_of("safe-start", task, self.cost_limits)
        if self.target_cost > min(limits):
            low = min(limits)
            raise SurefootError(
                f"target_cost = {self.target_cost:g} is above the limit {low:g} of the cost "
                f"'{task.constraints[limits.index(low)]}', so it is no safe start; give "
                f"--target-cost {0.8 * low:g}, say."
            )
        made = create_state("safe-start", self, task, key)
        zero = jnp.zeros((), jnp.int32)
        state = State(made.policy, made.critics, made.optimiser, made.epoch, made.recoveries, made.past, zero)
        if demonstrations is None:
            return state
        policy = clone(self, state.policy, demonstrations.observations, demonstrations.actions)
        return eqx.tree_at(lambda s: s.policy, state, policy)

    def start_from(self, state: State, policy: Any, critics: Any) -> State:
        """``state`` with the network of another run's policy, and its critics if it has any."""
        return started(state, policy, critics)

    def target(self, metrics: Mapping[str, float]) -> tuple[bool, str] | None:
        """Reached by ``calm_epochs`` in a row without a step; then training stops."""
        if not self.stop_at_target:
            return None
        costs = {name: value for name, value in metrics.items() if name.startswith("cost/")}
        worst = max(costs, key=lambda name: costs[name])
        name = worst.partition("/")[2]
        text = f"{name} costs {costs[worst]:.3g} an episode, target {self.target_cost:g}"
        calm = int(metrics["calm_epochs"])
        if 0 < calm < self.calm_epochs:
            text += f", kept for {calm} of {self.calm_epochs} epochs"
        return calm >= self.calm_epochs, text

    def policy(self, state: State) -> BoundedGaussianPolicy:
        return state.policy

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        task = world.task
        episodes = episodes_of("safe-start", task, self.batch_steps)
        limits = jnp.array(limits_of("safe-start", task, self.cost_limits))
        world, batch = collect(self.policy(state), world, episodes, key)  # line 1
        state, metrics = update(self, state, batch, limits, task.constraints)  # lines 2, 3
        return state, world, {**episode_metrics(batch, task), **metrics}


@eqx.filter_jit
def update(
    settings: SafeStart,
    state: State,
    batch: Trajectories,
    limits: Float[Array, " constraints"],
    names: tuple[str, ...],
) -> tuple[State, Metrics]:
    """Lines 2 and 3: what an epoch learns from its episodes."""
    costs = mean_costs(batch, settings.discount)
    high = costs.undiscounted > settings.target_cost
    observation, weight = flat(batch.observation), weights(batch).reshape(-1)
    state, errors = fit_before(settings, state, batch, weight)  # line 2
    critics = seen_from(state.critics, state.policy)

    def loss(action: Array) -> Array:  # line 3; without a high cost it is flat, and the policy stays
        return (weight @ critics.cost(observation, action)) @ high.astype(jnp.float32)

    moved = trust_region_step(
        state.policy, observation, weight, loss, radius=settings.radius, damping=settings.damping
    )
    state, errors = fit_after(settings, state, batch, weight, errors)
    state = advance(state, batch, moved, jnp.any(high))
    state = eqx.tree_at(lambda s: s.calm, state, jnp.where(jnp.any(high), 0, state.calm + 1))
    eps = budget("mixed", limits, costs, settings.discount, batch.reward.shape[0])
    report = reported(state, moved, jnp.any(high), eps, costs, limits, errors, names)
    return state, {**report, "calm_epochs": state.calm.astype(jnp.float32)}


def clone(
    settings: SafeStart, policy: BoundedGaussianPolicy, observations: np.ndarray, actions: np.ndarray
) -> BoundedGaussianPolicy:
    """``policy`` with its means regressed on demonstrated actions, within 99 % of the bounds."""
    seen = jnp.asarray(observations)
    low, high = jnp.asarray(policy.low), jnp.asarray(policy.high)
    middle, half = (low + high) / 2, (high - low) / 2
    goal = middle + jnp.clip(jnp.asarray(actions) - middle, -0.99 * half, 0.99 * half)

    def error(policy: BoundedGaussianPolicy) -> Array:
        return jnp.mean(((policy.mode(seen) - goal) / half) ** 2)

    return descend(policy, error, steps=settings.cloning_steps, learning_rate=1e-3)
