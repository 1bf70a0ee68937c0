"""LOOP: learning off-policy with online planning (Sikchi, Zhou and Held 2021; Sikchi's thesis 2022, ch. 2).

Algorithm 1 of the thesis. The actor is never played: the planner collects, the actor and its critics learn.

  1  initialise actor pi_phi, critics Q_theta, model p_psi, data set D, horizon H
  2  collect some transitions with random actions into D
  3  for i = 1 .. Iter:
  4    for CEM iterations:
  5      J <- sum_{t < k} gamma^t r(s_t, a_t) + gamma^k Q_theta(s_k, a_k)                          (Eq. 2.3)
  6      sample sequences from the Gaussian, and from the actor rolled out in the model (CEM-AG)
  7      update mean and variance by the elites                                                  (Eq. 2.4)
  9    act by the first action of the mean; D <- D + (s, a, r, s')
 10    every K steps: M epochs of maximum likelihood on D for p_psi
 13    G gradient updates of phi and theta on D, by any off-policy method (TD3 or SAC)

Line 5 is that of section 2.5.5, whose critic judges the last planned action, so k = H - 1; the indices
printed in Eq. 2.3 skip a reward. Line 7 weighs the old statistics with alpha (as in PETS, where
alpha = 0.25 comes from); ``smoothing_on`` takes Eq. 2.4 as printed. Open points, and what is done:

* the reward is learned with the state, or known (``reward_model``); episodes end in a plan where the task's
  rule is known (HalfCheetah, Hopper, Walker2d, Ant, InvertedPendulum, without options that change it), and
  nowhere else;
* population 100 (Table 2.2; the text says 200); 4 particles for each of 5 members; 5 actor sequences are
  added;
* 1,000 random steps first, for every variant;
* a fit of the model takes at most 2,000 minibatches, which is less than 5 epochs from 102,400 transitions on:
  otherwise fitting overtakes planning. ``model_max_minibatches`` sets that, with -1 for no limit.

The thesis' baselines are options: only CEM (``terminal none``), the value of a random policy
(``terminal random``), without CEM-AG (``actor_sequences 0``), and the replay augmentation of section 2.5.4
(``replay_augmentation``).

``plan_cost_limits`` prefers plans that look safe within the horizon: the model learns the costs too, and
plans whose cost, taken from the most pessimistic member, exceeds a limit rank behind all that keep them. Then
the best candidate of the last iteration is executed and begins the next search, not the mean; and one in
:data:`HELD` of the sequences drawn in line 6 holds one action all along, from a box twice as wide as the
bounds and cut to them (:class:`surefoot.numerics.cem.Cem`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.planning.objective import ModelObjective, Simulated
from surefoot.algorithms.planning.planner import Memory, Planner, TerminalValue
from surefoot.algorithms.rl import sac, td3
from surefoot.data.replay import Replay, Transition
from surefoot.data.trajectories import Trajectories, episode_metrics
from surefoot.errors import SurefootError, check_range, unknown
from surefoot.networks.dynamics import PRECISIONS, Ensemble
from surefoot.networks.dynamics_fit import Fit, fit, init_optimiser
from surefoot.networks.policies import Mode, WarmUp
from surefoot.numerics.cem import Cem
from surefoot.task import Task
from surefoot.worlds.relabel import RelabelledWorld
from surefoot.worlds.world import Steps, World

OFF_POLICY = {"td3": td3, "sac": sac}
"""What learns underneath; both have ``init_agent`` and ``gradient_step``."""
TERMINALS = ("learned", "random", "none")
CRITICS = ("first", "min", "mean")
HELD = 4
"""With limits on costs, one in so many candidates holds one action all along, a way out if there is one."""
MODEL_METRICS = ("model_loss", "model_minibatches", "model_epochs")


class State(eqx.Module):
    """All that a resumed run needs. The planner's memory is kept by the world."""

    agent: Any
    """phi, theta and their optimisers."""
    model: Model
    replay: Replay
    """D."""
    simulated: Replay | None
    """M of section 2.5.4, transitions that the planner has met, if they are used."""
    steps: Int[Array, ""]
    """Environment steps taken."""
    task: Task = eqx.field(static=True)


