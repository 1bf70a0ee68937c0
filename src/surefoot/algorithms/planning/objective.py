"""What sequences of actions are worth under a learned model: TS-infinity rollouts with a terminal value.

Sikchi 2022, sections 2.4 and 2.5.5; Chua et al. 2018 (arXiv 1805.12114). Every sequence a_0 .. a_{H-1} passes
through every member with P particles each, and each particle stays with its member:

    s_{i+1}, r_i ~ N_e(s_i, a_i),      G = sum_{i < k} gamma^i r_i + gamma^k Q(s_k, a_k)

A sequence's return is the mean of G over members and particles. k, the number of model steps, is H - 1 where
the critic judges the last planned action (section 2.5.5), H where there is no terminal value. The reward of a
step that terminates counts; later ones and Q do not. A sequence's return is NaN if any of its particles
reaches a state that is not finite before its episode ends, whatever a known reward or rule says there. The
cost of a sequence is the sum over its steps, the mean over a member's particles, and then the largest over
members: pessimistic.

The first step is computed once for all particles of a member: they start in the same state, only their noise
differs. No step is computed whose result is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from surefoot.errors import SurefootError, check_range, unknown
from surefoot.networks.dynamics import PRECISIONS, Ensemble, Prediction
from surefoot.numerics.cem import Cem, Plan, Proposal, Scores, cem, shifted

Value = Callable[[Float[Array, "*batch obs"], Float[Array, "*batch act"]], Float[Array, "*batch"]]
"""(s, a) -> Q."""
Actor = Callable[[Float[Array, "*batch obs"]], Float[Array, "*batch act"]]
"""s -> a, without noise."""
StepFunction = Callable[[Array, Array, Array], Array]
"""(s, a, s') of any leading axes -> reward, whether it terminates, or costs ``[..., m]``."""


class Simulated(eqx.Module):
    """Transitions that a search has met."""

    observation: Float[Array, "*batch obs"]
    action: Float[Array, "*batch act"]
    reward: Float[Array, "*batch"]
    cost: Float[Array, "*batch costs"]
    next_observation: Float[Array, "*batch obs"]
    terminated: Float[Array, "*batch"]


class ModelObjective(eqx.Module):
    """Returns and costs of action sequences under an ensemble; a pure function of its arrays.

    >>> objective = ModelObjective(ensemble, value=critic)                            # doctest: +SKIP
    >>> plan = cem(objective.at(observation), proposal, key)                          # doctest: +SKIP
    """

    ensemble: Ensemble
    value: Value | None = None
    """Q at the end; ``None`` is no terminal value, where all H actions earn their reward."""
    actor: Actor | None = None
    """Judge Q(s_k, actor(s_k)) at the end in place of the planned action."""
    reward: StepFunction | None = None
    """A known reward in place of the model's."""
    cost: StepFunction | None = None
    """Known costs in place of the model's."""
    termination: StepFunction | None = None
    """Where episodes end; nowhere if not given."""
    discount: float = 0.99
    """gamma, in [0, 1]."""
    particles: int = eqx.field(static=True, default=4)
    """P, rollouts per member and sequence."""
    model_steps: int | None = eqx.field(static=True, default=None)
    """k; H - 1 with a terminal value and H without, if not given. H with a value needs an ``actor``."""
    precision: str = eqx.field(static=True, default="float32")
    """Of the products in the model's layers (:meth:`surefoot.networks.dynamics.Ensemble.products_in`)."""
    simulated: int = eqx.field(static=True, default=0)
    """Transitions per call that are drawn from those met, uniformly among those before the end; a row
    whose reward is NaN is empty."""

    def __check_init__(self) -> None:
        check_range("particles", self.particles, low=1)
        check_range("simulated", self.simulated, low=0)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if isinstance(self.discount, int | float):
            check_range("discount", self.discount, low=0, high=1)
        if self.reward is None and not self.ensemble.rewards:
            raise SurefootError("The model predicts no reward and none is known; give one of the two.")

    def ready(self) -> ModelObjective:
        """For many calls: with the elites alone, in the precision that is asked for."""
        return eqx.tree_at(lambda o: o.ensemble, self, self.ensemble.chosen().products_in(self.precision))

    def at(
        self, observation: Float[Array, " obs"]
    ) -> Callable[[Float[Array, "n horizon act"], PRNGKeyArray], Scores]:
        """The objective of plans that start in this state."""
        return lambda actions, key: self(observation, actions, key)

    def steps(self, horizon: int) -> int:
        """k of plans with that many actions."""
        k = self.model_steps
        if k is None:
            k = horizon if self.value is None else horizon - 1
        most = horizon if self.value is None or self.actor is not None else horizon - 1
        check_range("model_steps", k, low=0 if self.value is not None else 1, high=most)
        if self.simulated and not k:
            raise SurefootError("A horizon of 1 makes no model step, so there are no simulated transitions.")
        return k

    def __call__(
        self, observation: Float[Array, " obs"], actions: Float[Array, "n horizon act"], key: PRNGKeyArray
    ) -> Scores:
        """Scores of the sequences; ``key`` is consumed for the particles' noise."""
        return one_by_one_on_cpu(self._evaluate, observation, actions, key)

    def _evaluate(
        self, observation: Float[Array, " obs"], actions: Float[Array, "n horizon act"], key: PRNGKeyArray
    ) -> Scores:
        n, horizon, _ = actions.shape
        k = self.steps(horizon)
        key_noise, key_draw = jax.random.split(key)
        if k == 0:  # the critic alone, of the state that is there
            end = Rollouts(
                jnp.broadcast_to(observation, (1, n, len(observation))),
                jnp.zeros((1, n)),
                jnp.zeros((1, n, self._costs)),
                jnp.ones((1, n), bool),
            )
            by_step, seen = jnp.swapaxes(actions, 0, 1), None
        else:
            # Rows of a member: all sequences with the first particle, then with the second ...
            by_step = jnp.tile(jnp.swapaxes(actions, 0, 1), (1, self.particles, 1))
            end, seen = self._roll(observation, actions[:, 0], by_step[:k], key_noise)
        returns = end.returns
        if self.value is not None:
            action = by_step[k] if self.actor is None else self.actor(end.observation)
            q = self._judge(end.observation, jnp.broadcast_to(action, (*end.returns.shape, action.shape[-1])))
            returns = returns + jnp.where(end.alive, self.discount**k * q, 0.0)
        particles = end.returns.shape[1] // n  # given in full: without costs there is nothing to infer from
        costs = end.costs.reshape(len(end.costs), particles, n, self._costs)
        return Scores(
            jnp.mean(returns.reshape(-1, n), axis=0),
            jnp.max(jnp.mean(costs, axis=1), axis=0),
            None if seen is None else draw(seen, key_draw, self.simulated),
        )

    def _roll(
        self,
        observation: Float[Array, " obs"],
        first_action: Float[Array, "n act"],
        by_step: Float[Array, "k rows act"],
        key: PRNGKeyArray,
    ) -> tuple[Rollouts, tuple[Simulated, Array] | None]:
        """The rollouts of all members, after the last step; and, if asked for, every step with its mask."""
        keys, size = jax.random.split(key, len(by_step)), self.ensemble.size
        n, rows = len(first_action), by_step.shape[1]
        start = jnp.broadcast_to(observation, (n, len(observation)))
        mean, log_variance = self.ensemble.predict(start, first_action)  # of n rows, not of P n
        many = (size, self.particles, *start.shape)
        step = self.ensemble.sample(
            jnp.broadcast_to(observation, many), mean[:, None], log_variance[:, None], keys[0]
        )
        step = jax.tree.map(lambda x: x.reshape(size, rows, *x.shape[3:]), step)
        now = Rollouts(
            jnp.broadcast_to(observation, step.next_observation.shape),
            jnp.zeros((size, rows)),
            jnp.zeros((size, rows, self._costs)),
            jnp.ones((size, rows), bool),
        )
        now, first_seen = self._count(now, by_step[0], step, jnp.ones(()))

        def onward(now: Rollouts, given: tuple[Array, Array, Array]) -> tuple[Rollouts, Any]:
            action, key, weight = given
            step = self.ensemble.step(now.observation, _each(action, size), key)
            return self._count(now, action, step, weight)

        weights = self.discount ** jnp.arange(1, len(by_step))
        now, seen = jax.lax.scan(onward, now, (by_step[1:], keys[1:], weights))
        return now, jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), first_seen, seen)

    def _count(
        self, now: Rollouts, action: Float[Array, "rows act"], step: Prediction, weight: Float[Array, ""]
    ) -> tuple[Rollouts, tuple[Simulated, Array] | None]:
        """After a step: its reward and costs count where the episode had not ended before."""
        each = _each(action, len(now.observation))
        at = now.observation, each, step.next_observation
        reward = step.reward if self.reward is None else self.reward(*at)
        assert reward is not None  # __check_init__ has seen to it
        cost = step.cost if self.cost is None else self.cost(*at)
        # A rule may turn what is no number into one: a state of NaN is a fall, say, that paid 1 before.
        sound = jnp.all(jnp.isfinite(step.next_observation), axis=-1)
        paid = jnp.where(sound, weight * reward, jnp.nan)
        spent = jnp.where(sound[..., None], cost, jnp.nan)
        over = jnp.zeros_like(now.alive) if self.termination is None else self.termination(*at) > 0
        after = Rollouts(
            step.next_observation,
            now.returns + jnp.where(now.alive, paid, 0.0),
            now.costs + jnp.where(now.alive[..., None], spent, 0.0),
            now.alive & ~over,
        )
        if not self.simulated:
            return after, None
        met = Simulated(now.observation, each, reward, cost, step.next_observation, over.astype(jnp.float32))
        return after, (met, now.alive)

    @property
    def _costs(self) -> int:
        """How many costs there are."""
        if self.cost is None:
            return self.ensemble.costs
        o, a = jnp.zeros(self.ensemble.observation_size), jnp.zeros(self.ensemble.action_size)
        return jax.eval_shape(self.cost, o, a, o).shape[-1]

    def _judge(
        self, observation: Float[Array, "members rows obs"], action: Float[Array, "members rows act"]
    ) -> Float[Array, "members rows"]:
        """Q, of one batch."""
        assert self.value is not None
        flat = (x.reshape(-1, x.shape[-1]) for x in (observation, action))
        return self.value(*flat).reshape(observation.shape[:-1])


