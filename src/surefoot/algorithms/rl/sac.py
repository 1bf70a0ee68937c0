"""Soft actor-critic for continuous actions (Haarnoja et al. 2018, arXiv 1801.01290 and 1812.05905).

MaxEnt RL: max_theta E[sum_t gamma^t (r + alpha H(pi(.|s_t)))]. Methods that learn a reward have it inside.

Box, in the papers' symbols; ``gradient_step`` below follows it line by line.
  1  collect transitions with pi_theta into the replay buffer B
  2  phi_i   <- phi_i - step on  (Q_i(s, a) - r - gamma (1 - d) V(s'))^2                (1812.05905 Eq. 5)
               V(s') = min_i Q_target_i(s', a') - alpha log pi(a'|s'),   a' ~ pi
  3  theta   <- theta - step on  E_B (alpha log pi(a|s) - min_i Q_i(s, a)),   a = f_theta(noise; s)  (Eq. 9)
  4  alpha   <- alpha - step on  log(alpha) (H(pi) - H_target), where it is learned     (Eq. 18)
  5  targets <- (1 - tau) targets + tau phi

Departures: none known in the box. The sizes are those of Ni et al. 2020 (networks of 64 x 64, batches of
100, a learning rate of 1e-3 and a temperature of 0.2), not Haarnoja's (256 x 256, 256, 3e-4). The temperature
is fixed unless ``automatic_alpha``; one that is learned enters the other lines as it was before the update.
Log-densities are those of actions scaled to [-1, 1].

To train on another reward than the stored one, replace it in each batch when it is drawn:
``gradient_step(settings, agent, relabelled(batch, reward), key)``, or ``train(..., relabel=reward)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.rl.discrete_sac import repeat
from surefoot.data.replay import Replay, Transition
from surefoot.data.trajectories import Trajectories, episode_metrics
from surefoot.errors import SurefootError, check_range
from surefoot.networks.critics import TwinContinuousQ
from surefoot.networks.policies import SquashedGaussianPolicy, WarmUp
from surefoot.task import Task
from surefoot.worlds.world import Steps, World

__all__ = [
    "Agent",
    "Sac",
    "Settings",
    "State",
    "check_settings",
    "gradient_step",
    "init_agent",
    "relabelled",
    "repeat",
    "train",
    "train_by",
]

AgentT = TypeVar("AgentT")
Relabel = Callable[[Transition], Float[Array, " batch"]]
"""A reward for each transition of a batch, in place of the stored one."""


class Agent(eqx.Module):
    """Networks, temperature and their optimisers."""

    actor: SquashedGaussianPolicy
    critics: TwinContinuousQ
    targets: TwinContinuousQ
    log_alpha: Float[Array, ""]
    actor_optimiser: optax.OptState
    critic_optimiser: optax.OptState
    alpha_optimiser: optax.OptState


class State(eqx.Module):
    """All that a resumed run needs."""

    agent: Agent
    replay: Replay
    steps: Int[Array, ""]
    """Environment steps taken."""


class Settings(Protocol):
    """What ``init_agent``, ``gradient_step`` and ``train`` read; methods with SAC inside have these too."""

    hidden: tuple[int, ...]
    discount: float
    polyak: float
    learning_rate: float
    alpha: float
    automatic_alpha: bool
    alpha_learning_rate: float
    target_entropy: float | None
    batch_size: int


class Sac(eqx.Module):
    """Soft actor-critic for continuous actions: reward and entropy, knows nothing of costs."""

    needs_demonstrations: ClassVar[bool] = False
    interacts: ClassVar[bool] = True

    hidden: tuple[int, ...] = (64, 64)
    """Hidden layers (ReLU) of the actor and of each critic."""
    discount: float = 0.99
    """gamma, in [0, 1)."""
    polyak: float = 0.005
    """tau: share of the critics that enters the target critics at each update, in (0, 1]."""
    learning_rate: float = 1e-3
    """Adam's step for actor and critics."""
    alpha: float = 0.2
    """Temperature, above 0; where it is learned, its initial value."""
    automatic_alpha: bool = False
    """Learn the temperature, so that the policy's entropy comes to the target entropy."""
    alpha_learning_rate: float = 1e-3
    """Adam's step for log alpha where it is learned."""
    target_entropy: float | None = None
    """H_target in nats, of actions scaled to [-1, 1]; minus the number of their entries if not given."""
    batch_size: int = 100
    """Transitions per gradient update."""
    replay_capacity: int = 1_000_000
    """Transitions kept."""
    steps_per_iteration: int = 64
    """Environment steps between two rounds of updates; a multiple of the world's environments."""
    updates_per_step: float = 1.0
    """Gradient updates per environment step."""
    warm_up: int = 10_000
    """Environment steps of uniformly random actions, without updates, at the start."""

    def __check_init__(self) -> None:
        check_settings(self)

    @property
    def updates(self) -> int:
        """Gradient updates per iteration."""
        return round(self.steps_per_iteration * self.updates_per_step)

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Any = None) -> State:
        """Fresh networks and an empty replay buffer; demonstrations are ignored."""
        agent = init_agent(self, task, key)
        return State(agent, Replay.create(task, self.replay_capacity), jnp.zeros((), jnp.int32))

    def policy(self, state: State) -> WarmUp:
        return WarmUp(state.agent.actor, state.steps < self.warm_up)

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        key_collect, key_update = jax.random.split(key)
        world, batch = world.collect(self.policy(state), Steps(self.steps_per_iteration), key_collect)  # 1
        state, metrics = self.update(state, batch, key_update, world.task)  # 2-5
        return state, world, metrics

    @eqx.filter_jit(donate="all-except-first")
    def update(
        self, state: State, batch: Trajectories, key: PRNGKeyArray, task: Task
    ) -> tuple[State, Metrics]:
        """Stores the new experience, then ``updates_per_step`` gradient steps for each of its steps.

        ``state``, ``batch`` and ``key`` are given away: the replay buffer is written where it lies.
        """
        replay, steps = state.replay.add(batch), state.steps + batch.reward.size
        enabled = steps > self.warm_up
        agent, metrics = train(self, state.agent, replay, key, self.updates, enabled=enabled)
        return State(agent, replay, steps), episode_metrics(batch, task) | metrics