class Model(eqx.Module):
    """p_psi and what its fits carry over."""

    ensemble: Ensemble
    optimiser: Any
    metrics: dict[str, Float[Array, ""]]
    """Of the last fit, NaN before the first."""


class Loop(eqx.Module):
    """LOOP: acts by planning on a learned model with a learned terminal value."""

    needs_demonstrations: ClassVar[bool] = False
    interacts: ClassVar[bool] = True
    plans: ClassVar[bool] = True
    usual_envs: ClassVar[int] = 1

    off_policy: str = "td3"
    """What learns the actor and the critics: td3 or sac."""
    plan_horizon: int = 5
    """H, actions of a plan; the thesis takes 3 for Walker2d, 5 elsewhere."""
    population: int = 100
    """n: sequences drawn in each iteration of CEM."""
    elites: int = 20
    """e: how many of the best make the next mean and variance."""
    cem_iterations: int = 5
    """N: rounds of drawing and choosing."""
    smoothing: float = 0.25
    """alpha: weight of the old (or new) statistics."""
    smoothing_on: Literal["old", "new"] = "old"
    """What alpha weighs: old statistics, or new ones (Eq. 2.4 as printed)."""
    smooth_mean: bool = True
    """Smooth the mean as well; otherwise the elites' mean replaces it."""
    actor_sequences: int | None = None
    """Sequences of the actor among the candidates; 0 is without CEM-AG. If not given, 5 with a learned
    terminal value, else 0."""
    particles: int = 4
    """P: rollouts of each sequence in each member; 1 costs a quarter and is noisier."""
    plan_precision: str = "float32"
    """Of the products in the model while planning: float32, or bfloat16 on accelerators that multiply faster
    in it."""
    plan_every: int = 1
    """Steps that a plan is followed; 2 plans at every other step, which is not the thesis' method."""
    terminal: str = "learned"
    """Value at the end of a plan: learned, that of a random policy, or none (only CEM, H rewards)."""
    terminal_critic: str = "first"
    """Which of the two critics judges: first, min (the smaller), or mean."""
    terminal_action: str = "planned"
    """What they judge: the last planned action, or the actor's in the last state (then H model steps)."""
    reward_model: str = "learned"
    """Reward within a plan: learned with the state; known from the task; or MODULE:FUNCTION of (s, a, s')."""
    termination_model: str = "auto"
    """Ends of episodes within a plan: auto takes the task's rule where it is known; none, no ends; or
    MODULE:FUNCTION of (s, a, s'), true where the episode ends."""
    plan_cost_limits: tuple[float, ...] | None = None
    """Safe planning: largest cost of a plan, summed over its steps, by the model's most pessimistic member;
    one a constraint or one for all. None plans without regard of costs."""
    members: int = 5
    """E: networks of the model."""
    model_hidden: tuple[int, ...] = (200, 200, 200, 200)
    """Hidden layers (swish) of each member."""
    cost_hidden: tuple[int, ...] = (64, 64)
    """Hidden layers (swish) of each member's network for the costs, with plan_cost_limits."""
    model_learning_rate: float = 1e-3
    """Adam's step for the model."""
    model_every: int = 250
    """K: environment steps between two fits of the model, also while actions are still random."""
    model_epochs: int = 5
    """M: passes over all transitions in a fit; the most of them if it may stop early."""
    model_batch_size: int = 256
    """Transitions a minibatch of a fit, for each member its own."""
    model_max_minibatches: int = 2000
    """Most minibatches a fit, so that its time does not grow for ever; -1 for no limit, as in the thesis."""
    model_holdout: float = 0.0
    """Share of transitions held out of all fits, to judge them."""
    model_patience: int | None = None
    """Stop a fit after more than so many epochs without progress on what is held out; never if not given."""
    hidden: tuple[int, ...] = (256, 256)
    """Hidden layers (ReLU) of the actor and of each critic."""
    discount: float = 0.99
    """gamma, in plans and in the critics, in [0, 1)."""
    polyak: float = 0.005
    """tau: share of the networks that enters their targets at each update, in (0, 1]."""
    learning_rate: float | None = None
    """Adam's step for actor and critics; 3e-4 for td3 and 1e-3 for sac if not given."""
    batch_size: int = 256
    """Transitions per gradient update."""
    updates_per_step: float = 1.0
    """G: gradient updates per environment step."""
    target_noise: float = 0.2
    """Of td3: spread of the noise on the target's actions, as a share of half their range."""
    target_clip: float = 0.5
    """Of td3: largest such noise."""
    policy_delay: int = 2
    """Of td3: critic updates for each update of the actor and the targets."""
    alpha: float = 1.0
    """Of sac: temperature, above 0; where it is learned, its initial value."""
    automatic_alpha: bool = True
    """Of sac: learn the temperature."""
    target_entropy: float | None = None
    """Of sac: in nats, of actions scaled to [-1, 1]; minus the number of their entries if not given."""
    replay_capacity: int = 1_000_000
    """Transitions kept."""
    replay_augmentation: bool = False
    """Learn from transitions that the planner has simulated as well (section 2.5.4)."""
    simulated_share: float = 0.3
    """Share of a batch that is simulated."""
    simulated_capacity: int = 12_000
    """Simulated transitions kept."""
    simulated_per_step: int = 48
    """Simulated transitions that an environment step adds, at least."""
    compare_planners: bool = False
    """Log what CEM-AG gains over plain CEM (Figure 2.9), at twice the time of planning."""
    warm_up: int = 1000
    """Environment steps of uniformly random actions, without gradient updates, at the start."""
    steps_per_iteration: int = 1
    """Environment steps between two rounds of learning; a multiple of the world's environments."""

    def __check_init__(self) -> None:
        check_settings(self)

    @property
    def also_evaluated(self) -> tuple[str, ...]:
        """The actor, if one is learned."""
        return ("actor",) if self.terminal == "learned" else ()

    @property
    def off_policy_settings(self) -> td3.Td3 | sac.Sac:
        """Those of TD3 or SAC."""
        if self.off_policy == "td3":
            return td3.Td3(
                hidden=self.hidden,
                discount=self.discount,
                polyak=self.polyak,
                batch_size=self.batch_size,
                learning_rate=3e-4 if self.learning_rate is None else self.learning_rate,
                target_noise=self.target_noise,
                target_clip=self.target_clip,
                policy_delay=self.policy_delay,
            )
        rate = 1e-3 if self.learning_rate is None else self.learning_rate
        return sac.Sac(
            hidden=self.hidden,
            discount=self.discount,
            polyak=self.polyak,
            batch_size=self.batch_size,
            learning_rate=rate,
            alpha=self.alpha,
            automatic_alpha=self.automatic_alpha,
            alpha_learning_rate=rate,
            target_entropy=self.target_entropy,
        )

    @property
    def search(self) -> Cem:
        """How CEM goes."""
        return Cem(
            population=self.population,
            elites=self.elites,
            iterations=self.cem_iterations,
            smoothing=self.smoothing,
            smoothing_on=self.smoothing_on,
            smooth_mean=self.smooth_mean,
            held=0 if self.plan_cost_limits is None else self.population // HELD,
        )

    @property
    def model_fit(self) -> Fit:
        """How the model is fitted."""
        return fit_settings(self)

    @property
    def sequences(self) -> int:
        """Of the actor, among the candidates."""
        if self.actor_sequences is None:
            return 5 if self.terminal == "learned" else 0
        return self.actor_sequences

    @property
    def simulated_an_iteration(self) -> int:
        """Simulated transitions that each iteration of CEM gives, rounded up."""
        return -(-self.simulated_per_step // self.cem_iterations)

    @property
    def updates(self) -> int:
        """Gradient updates per iteration; none where no value is used."""
        return 0 if self.terminal == "none" else round(self.steps_per_iteration * self.updates_per_step)

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Any = None) -> State:
        """Line 1. :class:`SurefootError` unless actions are bounded reals, and what is asked for is known."""
        check_task(self, task)
        key_agent, key_model = jax.random.split(key)
        agent = OFF_POLICY[self.off_policy].init_agent(self.off_policy_settings, task, key_agent)
        ensemble = Ensemble.create(
            task.observation.size,
            len(agent.actor.low),
            key=key_model,
            members=self.members,
            hidden=self.model_hidden,
            rewards=self.reward_model == "learned",
            costs=0 if self.plan_cost_limits is None else len(task.constraints),
            cost_hidden=self.cost_hidden,
        )
        names = MODEL_METRICS + (("model_holdout_error",) if self.model_holdout else ())
        never = {name: jnp.asarray(jnp.nan) for name in names}
        model = Model(ensemble, init_optimiser(ensemble, self.model_fit), never)
        simulated = Replay.create(task, self.simulated_capacity) if self.replay_augmentation else None
        replay = Replay.create(task, self.replay_capacity)
        return State(agent, model, replay, simulated, jnp.zeros((), jnp.int32), task)

    def check(self, world: Any) -> None:
        """Raises :class:`SurefootError` if it cannot learn in this world."""
        check_world(self, world)

    def cautions(self, task: Task, iterations: int) -> dict[str, str]:
        """What to warn of before a training, by what it is about."""
        del iterations
        return cautions(self, task)

    def policy(self, state: State) -> WarmUp:
        """The planner (lines 4 to 8), after random actions at the start (line 2)."""
        return WarmUp(self.planner(state), state.steps < self.warm_up)

    def other_policy(self, state: State, name: str) -> Mode:
        """The actor alone, without noise."""
        assert name == "actor"
        return Mode(state.agent.actor)

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        check_world(self, world)
        key_act, key_learn = jax.random.split(key)
        world, batch = world.collect(self.policy(state), Steps(self.steps_per_iteration), key_act)  # 4-9
        state, metrics = self.learn(state, batch, key_learn)  # 9-15
        return state, world, metrics

    @eqx.filter_jit(donate="all-except-first")
    def learn(self, state: State, batch: Trajectories, key: PRNGKeyArray) -> tuple[State, Metrics]:
        """Stores what was seen, fits the model if it is due, and makes the gradient updates.

        ``state``, ``batch`` and ``key`` are given away: the replay buffer is written where it lies.
        """
        key_model, key_agent = jax.random.split(key)
        report, met = reported(batch.memory)
        batch = eqx.tree_at(lambda b: b.memory, batch, None, is_leaf=lambda x: x is None)
        steps, enabled = state.steps + batch.reward.size, state.steps >= self.warm_up
        replay = state.replay.add(batch)  # 9
        simulated = augmented(state.simulated, met, enabled)
        due = steps // self.model_every > state.steps // self.model_every
        model = fitted(self.model_fit, state.model, replay, key_model, due)  # 10-12
        agent, metrics = improve(self, state.agent, replay, simulated, key_agent, enabled)  # 13-15
        metrics |= episode_metrics(batch, state.task) | report | model.metrics
        return State(agent, model, replay, simulated, steps, state.task), metrics

    def planner(self, state: State) -> Planner:
        """What acts: CEM or CEM-AG on the model, with the critics at the end."""
        actor, with_value = state.agent.actor, self.terminal != "none"
        reward, termination = known_parts(self, state.task)
        objective = ModelObjective(
            state.model.ensemble,
            value=TerminalValue(state.agent.critics, self.terminal_critic) if with_value else None,
            actor=Mode(actor) if with_value and self.terminal_action == "actor" else None,
            reward=reward,
            termination=termination,
            discount=self.discount,
            particles=self.particles,
            model_steps=self.plan_horizon if with_value and self.terminal_action == "actor" else None,
            precision=self.plan_precision,
            simulated=self.simulated_an_iteration if self.replay_augmentation else 0,
        )
        return Planner(
            objective,
            actor if self.terminal == "learned" or self.sequences else None,
            actor.low,
            actor.high,
            self.plan_horizon,
            self.search,
            self.sequences,
            self.plan_every,
            limits_of(self, state.task),
            self.compare_planners,
        )


