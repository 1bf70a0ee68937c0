"""Soft actor-critic for discrete actions (Haarnoja et al. 2018, arXiv 1812.05905;
Christodoulou 2019, arXiv 1910.07207).

Box, in the papers' symbols; ``gradient_step`` below follows it line by line.
  1  collect transitions with pi_theta into the replay buffer B
  2  alpha   <- alpha - step on  log(alpha) (H(pi) - H_target)                      (1812.05905 Eq. 18)
  3  phi_i   <- phi_i - step on  (Q_i(s, a) - r - gamma (1 - d) V(s'))^2             (Eq. 5)
               V(s') = sum_a' pi(a'|s') (min_i Q_target_i(s', a') - alpha log pi(a'|s'))
  4  theta   <- theta - step on  E_B sum_a pi(a|s) (alpha log pi(a|s) - min_i Q_i(s, a))   (Eq. 7)
  5  targets <- (1 - tau) targets + tau phi
The action space is small, so expectations over actions are exact sums.

Departures: the target entropy is a share of log |A| with default 0.18, which for nine actions is the 0.4
nats of the marble-maze code this line of work uses (0.98 is common elsewhere); the actor's learning rate
is 1e-3 (that code: 3e-4), which learned as well in a third of the steps; gradients are clipped to a global
norm of 5.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from surefoot.algorithms.learner import Metrics
from surefoot.data.replay import Replay, Transition
from surefoot.data.trajectories import episode_metrics
from surefoot.errors import SurefootError, check_range
from surefoot.networks.critics import TwinQ
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import CategoricalPolicy, WarmUp
from surefoot.task import Task
from surefoot.worlds.world import Steps, World


class Agent(eqx.Module):
    """Networks, temperature and their optimisers."""

    actor: CategoricalPolicy
    critics: TwinQ
    targets: TwinQ
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


@runtime_checkable
class Settings(Protocol):
    """The settings that the functions below read; SCOPIL has them as well."""

    hidden: tuple[int, ...]
    discount: float
    polyak: float
    learning_rate: float
    critic_learning_rate: float
    alpha_learning_rate: float
    alpha_init: float
    target_entropy_ratio: float
    max_gradient_norm: float
    batch_size: int
    replay_capacity: int
    steps_per_iteration: int
    updates_per_step: float
    warm_up: int


class DiscreteSac(eqx.Module):
    """Discrete soft actor-critic: maximises reward and entropy, and knows nothing of costs."""

    needs_demonstrations: ClassVar[bool] = False
    interacts: ClassVar[bool] = True

    hidden: tuple[int, ...] = (32, 32)
    """Hidden layers of the actor and of each critic."""
    discount: float = 0.99
    """gamma, in [0, 1)."""
    polyak: float = 0.005
    """tau: share of the critics that enters the target critics at each update, in (0, 1]."""
    learning_rate: float = 1e-3
    """Adam's step for the actor."""
    critic_learning_rate: float = 3e-4
    """Adam's step for the critics."""
    alpha_learning_rate: float = 2e-3
    """Adam's step for log alpha; 0 keeps the temperature fixed."""
    alpha_init: float = 1.0
    """Initial temperature alpha, above 0."""
    target_entropy_ratio: float = 0.18
    """H_target as a share of log(number of actions), in [0, 1]."""
    max_gradient_norm: float = 5.0
    """Gradients of actor and critics are clipped to this global norm."""
    batch_size: int = 256
    """Transitions per gradient update."""
    replay_capacity: int = 200_000
    """Transitions kept."""
    steps_per_iteration: int = 64
    """Environment steps between two rounds of updates; a multiple of the world's environments."""
    updates_per_step: float = 1.0
    """Gradient updates per environment step."""
    warm_up: int = 2_000
    """Environment steps of uniformly random actions, without updates, at the start."""

    def __check_init__(self) -> None:
        check_settings(self)

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Any = None) -> State:
        """Fresh networks and an empty buffer; :class:`SurefootError` for continuous actions."""
        agent = init_agent(self, task, key)
        return State(agent, Replay.create(task, self.replay_capacity), jnp.zeros((), jnp.int32))

    def policy(self, state: State) -> WarmUp:
        return WarmUp(state.agent.actor, state.steps < self.warm_up)

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        key_collect, key_update = jax.random.split(key)
        world, batch = world.collect(self.policy(state), Steps(self.steps_per_iteration), key_collect)  # 1
        played = episode_metrics(batch, world.task)
        state, metrics = self.update(state, batch, key_update)  # 2-5
        return state, world, played | metrics

    @eqx.filter_jit(donate="all-except-first")
    def update(self, state: State, batch: Any, key: PRNGKeyArray) -> tuple[State, Metrics]:
        """Stores the new experience, then ``updates_per_step`` gradient steps for each of its steps.

        ``state`` and ``batch`` are given away: the replay buffer is written where it lies.
        """
        replay, steps = state.replay.add(batch), state.steps + batch.reward.size

        def step(agent: Agent, key: PRNGKeyArray) -> tuple[Agent, Metrics]:
            return gradient_step(self, agent, replay.sample(key, self.batch_size))

        agent, metrics = repeat(step, state.agent, key, updates(self), enabled=steps > self.warm_up)
        return State(agent, replay, steps), metrics