class Rollouts(eqx.Module):
    """Where the particles are."""

    observation: Float[Array, "members rows obs"]
    returns: Float[Array, "members rows"]
    """Discounted rewards so far."""
    costs: Float[Array, "members rows costs"]
    """Costs so far, not discounted."""
    alive: Bool[Array, "members rows"]
    """Whether the episode goes on."""


def one_by_one_on_cpu(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``, which ``jax.vmap`` turns into a loop where the backend is a CPU.

    The rollouts of one environment fill a core, and just fit its cache; those of several at once would not.
    """
    if jax.default_backend() != "cpu":
        return function(*arguments)
    # What the function closes over (critics, say) may be batched as well, and becomes an argument.
    converted, constants = jax.closure_convert(lambda *given: function(*given), *arguments)
    return jax.custom_batching.sequential_vmap(converted)(*arguments, *constants)


def _each(action: Float[Array, "rows act"], members: int) -> Float[Array, "members rows act"]:
    return jnp.broadcast_to(action, (members, *action.shape))


def draw(seen: tuple[Simulated, Array], key: PRNGKeyArray, count: int) -> Simulated:
    """``count`` of the transitions ``[k, E, rows]``, uniformly among those with a mask; none twice.

    Where fewer have one, the rest of the rows have NaN as their reward. :class:`SurefootError` if there are
    fewer transitions than ``count`` in all.
    """
    steps, mask = seen
    check_range("simulated", count, low=0, high=mask.size)
    luck = jnp.where(mask.ravel(), jax.random.uniform(key, (mask.size,)), -1.0)
    luckiest, chosen = jax.lax.top_k(luck, count)
    drawn = jax.tree.map(lambda x: x.reshape(mask.size, *x.shape[3:])[chosen], steps)
    return eqx.tree_at(lambda d: d.reward, drawn, jnp.where(luckiest >= 0, drawn.reward, jnp.nan))


def actor_sequences(
    ensemble: Ensemble,
    actor: Actor,
    observation: Float[Array, " obs"],
    key: PRNGKeyArray,
    *,
    count: int = 5,
    horizon: int = 5,
) -> Float[Array, "count horizon act"]:
    """What the actor does in ``count`` rollouts of the model, as open-loop sequences (CEM-AG).

    Each step of each rollout follows a member drawn for it, with its noise. All begin with actor(s_0).
    """
    start = jnp.broadcast_to(observation, (count, len(observation)))

    def step(state: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        action = actor(state)
        return ensemble.step_any(state, action, key).next_observation, action

    last, actions = jax.lax.scan(step, start, jax.random.split(key, horizon)[1:])
    return jnp.swapaxes(jnp.concatenate([actions, actor(last)[None]]), 0, 1)


def plan(
    objective: ModelObjective,
    observation: Float[Array, " obs"],
    previous: Float[Array, "horizon act"],
    bounds: tuple[Float[Array, " act"], Float[Array, " act"]],
    key: PRNGKeyArray,
    settings: Cem | None = None,
    *,
    actor: Actor | None = None,
    sequences: int = 5,
    limits: Float[Array, " costs"] | tuple[float, ...] | None = None,
) -> Plan:
    """One planning call: the plan for a state, warm-started from the plan of the step before.

    Args:
        objective: model, critic and settings of the rollouts.
        observation: the state that is there.
        previous: ``Plan.actions`` of the last plan; :func:`surefoot.numerics.cem.middle` at the start of an
            episode.
        bounds: lowest and highest action.
        key: consumed for everything.
        settings: of the search.
        actor: rolls out ``sequences`` candidates of its own (CEM-AG); without it this is plain CEM.
        limits: largest pessimistic cost of a sequence, one a cost (constrained CEM).

    Several environments are planned for in one call by ``jax.vmap`` over state, previous plan and key.
    """
    key_actor, key_search = jax.random.split(key)
    objective = objective.ready()
    extra = None
    if actor is not None and sequences:
        extra = actor_sequences(
            objective.ensemble, actor, observation, key_actor, count=sequences, horizon=len(previous)
        )
    proposal = Proposal(shifted(previous), *bounds, extra=extra)
    return cem(objective.at(observation), proposal, key_search, settings, limits=limits)