# What the planner has seen


def reported(memory: Memory | None) -> tuple[Metrics, Simulated | None]:
    """Means of what the planning calls reported, and the transitions that they met."""
    if memory is None:
        return {}, None
    return {name: jnp.nanmean(values) for name, values in memory.report.items()}, memory.simulated


def augmented(buffer: Replay | None, met: Simulated | None, enabled: Bool[Array, ""]) -> Replay | None:
    """M with the new transitions ``[time, envs, n]`` (section 2.5.4), once the planner acts.

    Rows that are not finite are left out: the model diverged, or there were too few to draw from.
    """
    if buffer is None or met is None:
        return buffer
    n, rows = met.reward.size, met.reward.shape
    cost = jnp.zeros((n, buffer.data.cost.shape[-1])) if not met.cost.shape[-1] else met.cost
    flat = {name: value.reshape(n, *value.shape[len(rows) :]) for name, value in vars(met).items()}
    new = Transition(**flat | {"cost": cost.reshape(n, -1)})
    sound = jnp.all(jnp.isfinite(new.next_observation), axis=-1) & jnp.isfinite(new.reward)
    return buffer.add_some(new, enabled & sound)


# The model


def fit_settings(settings: Any) -> Fit:
    """How the model of LOOP or MBPO is fitted.

    Raises :class:`SurefootError` for a setting out of range, under the name that it has here.
    """
    limit = settings.model_max_minibatches
    check_range("model_epochs", settings.model_epochs, low=1)
    check_range("model_batch_size", settings.model_batch_size, low=1)
    check_range("model_learning_rate", settings.model_learning_rate, low=0, open_low=True)
    check_range("model_holdout", settings.model_holdout, low=0, high=0.5)
    if limit == 0:
        raise SurefootError("model_max_minibatches = 0 fits nothing; give 1 or more, or -1 for no limit.")
    if settings.model_patience is not None:
        check_range("model_patience", settings.model_patience, low=0)
        if settings.model_holdout == 0:
            raise SurefootError("model_patience needs transitions held out; set model_holdout, say to 0.2.")
    return Fit(
        epochs=settings.model_epochs,
        batch_size=settings.model_batch_size,
        learning_rate=settings.model_learning_rate,
        max_minibatches=None if limit < 0 else limit,
        holdout=settings.model_holdout,
        patience=settings.model_patience,
    )