def train(
    settings: Settings,
    agent: Agent,
    replay: Replay,
    key: PRNGKeyArray,
    n: int,
    *,
    relabel: Relabel | None = None,
    enabled: Bool[Array, ""] | bool = True,
) -> tuple[Agent, Metrics]:
    """``n`` gradient steps on batches of ``replay``, or none unless ``enabled``; metrics are their means.

    ``relabel`` gives the reward of a batch in place of the stored one, each time that it is drawn.
    """
    return train_by(gradient_step, settings, agent, replay, key, n, relabel=relabel, enabled=enabled)


def train_by(
    gradient_step: Callable[[Any, AgentT, Transition, PRNGKeyArray], tuple[AgentT, Metrics]],
    settings: Any,
    agent: AgentT,
    replay: Replay,
    key: PRNGKeyArray,
    n: int,
    *,
    relabel: Relabel | None = None,
    enabled: Bool[Array, ""] | bool = True,
) -> tuple[AgentT, Metrics]:
    """:func:`train` by the gradient steps of any method, each on ``batch_size`` transitions."""

    def step(agent: AgentT, key: PRNGKeyArray) -> tuple[AgentT, Metrics]:
        key_batch, key_step = jax.random.split(key)
        batch = replay.sample(key_batch, settings.batch_size)
        if relabel is not None:
            batch = relabelled(batch, relabel)
        return gradient_step(settings, agent, batch, key_step)

    return repeat(step, agent, key, n, enabled=jnp.asarray(enabled))


def relabelled(batch: Transition, reward: Relabel) -> Transition:
    """The batch with ``reward(batch)`` as its reward."""
    return eqx.tree_at(lambda b: b.reward, batch, jax.lax.stop_gradient(reward(batch)))


def gradient_step(
    settings: Settings, agent: Agent, batch: Transition, key: PRNGKeyArray
) -> tuple[Agent, Metrics]:
    """One update of everything on one batch (lines 2 to 5 of the box); consumes ``key`` for actions."""
    key_next, key_now = jax.random.split(key)
    alpha = jnp.exp(agent.log_alpha)
    agent, critic_loss = update_critics(settings, agent, batch, key_next)  # 2
    agent, actor_loss, entropy, q = update_actor(settings, agent, alpha, batch.observation, key_now)  # 3
    if settings.automatic_alpha:
        agent = update_temperature(settings, agent, entropy)  # 4
    agent = update_targets(settings, agent)  # 5
    return agent, {
        "alpha": jnp.exp(agent.log_alpha),
        "entropy": entropy,
        "critic_loss": critic_loss,
        "actor_loss": actor_loss,
        "q_mean": q,
        "batch_reward": jnp.mean(batch.reward),
    }


def update_critics(
    settings: Settings, agent: Agent, batch: Transition, key: PRNGKeyArray
) -> tuple[Agent, Float[Array, ""]]:
    """One step on the soft Bellman error of both critics; returns the agent and the sum of the two."""
    target = soft_target(settings, agent, batch, key)

    def loss(critics: TwinContinuousQ) -> Float[Array, ""]:
        return jnp.sum(jnp.mean((critics(batch.observation, batch.action) - target) ** 2, axis=1))

    value, gradient = jax.value_and_grad(loss)(agent.critics)
    step, optimiser = adam(settings).update(gradient, agent.critic_optimiser)
    critics = eqx.apply_updates(agent.critics, step)
    return eqx.tree_at(lambda a: (a.critics, a.critic_optimiser), agent, (critics, optimiser)), value