def gradient_step(settings: Settings, agent: Agent, batch: Transition) -> tuple[Agent, Metrics]:
    """One update of everything on one batch (lines 2 to 5 of the box)."""
    agent, entropy = update_temperature(settings, agent, batch)  # 2
    agent, critic_loss = update_critics(settings, agent, batch)  # 3
    q = agent.critics.minimum(batch.observation)
    alpha = jnp.exp(agent.log_alpha)
    agent, actor_loss = update_actor(
        settings, agent, lambda actor: soft_policy_loss(actor, q, alpha, batch.observation)
    )  # 4
    agent = update_targets(settings, agent)  # 5
    return agent, agent_metrics(agent, entropy, critic_loss, actor_loss, q)


def update_temperature(settings: Settings, agent: Agent, batch: Transition) -> tuple[Agent, Float[Array, ""]]:
    """One step on log(alpha) (H(pi) - H_target); returns the agent and the batch's mean entropy."""
    entropy = jnp.mean(agent.actor.entropy(batch.observation))
    n_actions = agent.actor.network.biases[-1].shape[-1]
    gradient = entropy - settings.target_entropy_ratio * math.log(n_actions)
    step, optimiser = _alpha_adam(settings).update(gradient, agent.alpha_optimiser)
    log_alpha = eqx.apply_updates(agent.log_alpha, step)
    agent = eqx.tree_at(lambda a: (a.log_alpha, a.alpha_optimiser), agent, (log_alpha, optimiser))
    return agent, entropy


def update_critics(
    settings: Settings, agent: Agent, batch: Transition, *, share: float = 1.0
) -> tuple[Agent, Float[Array, ""]]:
    """One step on the soft Bellman error of both critics; returns the agent and the loss.

    ``share`` of alpha times the entropy counts as reward.
    """
    log_pi = agent.actor.log_probabilities(batch.next_observation)
    q_next = agent.targets.minimum(batch.next_observation)
    value = jnp.sum(jnp.exp(log_pi) * (q_next - share * jnp.exp(agent.log_alpha) * log_pi), axis=-1)
    target = batch.reward + settings.discount * (1 - batch.terminated) * value

    def loss(critics: TwinQ) -> Float[Array, ""]:
        q = critics(batch.observation)
        chosen = jnp.take_along_axis(q, batch.action[None, :, None], axis=-1)[..., 0]
        return 0.5 * jnp.sum(jnp.mean((chosen - target) ** 2, axis=1))

    value_, gradient = jax.value_and_grad(loss)(agent.critics)
    step, optimiser = adam(settings, settings.critic_learning_rate).update(gradient, agent.critic_optimiser)
    critics = eqx.apply_updates(agent.critics, step)
    return eqx.tree_at(lambda a: (a.critics, a.critic_optimiser), agent, (critics, optimiser)), value_


def soft_policy_loss(
    actor: CategoricalPolicy,
    q: Float[Array, "batch actions"],
    alpha: Float[Array, ""],
    observation: Float[Array, "batch obs"],
) -> Float[Array, ""]:
    """E_B sum_a pi(a|s) (alpha log pi(a|s) - min_i Q_i(s, a)), Q and alpha held constant."""
    log_pi = actor.log_probabilities(observation)
    return jnp.mean(jnp.sum(jnp.exp(log_pi) * (alpha * log_pi - q), axis=-1))


def update_actor(settings: Settings, agent: Agent, loss: Any) -> tuple[Agent, Float[Array, ""]]:
    """One step of the actor on ``loss(actor)``; returns the agent and the loss."""
    value, gradient = jax.value_and_grad(loss)(agent.actor)
    step, optimiser = adam(settings, settings.learning_rate).update(gradient, agent.actor_optimiser)
    actor = eqx.apply_updates(agent.actor, step)
    return eqx.tree_at(lambda a: (a.actor, a.actor_optimiser), agent, (actor, optimiser)), value