def fitted(settings: Fit, model: Model, replay: Replay, key: PRNGKeyArray, due: Bool[Array, ""]) -> Model:
    """After a fit on all of ``replay``, if it is due."""

    def run() -> Model:
        return Model(*fit(model.ensemble, model.optimiser, replay.data, replay.size, key, settings))

    return jax.lax.cond(due, run, lambda: model)


# The actor and the critics


def improve(
    settings: Loop,
    agent: Any,
    replay: Replay,
    simulated: Replay | None,
    key: PRNGKeyArray,
    enabled: Bool[Array, ""],
) -> tuple[Any, Metrics]:
    """G updates an environment step by TD3 or SAC, none unless ``enabled``; metrics are their means."""
    if not settings.updates:
        return agent, {}
    inner, method = settings.off_policy_settings, OFF_POLICY[settings.off_policy]

    def step(agent: Any, key: PRNGKeyArray) -> tuple[Any, Metrics]:
        key_batch, key_step = jax.random.split(key)
        batch = mixed(replay, simulated, key_batch, settings.batch_size, settings.simulated_share)
        after, metrics = method.gradient_step(inner, agent, batch, key_step)
        return (held(after, agent) if settings.terminal == "random" else after), metrics

    return sac.repeat(step, agent, key, settings.updates, enabled=enabled)


