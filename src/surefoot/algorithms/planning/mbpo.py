"""MBPO: model-based policy optimisation (Janner, Fu, Zhang and Levine 2019, arXiv 1906.08253).

Box, in the paper's words (its Algorithm 2), with the line numbers of the code:
  1  initialise policy, model p_theta, data sets D_env and D_model
  2  take an action in the environment with the policy; add the step to D_env
  every ``model_every`` steps:
  3    fit p_theta on D_env by maximum likelihood, with a holdout
  4    M rollouts of k steps in the model, each from a state drawn from D_env; add them to D_model
  5  G gradient updates of the policy (SAC) on batches that are mostly from D_model

The settings are those of the authors' program for HalfCheetah, but for the target entropy: minus the number
of action entries here, -3 there. The other tasks differ as docs/loop.md says. k grows with the epochs as
``rollout_schedule`` says, and what is kept of D_model with it. Members are drawn anew for each row and step
(TS1). A rollout ends where the task's rule is known to end it; where none is known, it does not.

Departures: the members see the same transitions in orders of their own, where the program draws a bootstrap
sample for each; transitions that are held out stay held out in later fits; the best members are those that
explain most of the variance, not those with the least error in raw units. The model's bound on minibatches is
ours too: ``model_max_minibatches``.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.planning.loop import (
    MODEL_METRICS,
    Model,
    cautions,
    check_models,
    check_world,
    fit_settings,
    fitted,
    known_parts,
)
from surefoot.algorithms.rl import sac
from surefoot.data.replay import Replay, Transition
from surefoot.data.trajectories import Trajectories, episode_metrics
from surefoot.errors import SurefootError, check_range
from surefoot.networks.dynamics import Ensemble
from surefoot.networks.dynamics_fit import Fit, init_optimiser
from surefoot.networks.policies import Mode, WarmUp
from surefoot.task import Task
from surefoot.worlds.world import Steps, World


class State(eqx.Module):
    """All that a resumed run needs."""

    agent: sac.Agent
    model: Model
    replay: Replay
    """D_env."""
    simulated: Replay
    """D_model."""
    rollout_length: Float[Array, ""]
    """k of the last rollouts; 0 before the first."""
    dropped: Float[Array, ""]
    """Rows of the last rollouts that were not finite, and were left out."""
    steps: Int[Array, ""]
    """Environment steps taken."""
    task: Task = eqx.field(static=True)


class Mbpo(eqx.Module):
    """MBPO: SAC on short rollouts of a learned model."""

    needs_demonstrations: ClassVar[bool] = False
    interacts: ClassVar[bool] = True
    usual_envs: ClassVar[int] = 1
    also_evaluated: ClassVar[tuple[str, ...]] = ("greedy",)

    updates_per_step: float = 40.0
    """G: gradient updates an environment step; 20 for Hopper and Walker2d, 10 for InvertedPendulum."""
    rollout_schedule: tuple[float, float, float, float] = (1.0, 1.0, 20.0, 150.0)
    """k: first length, last length, and the epochs between which it grows; 1 15 20 150 for Hopper."""
    epoch_steps: int = 1000
    """Environment steps per epoch, for the schedule alone; 250 for InvertedPendulum."""
    rollouts_per_step: int = 400
    """M for each environment step, started together every time that the model is fitted."""
    simulated_epochs: int = 1
    """Epochs for which simulated transitions are kept."""
    real_share: float = 0.05
    """Share of a batch that is from the environment; the rest is from the model."""
    reward_model: str = "learned"
    """Reward within rollouts: learned with the state; known from the task; or MODULE:FUNCTION of
    (s, a, s')."""
    termination_model: str = "auto"
    """Ends of rollouts: auto takes the task's rule where it is known; none, no ends; or MODULE:FUNCTION of
    (s, a, s'), true where the episode ends."""
    members: int = 7
    """E: networks of the model."""
    model_elites: int = 5
    """How many of them are used: those with the least error on what is held out."""
    model_hidden: tuple[int, ...] = (200, 200, 200, 200)
    """Hidden layers (swish) of each member."""
    model_learning_rate: float = 1e-3
    """Adam's step for the model."""
    model_every: int = 250
    """Environment steps between two fits of the model."""
    model_epochs: int = 100
    """Most passes over all transitions in a fit, which stops early."""
    model_batch_size: int = 256
    """Transitions a minibatch of a fit, for each member its own."""
    model_max_minibatches: int = 10_000
    """Most minibatches a fit; -1 for no limit, as in the program."""
    model_holdout: float = 0.2
    """Share of transitions held out of all fits."""
    model_patience: int = 5
    """A fit stops after more than so many epochs in a row in which no member improved by 1 percent."""
    hidden: tuple[int, ...] = (256, 256)
    """Hidden layers (ReLU) of the actor and of each critic."""
    discount: float = 0.99
    """gamma, in [0, 1)."""
    polyak: float = 0.005
    """tau: share of the critics that enters the target critics at each update, in (0, 1]."""
    learning_rate: float = 3e-4
    """Adam's step for actor, critics and temperature."""
    alpha: float = 1.0
    """Temperature, above 0; where it is learned, its initial value."""
    automatic_alpha: bool = True
    """Learn the temperature."""
    target_entropy: float | None = None
    """In nats, of actions scaled to [-1, 1]; minus the number of their entries if not given. The program has
    -3 for HalfCheetah and Walker2d, -1 for Hopper, -0.05 for InvertedPendulum."""
    batch_size: int = 256
    """Transitions per gradient update."""
    replay_capacity: int = 1_000_000
    """Transitions of the environment kept."""
    warm_up: int = 5000
    """Environment steps of uniformly random actions, without a model, at the start; 500 for
    InvertedPendulum."""
    steps_per_iteration: int = 1
    """Environment steps between two rounds of learning; a multiple of the world's environments."""

    def __check_init__(self) -> None:
        check_settings(self)

    @property
    def off_policy_settings(self) -> sac.Sac:
        """Those of SAC."""
        return sac.Sac(
            hidden=self.hidden,
            discount=self.discount,
            polyak=self.polyak,
            learning_rate=self.learning_rate,
            alpha=self.alpha,
            automatic_alpha=self.automatic_alpha,
            alpha_learning_rate=self.learning_rate,
            target_entropy=self.target_entropy,
            batch_size=self.batch_size,
        )

    @property
    def model_fit(self) -> Fit:
        """How the model is fitted."""
        return fit_settings(self)

    @property
    def rollouts(self) -> int:
        """M: started after each fit."""
        return self.rollouts_per_step * self.model_every

    @property
    def longest(self) -> int:
        """The largest k of the schedule."""
        return math.floor(max(self.rollout_schedule[:2]))

    @property
    def simulated_capacity(self) -> int:
        """Room in D_model: for what is kept of the longest rollouts."""
        return int(self.kept(self.longest))

    def kept(self, length: Any) -> Any:
        """Rows of D_model, the newest, that are learned from after rollouts of ``length``: what
        ``simulated_epochs`` epochs of them fill, and one round at least."""
        rounds = max(1, self.simulated_epochs * self.epoch_steps // self.model_every)
        return rounds * self.rollouts * length

    @property
    def updates(self) -> int:
        """Gradient updates per iteration."""
        return round(self.steps_per_iteration * self.updates_per_step)

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Any = None) -> State:
        """Line 1. :class:`SurefootError` unless actions are bounded reals, and what is asked for is known."""
        known_parts(self, task)
        key_agent, key_model = jax.random.split(key)
        agent = sac.init_agent(self.off_policy_settings, task, key_agent)
        ensemble = Ensemble.create(
            task.observation.size,
            len(agent.actor.low),
            key=key_model,
            members=self.members,
            elites=self.model_elites,
            hidden=self.model_hidden,
            rewards=self.reward_model == "learned",
        )
        never = {name: jnp.asarray(jnp.nan) for name in (*MODEL_METRICS, "model_holdout_error")}
        return State(
            agent,
            Model(ensemble, init_optimiser(ensemble, self.model_fit), never),
            Replay.create(task, self.replay_capacity),
            Replay.create(task, self.simulated_capacity),
            jnp.zeros(()),
            jnp.zeros(()),
            jnp.zeros((), jnp.int32),
            task,
        )

    def check(self, world: Any) -> None:
        """Raises :class:`SurefootError` if it cannot learn in this world."""
        check_world(self, world)

    def cautions(self, task: Task, iterations: int) -> dict[str, str]:
        """What to warn of before a training, by what it is about."""
        del iterations
        return cautions(self, task)

    def policy(self, state: State) -> WarmUp:
        return WarmUp(state.agent.actor, state.steps < self.warm_up)

    def other_policy(self, state: State, name: str) -> Mode:
        """The actor without its noise, as the authors' program evaluates it."""
        assert name == "greedy"
        return Mode(state.agent.actor)

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        check_world(self, world)
        key_act, key_learn = jax.random.split(key)
        world, batch = world.collect(self.policy(state), Steps(self.steps_per_iteration), key_act)  # 2
        state, metrics = self.learn(state, batch, key_learn)  # 3-5
        return state, world, metrics

    @eqx.filter_jit(donate="all-except-first")
    def learn(self, state: State, batch: Trajectories, key: PRNGKeyArray) -> tuple[State, Metrics]:
        """Stores what was seen; fits the model and rolls it out if that is due; makes the gradient updates.

        ``state``, ``batch`` and ``key`` are given away: the buffers are written where they lie.
        """
        key_model, key_roll, key_agent = jax.random.split(key, 3)
        before, steps = state.steps, state.steps + batch.reward.size
        replay = state.replay.add(batch)  # 2
        due = (steps >= self.warm_up) & (steps // self.model_every > before // self.model_every)
        model = fitted(self.model_fit, state.model, replay, key_model, due)  # 3
        length = jnp.where(due, rollout_length(self, steps), 0)
        simulated, dropped = roll(
            self, model.ensemble, state.agent, replay, state.simulated, length, state.task, key_roll
        )  # 4
        rolled = jnp.where(due, length.astype(jnp.float32), state.rollout_length)
        dropped = jnp.where(due, dropped, state.dropped)
        kept = self.kept(rolled.astype(jnp.int32))
        agent, metrics = improve(self, state.agent, replay, simulated, kept, key_agent)  # 5
        metrics |= episode_metrics(batch, state.task) | model.metrics
        metrics |= {"rollout_length": rolled, "plan_dropped": dropped}
        metrics["simulated"] = jnp.minimum(simulated.size, kept).astype(jnp.float32)
        return State(agent, model, replay, simulated, rolled, dropped, steps, state.task), metrics


def rollout_length(settings: Mbpo, steps: Int[Array, ""]) -> Int[Array, ""]:
    """k = floor(k_0 + clip((epoch - e_0) / (e_1 - e_0), 0, 1) (k_1 - k_0)), epochs from the warm-up on."""
    first, last, start, end = settings.rollout_schedule
    epoch = jnp.maximum(steps - settings.warm_up, 0) // settings.epoch_steps
    share = jnp.clip((epoch - start) / (end - start), 0.0, 1.0)
    return jnp.floor(first + share * (last - first) + 1e-6).astype(jnp.int32)


def roll(
    settings: Mbpo,
    ensemble: Ensemble,
    agent: sac.Agent,
    replay: Replay,
    simulated: Replay,
    length: Int[Array, ""],
    task: Task,
    key: PRNGKeyArray,
) -> tuple[Replay, Float[Array, ""]]:
    """``simulated`` with ``length`` steps of M rollouts from states of ``replay``.

    The stochastic policy acts. Rows are left out from where a rollout has ended, and from where it is not
    finite; how many were not finite is returned as well.
    """
    ensemble = ensemble.chosen()
    reward_of, ends = known_parts(settings, task)
    key_start, key_steps = jax.random.split(key)

    def step(number: Array, carry: tuple[Replay, Array, Array, Array]) -> tuple[Replay, Array, Array, Array]:
        simulated, state, alive, dropped = carry
        key_act, key_model = jax.random.split(jax.random.fold_in(key_steps, number))
        action = agent.actor.act(state, key_act)
        found = ensemble.step_any(state, action, key_model, balanced=True)
        after = found.next_observation
        reward = found.reward if reward_of is None else reward_of(state, action, after)
        assert reward is not None
        over = jnp.zeros(len(state), bool) if ends is None else ends(state, action, after) > 0
        sound = jnp.all(jnp.isfinite(after), axis=-1) & jnp.isfinite(reward)
        cost = jnp.zeros((len(state), simulated.data.cost.shape[-1]))
        met = Transition(state, action, reward, cost, after, over.astype(jnp.float32))
        simulated = simulated.add_some(met, alive & sound)
        dropped += jnp.sum(alive & ~sound)
        return simulated, jnp.where(sound[:, None], after, state), alive & sound & ~over, dropped

    def begin(simulated: Replay) -> tuple[Replay, Array]:
        start = replay.sample(key_start, settings.rollouts).observation
        first = simulated, start, jnp.ones(settings.rollouts, bool), jnp.zeros(())
        simulated, _, _, dropped = jax.lax.fori_loop(0, length, step, first)
        return simulated, dropped

    # Most calls make no step at all; nothing is drawn for them.
    return jax.lax.cond(length > 0, begin, lambda simulated: (simulated, jnp.zeros(())), simulated)


def improve(
    settings: Mbpo,
    agent: sac.Agent,
    replay: Replay,
    simulated: Replay,
    kept: Int[Array, ""],
    key: PRNGKeyArray,
) -> tuple[sac.Agent, Metrics]:
    """G updates an environment step by SAC, none before the first rollouts; metrics are their means.

    Of ``simulated`` the newest ``kept`` are used.
    """
    inner = settings.off_policy_settings
    enabled: Bool[Array, ""] = simulated.size > 0

    def step(agent: sac.Agent, key: PRNGKeyArray) -> tuple[sac.Agent, Metrics]:
        key_batch, key_step = jax.random.split(key)
        batch = mixed(replay, simulated, key_batch, settings.batch_size, settings.real_share, kept)
        return sac.gradient_step(inner, agent, batch, key_step)

    return sac.repeat(step, agent, key, settings.updates, enabled=enabled)


def mixed(
    replay: Replay,
    simulated: Replay,
    key: PRNGKeyArray,
    n: int,
    real_share: float,
    kept: Int[Array, ""] | int | None = None,
) -> Transition:
    """A batch with floor(real_share n) transitions of the environment, the rest of the model, of which the
    newest ``kept`` are used (all if not given)."""
    key_real, key_model = jax.random.split(key)
    real = math.floor(real_share * n)
    parts = replay.sample(key_real, real), simulated.sample(key_model, n - real, kept)
    return jax.tree.map(lambda *each: jnp.concatenate(each), *parts)


def check_settings(settings: Mbpo) -> None:
    """Raises :class:`SurefootError` for a setting out of range."""
    check_models(settings)
    check_range("real_share", settings.real_share, low=0, high=1)
    check_range("rollouts_per_step", settings.rollouts_per_step, low=1)
    check_range("simulated_epochs", settings.simulated_epochs, low=1)
    check_range("epoch_steps", settings.epoch_steps, low=1)
    check_range("members", settings.members, low=1)
    check_range("model_elites", settings.model_elites, low=1, high=settings.members)
    check_range("model_every", settings.model_every, low=1)
    check_range("model_holdout", settings.model_holdout, low=0, high=0.5, open_low=True)
    check_range("steps_per_iteration", settings.steps_per_iteration, low=1)
    check_range("warm_up", settings.warm_up, low=0)
    check_range("updates_per_step", settings.updates_per_step, low=0, high=10_000)
    check_range("replay_capacity", settings.replay_capacity, low=settings.steps_per_iteration)
    for number in settings.rollout_schedule:
        check_range("rollout_schedule", number, low=0, high=1e9)
    first, last, start, end = settings.rollout_schedule
    if min(first, last) < 1 or end <= start:
        raise SurefootError(
            f"rollout_schedule = {settings.rollout_schedule}: give two lengths of at least 1, and two epochs "
            "of which the second is later."
        )
    settings.model_fit.decay(1)
    settings.off_policy_settings.__check_init__()
    if settings.updates < 1:
        raise SurefootError(
            f"updates_per_step = {settings.updates_per_step} makes no update in an iteration of "
            f"{settings.steps_per_iteration} steps; raise one of the two."
        )
