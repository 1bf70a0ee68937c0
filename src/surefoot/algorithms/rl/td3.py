"""TD3: twin delayed deterministic policy gradient (Fujimoto, van Hoof and Meger 2018, arXiv 1802.09477).

Box, in the paper's symbols (its Algorithm 1); ``gradient_step`` below follows it line by line.
  1  collect transitions with a = pi_phi(s) + eps, eps ~ N(0, sigma), into the replay buffer B
  2  a~     <- pi_phi'(s') + clip(eps', -c, c), eps' ~ N(0, sigma~)              (target smoothing, Sec. 5.3)
     y      <- r + gamma (1 - d) min_i Q_theta'_i(s', a~)                        (clipped double Q, Sec. 4.2)
  3  theta_i <- theta_i - step on  E_B (y - Q_theta_i(s, a))^2
  every ``policy_delay``-th time only:                                           (delayed updates, Sec. 5.2)
  4  phi    <- phi + step on  E_B Q_theta_1(s, pi_phi(s))
  5  targets <- (1 - tau) targets + tau (theta, phi)

Departures: rounds of 64 steps and then 64 updates (``steps_per_iteration``; the program alternates one and
one). All other defaults are those of the authors' program of 2020: networks of 256-256, steps of 3e-4 and
batches of 256, where the paper has 400-300, 1e-3 and 100. The program starts with 25,000 random steps, the
paper with 1,000 or 10,000. Noises are shares of half the action's range, as there. A step that a time limit
cut bootstraps (d = 0).

To train on another reward than the stored one, replace it in each batch when it is drawn:
``gradient_step(settings, agent, relabelled(batch, reward), key)``, or ``train(..., relabel=reward)``.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.rl.sac import Relabel, relabelled, train_by
from surefoot.data.replay import Replay, Transition
from surefoot.data.trajectories import Trajectories, episode_metrics
from surefoot.errors import SurefootError, check_range
from surefoot.networks.critics import TwinContinuousQ
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import BoundedGaussianPolicy, Mode, WarmUp, finite_bounds
from surefoot.task import Task
from surefoot.worlds.world import Steps, World

__all__ = [
    "Agent",
    "Settings",
    "State",
    "Td3",
    "check_settings",
    "gradient_step",
    "init_agent",
    "relabelled",
    "target",
    "train",
]


class Agent(eqx.Module):
    """Networks and their optimisers."""

    actor: BoundedGaussianPolicy
    """pi_phi, with the exploration noise as its spread."""
    target_actor: BoundedGaussianPolicy
    critics: TwinContinuousQ
    targets: TwinContinuousQ
    actor_optimiser: optax.OptState
    critic_optimiser: optax.OptState
    updates: Int[Array, ""]
    """Gradient steps of the critics so far."""
    actor_loss: Float[Array, ""]
    """Of the actor's last step; NaN before its first."""


class State(eqx.Module):
    """All that a resumed run needs."""

    agent: Agent
    replay: Replay
    steps: Int[Array, ""]
    """Environment steps taken."""


class Settings(Protocol):
    """What ``init_agent``, ``gradient_step`` and ``train`` read; methods with TD3 inside have these too."""

    hidden: tuple[int, ...]
    discount: float
    polyak: float
    learning_rate: float
    exploration: float
    target_noise: float
    target_clip: float
    policy_delay: int
    batch_size: int