def mixed(replay: Replay, simulated: Replay | None, key: PRNGKeyArray, n: int, share: float) -> Transition:
    """A batch whose items are each simulated with probability ``share``, as soon as there are such."""
    if simulated is None:
        return replay.sample(key, n)
    key_real, key_simulated, key_which = jax.random.split(key, 3)
    real, other = replay.sample(key_real, n), simulated.sample(key_simulated, n)
    which = (jax.random.uniform(key_which, (n,)) < share) & (simulated.size > 0)
    return jax.tree.map(lambda a, b: jnp.where(which.reshape(n, *[1] * (a.ndim - 1)), a, b), other, real)


def held(after: Any, before: Any) -> Any:
    """``after`` with the actor of ``before``: the critics learn the value of a policy that never changes."""
    names = [name for name in ("actor", "target_actor", "log_alpha") if hasattr(before, name)]
    return eqx.tree_at(
        lambda agent: [getattr(agent, name) for name in names],
        after,
        [getattr(before, name) for name in names],
    )


# What is refused


def limits_of(settings: Any, task: Task) -> tuple[float, ...] | None:
    """The limits of a plan, one a constraint; raises :class:`SurefootError` if they do not fit the task."""
    limits = settings.plan_cost_limits
    if limits is None:
        return None
    if not task.constraints:
        raise SurefootError(
            f"'{task.name}' reports no cost, so plan_cost_limits cannot be kept; leave them out."
        )
    if len(limits) == 1:
        limits = limits * len(task.constraints)
    if len(limits) != len(task.constraints):
        raise SurefootError(
            f"plan_cost_limits = {limits}: '{task.name}' has {len(task.constraints)} constraints; give one "
            "limit each, or one for all."
        )
    return limits


