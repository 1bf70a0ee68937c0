"""BACKTRACK: reward while safe, cost while not (Sikchi's thesis 2022, Sec. 4.4.2).

A control experiment: how much of what CPO and SDDPG reach is their rule for unsafe policies alone?

  1  collect N episodes with pi_B(s) + N(0, delta^2);   D_i <- mean cost of an episode
  2  Q_R, Q_Ci <- regression on the returns of these episodes
  3  all D_i <= d_i:  theta <- argmax mean_s Q_R(s, pi(s))                                  (Eq. 4.15)
     else (recovery): theta <- argmin mean_s sum of Q_Ci(s, pi(s)) over the broken limits
     either within a mean KL of mu

Episodes, critics and the trust region are LBPO's. There is no barrier and no Lyapunov search: line 3 is the
whole difference.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.safe.critics import seen_from
from surefoot.algorithms.safe.episodes import (
    collect,
    episodes_of,
    limits_of,
    mean_costs,
    weights,
)
from surefoot.algorithms.safe.lbpo import (
    State,
    advance,
    budget,
    check_settings,
    create_state,
    fit_after,
    fit_before,
    reach,
    reported,
    started,
)
from surefoot.algorithms.safe.policy_step import trust_region_step
from surefoot.data.trajectories import Trajectories, episode_metrics, flat
from surefoot.networks.policies import BoundedGaussianPolicy
from surefoot.task import Task
from surefoot.worlds.world import World


class Backtrack(eqx.Module):
    """Reward while the policy is safe, cost while it is not, within LBPO's trust region."""

    needs_demonstrations: ClassVar[bool] = False
    interacts: ClassVar[bool] = True

    cost_limits: tuple[float, ...] | None = None
    """d: bound on the expected undiscounted cost of an episode, one a constraint or one for all;
    none takes the limits of the task."""
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

    @property
    def steps_per_iteration(self) -> int:
        return self.batch_steps

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Any = None) -> State:
        """A fresh policy with means near the middle of the action space, which need not be safe."""
        return create_state("BACKTRACK", self, task, key)

    def start_from(self, state: State, policy: Any, critics: Any) -> State:
        """``state`` with the network of another run's policy, and its critics if it has any."""
        return started(state, policy, critics)

    def cautions(self, task: Task, iterations: int) -> dict[str, str]:
        """What to warn of before a training, by what it is about."""
        return reach(self, task, iterations)

    def policy(self, state: State) -> BoundedGaussianPolicy:
        return state.policy

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        task = world.task
        episodes = episodes_of("BACKTRACK", task, self.batch_steps)
        limits = jnp.array(limits_of("BACKTRACK", task, self.cost_limits))
        world, batch = collect(self.policy(state), world, episodes, key)  # line 1
        state, metrics = update(self, state, batch, limits, task.constraints)  # lines 2, 3
        return state, world, {**episode_metrics(batch, task), **metrics}


@eqx.filter_jit
def update(
    settings: Backtrack,
    state: State,
    batch: Trajectories,
    limits: Float[Array, " constraints"],
    names: tuple[str, ...],
) -> tuple[State, Metrics]:
    """Lines 2 and 3: what an epoch learns from its episodes."""
    costs = mean_costs(batch, settings.discount)
    broken = costs.undiscounted > limits
    observation, weight = flat(batch.observation), weights(batch).reshape(-1)
    state, errors = fit_before(settings, state, batch, weight)  # line 2
    critics = seen_from(state.critics, state.policy)

    def loss(action: Array) -> Array:  # line 3
        harm = (weight @ critics.cost(observation, action)) @ broken.astype(jnp.float32)
        return jnp.where(jnp.any(broken), harm, -(weight @ critics.value(observation, action)))

    moved = trust_region_step(
        state.policy, observation, weight, loss, radius=settings.radius, damping=settings.damping
    )
    state, errors = fit_after(settings, state, batch, weight, errors)
    state = advance(state, batch, moved, jnp.any(broken))
    eps = budget("mixed", limits, costs, settings.discount, batch.reward.shape[0])
    return state, reported(state, moved, jnp.any(broken), eps, costs, limits, errors, names)