class Td3(eqx.Module):
    """Twin delayed deterministic policy gradient: reward alone, knows nothing of costs."""

    needs_demonstrations: ClassVar[bool] = False
    interacts: ClassVar[bool] = True
    also_evaluated: ClassVar[tuple[str, ...]] = ("greedy",)

    hidden: tuple[int, ...] = (256, 256)
    """Hidden layers (ReLU) of the actor and of each critic."""
    discount: float = 0.99
    """gamma, in [0, 1)."""
    polyak: float = 0.005
    """tau: share of the networks that enters their targets at each delayed update, in (0, 1]."""
    learning_rate: float = 3e-4
    """Adam's step for actor and critics."""
    exploration: float = 0.1
    """sigma: spread of the noise on actions while training, as a share of half their range."""
    target_noise: float = 0.2
    """sigma~: spread of the noise on the target's actions, as a share of half their range."""
    target_clip: float = 0.5
    """c: largest noise on the target's actions, as a share of half their range."""
    policy_delay: int = 2
    """Critic updates for each update of the actor and of the targets."""
    batch_size: int = 256
    """Transitions per gradient update."""
    replay_capacity: int = 1_000_000
    """Transitions kept."""
    steps_per_iteration: int = 64
    """Environment steps between two rounds of updates; a multiple of the world's environments."""
    updates_per_step: float = 1.0
    """Gradient updates per environment step."""
    warm_up: int = 25_000
    """Environment steps of uniformly random actions, without updates, at the start."""

    def __check_init__(self) -> None:
        check_settings(self)
        check_range("steps_per_iteration", self.steps_per_iteration, low=1)
        check_range("warm_up", self.warm_up, low=0)
        check_range("updates_per_step", self.updates_per_step, low=0, high=10_000)
        check_range("replay_capacity", self.replay_capacity, low=self.steps_per_iteration)
        if self.updates < 1:
            raise SurefootError(
                f"updates_per_step = {self.updates_per_step} makes no update in an iteration of "
                f"{self.steps_per_iteration} steps; raise one of the two."
            )

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

    def other_policy(self, state: State, name: str) -> Mode:
        """The actor without its noise, as the paper evaluates it."""
        assert name == "greedy"
        return Mode(state.agent.actor)

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
        agent = state.agent
        batch = eqx.tree_at(lambda b: b.action, batch, clipped(agent.actor, batch.action))
        replay, steps = state.replay.add(batch), state.steps + batch.reward.size
        agent, metrics = train(self, agent, replay, key, self.updates, enabled=steps > self.warm_up)
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
    """As :func:`surefoot.algorithms.rl.sac.train`, by the steps of TD3."""
    return train_by(gradient_step, settings, agent, replay, key, n, relabel=relabel, enabled=enabled)


def gradient_step(
    settings: Settings, agent: Agent, batch: Transition, key: PRNGKeyArray
) -> tuple[Agent, Metrics]:
    """One update on one batch (lines 2 to 5 of the box); consumes ``key`` for the target's noise."""
    agent, critic_loss, q = update_critics(settings, agent, batch, key)  # 2, 3
    due = agent.updates % settings.policy_delay == 0
    agent = jax.lax.cond(
        due,
        lambda agent: update_targets(settings, update_actor(settings, agent, batch.observation)),  # 4, 5
        lambda agent: agent,
        agent,
    )
    return agent, {
        "critic_loss": critic_loss,
        "actor_loss": agent.actor_loss,
        "q_mean": q,
        "batch_reward": jnp.mean(batch.reward),
    }


def update_critics(
    settings: Settings, agent: Agent, batch: Transition, key: PRNGKeyArray
) -> tuple[Agent, Float[Array, ""], Float[Array, ""]]:
    """One step on the Bellman error of both critics; returns agent, sum of the two losses, and mean Q_1."""
    y = target(settings, agent, batch, key)

    def loss(critics: TwinContinuousQ) -> tuple[Array, Array]:
        q = critics(batch.observation, batch.action)
        return jnp.sum(jnp.mean((q - y) ** 2, axis=1)), jnp.mean(q[0])

    (value, q), gradient = jax.value_and_grad(loss, has_aux=True)(agent.critics)
    step, optimiser = adam(settings).update(gradient, agent.critic_optimiser)
    critics = eqx.apply_updates(agent.critics, step)
    changed = (critics, optimiser, agent.updates + 1)
    return eqx.tree_at(lambda a: (a.critics, a.critic_optimiser, a.updates), agent, changed), value, q


def target(settings: Settings, agent: Agent, batch: Transition, key: PRNGKeyArray) -> Float[Array, " batch"]:
    """y = r + gamma (1 - d) min_i Q'_i(s', a~), with a~ the target actor's action and clipped noise."""
    action = agent.target_actor.mode(batch.next_observation)
    half = _half_range(agent.actor)
    noise = settings.target_noise * half * jax.random.normal(key, action.shape)
    noise = jnp.clip(noise, -settings.target_clip * half, settings.target_clip * half)
    q_next = agent.targets.minimum(batch.next_observation, clipped(agent.actor, action + noise))
    return batch.reward + settings.discount * (1 - batch.terminated) * q_next