def check_task(settings: Loop, task: Task) -> None:
    """Raises :class:`SurefootError` if the task lacks what the settings need."""
    limits_of(settings, task)
    known_parts(settings, task)


def known_parts(settings: Any, task: Task) -> tuple[Any, Any]:
    """Reward and rule of termination, the user's own or those known of the task; else ``None``.

    Raises :class:`SurefootError` if a known reward is asked for and there is none, or not for an environment
    that was made as this one was, and if a function of the user's cannot be found or compiled.
    """
    from surefoot.envs.known_rewards import reward_of, termination_of

    reward = termination = None
    if ":" in settings.reward_model:
        reward = own_part(settings.reward_model, "reward_model", task)
    elif settings.reward_model == "known":
        try:
            reward = reward_of(task)
        except SurefootError as error:
            raise SurefootError(f"{error} Use reward_model learned, or MODULE:FUNCTION.") from error
    if ":" in settings.termination_model:
        termination = own_part(settings.termination_model, "termination_model", task)
    elif settings.termination_model == "auto":
        with suppress(SurefootError):
            termination = termination_of(task)
    return reward, termination


@cache  # planners are made anew at every step of a simulator, and a trial takes longer than such a step
def own_part(path: str, option: str, task: Task) -> Callable[[Array, Array, Array], Array]:
    """The user's function ``path``, tried on shapes; raises :class:`SurefootError` if it is of no use."""
    from surefoot._importing import compiling, find

    function = find(path)
    state = jax.ShapeDtypeStruct((3, 2, task.observation.size), jnp.float32)
    action = jax.ShapeDtypeStruct((3, 2, getattr(task.action, "size", 1)), jnp.float32)
    with compiling(f"{option} {path}"):
        found = jax.eval_shape(function, state, action, state)
    if getattr(found, "shape", None) != (3, 2):
        raise SurefootError(
            f"{option} {path} gives {getattr(found, 'shape', type(found).__name__)} for states of shape "
            f"{state.shape}; it must give one value a state, here (3, 2)."
        )
    return function


def cautions(settings: Any, task: Task) -> dict[str, str]:
    """Where a rule of termination that is known for the task's name does not hold for the task."""
    from surefoot.envs.known_rewards import is_known, termination_of

    if settings.termination_model != "auto" or not is_known(task.name):
        return {}
    try:
        termination_of(task)
    except SurefootError as error:
        told = "Plans go on where episodes may end (termination_model none); MODULE:FUNCTION gives the rule."
        return {"ends in plans": f"{error} {told}"}
    return {}


def check_world(settings: Any, world: Any) -> None:
    """Raises :class:`SurefootError` if an iteration has fewer steps than there are environments, or if plans
    would be judged by another reward than the critics learn."""
    if settings.reward_model != "learned" and isinstance(world, RelabelledWorld):
        raise SurefootError(
            f"Plans would be judged by reward_model {settings.reward_model}, but critics would learn from "
            "another reward (--reward, --prior, relabel); let the model learn that one: reward_model learned."
        )
    envs = getattr(world, "envs", 1)
    if settings.steps_per_iteration % envs:
        raise SurefootError(
            f"steps_per_iteration = {settings.steps_per_iteration} does not divide evenly over the world's "
            f"{envs} environments; make it with envs=1 (--envs 1), or set it to a multiple of {envs}."
        )


def check_models(settings: Any) -> None:
    """Raises :class:`SurefootError` for a reward or a rule of termination that is no name of one."""
    for name, allowed in (("reward_model", ("learned", "known")), ("termination_model", ("auto", "none"))):
        if getattr(settings, name) not in allowed and ":" not in getattr(settings, name):
            raise unknown(
                name, getattr(settings, name), allowed, "Write MODULE:FUNCTION for one of your own."
            )