def soft_target(
    settings: Settings, agent: Agent, batch: Transition, key: PRNGKeyArray
) -> Float[Array, " batch"]:
    """r + gamma (1 - d) V(s'), with V from the target critics and one sampled action each."""
    action, log_pi = agent.actor.sample(batch.next_observation, key)
    q_next = agent.targets.minimum(batch.next_observation, action)
    value = q_next - jnp.exp(agent.log_alpha) * log_pi
    return batch.reward + settings.discount * (1 - batch.terminated) * value


def update_actor(
    settings: Settings,
    agent: Agent,
    alpha: Float[Array, ""],
    observation: Float[Array, "batch obs"],
    key: PRNGKeyArray,
) -> tuple[Agent, Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """One step of the actor on E_B (alpha log pi - min_i Q_i); returns agent, loss, entropy and mean Q."""

    def loss(actor: SquashedGaussianPolicy) -> tuple[Array, tuple[Array, Array]]:
        action, log_pi = actor.sample(observation, key)
        q = agent.critics.minimum(observation, action)
        return jnp.mean(alpha * log_pi - q), (-jnp.mean(log_pi), jnp.mean(q))

    (value, (entropy, q)), gradient = jax.value_and_grad(loss, has_aux=True)(agent.actor)
    step, optimiser = adam(settings).update(gradient, agent.actor_optimiser)
    actor = eqx.apply_updates(agent.actor, step)
    agent = eqx.tree_at(lambda a: (a.actor, a.actor_optimiser), agent, (actor, optimiser))
    return agent, value, entropy, q


def update_temperature(settings: Settings, agent: Agent, entropy: Float[Array, ""]) -> Agent:
    """One step on log(alpha) (H(pi) - H_target), with the batch's mean entropy as H(pi)."""
    target = settings.target_entropy
    gradient = entropy - (-float(len(agent.actor.low)) if target is None else target)
    step, optimiser = _alpha_adam(settings).update(gradient, agent.alpha_optimiser)
    log_alpha = eqx.apply_updates(agent.log_alpha, step)
    return eqx.tree_at(lambda a: (a.log_alpha, a.alpha_optimiser), agent, (log_alpha, optimiser))


def update_targets(settings: Settings, agent: Agent) -> Agent:
    """Polyak average of the critics into their targets."""

    def average(new: Array, old: Array) -> Array:
        return settings.polyak * new + (1.0 - settings.polyak) * old

    targets = jax.tree.map(average, agent.critics, agent.targets)
    return eqx.tree_at(lambda a: a.targets, agent, targets)


def init_agent(settings: Settings, task: Task, key: PRNGKeyArray) -> Agent:
    """Fresh networks and optimisers; raises :class:`SurefootError` unless actions are bounded reals."""
    key_actor, key_critics = jax.random.split(key)
    actor = SquashedGaussianPolicy.create(task, settings.hidden, key_actor)
    critics = TwinContinuousQ.create(task.observation.size, len(actor.low), settings.hidden, key_critics)
    log_alpha = jnp.log(jnp.asarray(settings.alpha, jnp.float32))
    return Agent(
        actor,
        critics,
        jax.tree.map(jnp.array, critics),  # arrays of their own: a buffer can be donated only once
        log_alpha,
        adam(settings).init(eqx.filter(actor, eqx.is_array)),
        adam(settings).init(eqx.filter(critics, eqx.is_array)),
        _alpha_adam(settings).init(log_alpha),
    )


def adam(settings: Settings) -> optax.GradientTransformation:
    """For actor and critics, each on one flat vector, which takes less time than one for each array."""
    return optax.flatten(optax.adam(settings.learning_rate))


def _alpha_adam(settings: Settings) -> optax.GradientTransformation:
    return optax.adam(settings.alpha_learning_rate)


def check_settings(settings: Sac) -> None:
    """Raises :class:`SurefootError` for a setting out of range."""
    if not settings.hidden or any(width < 1 for width in settings.hidden):
        raise SurefootError(f"hidden = {settings.hidden}: give the width of at least one hidden layer.")
    check_range("discount", settings.discount, low=0, high=1, open_high=True)
    check_range("polyak", settings.polyak, low=0, high=1, open_low=True)
    check_range("learning_rate", settings.learning_rate, low=0, open_low=True)
    check_range("alpha", settings.alpha, low=0, open_low=True)
    check_range("alpha_learning_rate", settings.alpha_learning_rate, low=0)
    if settings.target_entropy is not None:
        check_range("target_entropy", settings.target_entropy)
    check_range("batch_size", settings.batch_size, low=1)
    check_range("steps_per_iteration", settings.steps_per_iteration, low=1)
    check_range("warm_up", settings.warm_up, low=0)
    check_range("updates_per_step", settings.updates_per_step, low=0, high=10_000)
    check_range("replay_capacity", settings.replay_capacity, low=settings.steps_per_iteration)
    if settings.updates < 1:
        raise SurefootError(
            f"updates_per_step = {settings.updates_per_step} makes no update in an iteration of "
            f"{settings.steps_per_iteration} steps; raise one of the two."
        )