def update_actor(settings: Settings, agent: Agent, observation: Float[Array, "batch obs"]) -> Agent:
    """One step of the actor on -E_B Q_1(s, pi(s))."""

    def loss(actor: BoundedGaussianPolicy) -> Float[Array, ""]:
        return -jnp.mean(agent.critics(observation, actor.mode(observation))[0])

    value, gradient = jax.value_and_grad(loss)(agent.actor)
    step, optimiser = adam(settings).update(gradient, agent.actor_optimiser)
    actor = eqx.apply_updates(agent.actor, step)
    changed = (actor, optimiser, value)
    return eqx.tree_at(lambda a: (a.actor, a.actor_optimiser, a.actor_loss), agent, changed)


def update_targets(settings: Settings, agent: Agent) -> Agent:
    """Polyak averages of actor and critics into their targets."""

    def average(new: Array, old: Array) -> Array:
        return settings.polyak * new + (1.0 - settings.polyak) * old

    live, held = (agent.actor, agent.critics), (agent.target_actor, agent.targets)
    averages = jax.tree.map(average, live, held)
    return eqx.tree_at(lambda a: (a.target_actor, a.targets), agent, averages)


def clipped(actor: BoundedGaussianPolicy, action: Float[Array, "*batch act"]) -> Float[Array, "*batch act"]:
    """Actions within the bounds: what the world makes of them, and what the critic should learn of."""
    return jnp.clip(action, jnp.asarray(actor.low), jnp.asarray(actor.high))


def init_agent(settings: Settings, task: Task, key: PRNGKeyArray) -> Agent:
    """Fresh networks and optimisers; raises :class:`SurefootError` unless actions are bounded reals."""
    low, high = finite_bounds(task)
    key_actor, key_critics = jax.random.split(key)
    network = Mlp.create((task.observation.size, *settings.hidden, len(low)), key_actor)
    half = (jnp.asarray(high) - jnp.asarray(low)) / 2
    actor = BoundedGaussianPolicy(network, jnp.log(settings.exploration * half), low, high)
    critics = TwinContinuousQ.create(task.observation.size, len(low), settings.hidden, key_critics)
    return Agent(
        actor,
        jax.tree.map(jnp.array, actor),  # arrays of their own: a buffer can be donated only once
        critics,
        jax.tree.map(jnp.array, critics),
        adam(settings).init(eqx.filter(actor, eqx.is_array)),
        adam(settings).init(eqx.filter(critics, eqx.is_array)),
        jnp.zeros((), jnp.int32),
        jnp.asarray(jnp.nan),
    )


def adam(settings: Settings) -> optax.GradientTransformation:
    """For actor and critics, each on one flat vector, which takes less time than one for each array."""
    return optax.flatten(optax.adam(settings.learning_rate))


def _half_range(actor: BoundedGaussianPolicy) -> Float[Array, " act"]:
    return (jnp.asarray(actor.high) - jnp.asarray(actor.low)) / 2


def check_settings(settings: Any) -> None:
    """Raises :class:`SurefootError` for a setting of the networks or their updates out of range."""
    if not settings.hidden or any(width < 1 for width in settings.hidden):
        raise SurefootError(f"hidden = {settings.hidden}: give the width of at least one hidden layer.")
    check_range("discount", settings.discount, low=0, high=1, open_high=True)
    check_range("polyak", settings.polyak, low=0, high=1, open_low=True)
    check_range("learning_rate", settings.learning_rate, low=0, open_low=True)
    check_range("exploration", settings.exploration, low=0, open_low=True)
    check_range("target_noise", settings.target_noise, low=0)
    check_range("target_clip", settings.target_clip, low=0)
    check_range("policy_delay", settings.policy_delay, low=1)
    check_range("batch_size", settings.batch_size, low=1)