def check_settings(settings: Loop) -> None:
    """Raises :class:`SurefootError` for a setting out of range, or two that do not go together."""
    for name, allowed in (
        ("off_policy", tuple(OFF_POLICY)),
        ("terminal", TERMINALS),
        ("terminal_critic", CRITICS),
        ("terminal_action", ("planned", "actor")),
        ("plan_precision", PRECISIONS),
    ):
        if getattr(settings, name) not in allowed:
            raise unknown(name, getattr(settings, name), allowed)
    check_models(settings)
    check_range("plan_horizon", settings.plan_horizon, low=1)
    check_range("cem_iterations", settings.cem_iterations, low=1)
    check_range("particles", settings.particles, low=1)
    check_range("plan_every", settings.plan_every, low=1, high=settings.plan_horizon)
    check_range("actor_sequences", settings.sequences, low=0)
    settings.search.__check_init__()
    if settings.elites > settings.population + settings.sequences:
        raise SurefootError(
            f"elites = {settings.elites} is more than the {settings.population + settings.sequences} "
            "candidates; raise population or lower elites."
        )
    check_range("members", settings.members, low=1)
    check_range("model_every", settings.model_every, low=1)
    check_range("updates_per_step", settings.updates_per_step, low=0, high=10_000, open_low=True)
    check_range("steps_per_iteration", settings.steps_per_iteration, low=1)
    check_range("warm_up", settings.warm_up, low=0)
    check_range("replay_capacity", settings.replay_capacity, low=settings.steps_per_iteration)
    check_range("simulated_share", settings.simulated_share, low=0, high=1)
    check_range("simulated_per_step", settings.simulated_per_step, low=1)
    check_range("simulated_capacity", settings.simulated_capacity, low=1)
    for limit in settings.plan_cost_limits or ():
        check_range("plan_cost_limits", limit, low=0)
    settings.model_fit.decay(1)
    settings.off_policy_settings.__check_init__()
    if settings.terminal != "none" and settings.updates < 1:
        raise SurefootError(
            f"updates_per_step = {settings.updates_per_step} makes no update in an iteration of "
            f"{settings.steps_per_iteration} steps; raise one of the two."
        )
    if settings.terminal == "none" and settings.sequences:
        raise SurefootError("terminal none learns no actor, so actor_sequences must be 0.")
    if settings.compare_planners and not settings.sequences:
        raise SurefootError("compare_planners compares with the actor's sequences, and there are none.")
    model_steps = settings.plan_horizon - (
        settings.terminal != "none" and settings.terminal_action == "planned"
    )
    if model_steps == 0 and (settings.replay_augmentation or settings.plan_cost_limits is not None):
        raise SurefootError(
            "A plan_horizon of 1 makes no model step, so it has neither costs nor simulated transitions; "
            "plan further, or leave out plan_cost_limits and replay_augmentation."
        )
    if settings.replay_augmentation and settings.terminal == "none":
        raise SurefootError("terminal none learns no value, so replay_augmentation is of no use.")
    if settings.replay_augmentation and settings.plan_every > 1:
        raise SurefootError("replay_augmentation needs a plan at every step; set plan_every to 1.")
    if settings.replay_augmentation:
        check_simulated(settings, model_steps)


def check_simulated(settings: Loop, model_steps: int) -> None:
    """Raises :class:`SurefootError` if the search meets fewer transitions than are asked for, or if those of
    one iteration do not fit the buffer."""
    candidates = settings.population + settings.sequences
    met = model_steps * settings.members * settings.particles * candidates  # in one iteration of CEM
    if settings.simulated_an_iteration > met:
        raise SurefootError(
            f"simulated_per_step = {settings.simulated_per_step} is more than the "
            f"{settings.cem_iterations * met:,} transitions that a plan meets; lower it."
        )
    added = settings.steps_per_iteration * settings.cem_iterations * settings.simulated_an_iteration
    if added > settings.simulated_capacity:
        raise SurefootError(
            f"simulated_capacity = {settings.simulated_capacity} is less than the {added:,} transitions that "
            f"{settings.steps_per_iteration} steps add; raise it, or lower simulated_per_step."
        )