def update_targets(settings: Settings, agent: Agent) -> Agent:
    """Polyak average of the critics into their targets."""

    def average(new: Array, old: Array) -> Array:
        return settings.polyak * new + (1.0 - settings.polyak) * old

    targets = jax.tree.map(average, agent.critics, agent.targets)
    return eqx.tree_at(lambda a: a.targets, agent, targets)


def init_agent(settings: Settings, task: Task, key: PRNGKeyArray) -> Agent:
    """Fresh networks and optimisers; raises :class:`SurefootError` for continuous actions."""
    sizes = (task.observation.size, *settings.hidden, task.discrete_actions)
    key_actor, key_critics = jax.random.split(key)
    actor = CategoricalPolicy(Mlp.create(sizes, key_actor, last_scale=0.01))
    critics = TwinQ.create(sizes, key_critics)
    log_alpha = jnp.log(jnp.asarray(settings.alpha_init))
    return Agent(
        actor,
        critics,
        jax.tree.map(jnp.array, critics),  # arrays of their own: a buffer can be donated only once
        log_alpha,
        adam(settings, settings.learning_rate).init(eqx.filter(actor, eqx.is_array)),
        adam(settings, settings.critic_learning_rate).init(eqx.filter(critics, eqx.is_array)),
        _alpha_adam(settings).init(log_alpha),
    )


def adam(settings: Settings, learning_rate: float) -> optax.GradientTransformation:
    """Clipping and Adam, on one flat vector: an update takes a tenth less time on a CPU."""
    clip = optax.clip_by_global_norm(settings.max_gradient_norm)
    return optax.flatten(optax.chain(clip, optax.adam(learning_rate, eps=1e-4)))


def _alpha_adam(settings: Settings) -> optax.GradientTransformation:
    return optax.adam(settings.alpha_learning_rate, eps=1e-4)


def updates(settings: Settings) -> int:
    """Gradient updates per iteration."""
    return round(settings.steps_per_iteration * settings.updates_per_step)


def repeat(
    step: Any, state: Any, key: PRNGKeyArray, n: int, *, enabled: Bool[Array, ""]
) -> tuple[Any, Metrics]:
    """``n`` gradient steps, or none unless ``enabled``; metrics are means, NaN if there was none."""

    def run(state: Any) -> tuple[Any, Metrics]:
        state, metrics = jax.lax.scan(step, state, jax.random.split(key, n))
        return state, jax.tree.map(lambda m: jnp.mean(m), metrics)

    def skip(state: Any) -> tuple[Any, Metrics]:
        metrics = jax.eval_shape(lambda s: run(s)[1], state)
        return state, jax.tree.map(lambda m: jnp.full(m.shape, jnp.nan, m.dtype), metrics)

    return jax.lax.cond(enabled, run, skip, state)


def agent_metrics(
    agent: Agent,
    entropy: Float[Array, ""],
    critic_loss: Float[Array, ""],
    actor_loss: Float[Array, ""],
    q: Float[Array, "batch actions"],
) -> Metrics:
    """What is logged of a gradient step."""
    return {
        "alpha": jnp.exp(agent.log_alpha),
        "entropy": entropy,
        "critic_loss": critic_loss,
        "actor_loss": actor_loss,
        "q_mean": jnp.mean(q),
    }


def check_settings(settings: Settings) -> None:
    """Raises :class:`SurefootError` for a setting out of range."""
    if not settings.hidden or any(width < 1 for width in settings.hidden):
        raise SurefootError(f"hidden = {settings.hidden}: give the width of at least one hidden layer.")
    check_range("discount", settings.discount, low=0, high=1, open_high=True)
    check_range("polyak", settings.polyak, low=0, high=1, open_low=True)
    check_range("learning_rate", settings.learning_rate, low=0, open_low=True)
    check_range("critic_learning_rate", settings.critic_learning_rate, low=0, open_low=True)
    check_range("alpha_learning_rate", settings.alpha_learning_rate, low=0)
    check_range("alpha_init", settings.alpha_init, low=0, open_low=True)
    check_range("target_entropy_ratio", settings.target_entropy_ratio, low=0, high=1)
    check_range("max_gradient_norm", settings.max_gradient_norm, low=0, open_low=True)
    check_range("batch_size", settings.batch_size, low=1)
    check_range("steps_per_iteration", settings.steps_per_iteration, low=1)
    check_range("warm_up", settings.warm_up, low=0)
    check_range("updates_per_step", settings.updates_per_step, low=0, high=10_000)
    check_range("replay_capacity", settings.replay_capacity, low=settings.steps_per_iteration)
    if updates(settings) < 1:
        raise SurefootError(
            f"updates_per_step = {settings.updates_per_step} makes no update in an iteration of "
            f"{settings.steps_per_iteration} steps; raise one of the two."
        )
