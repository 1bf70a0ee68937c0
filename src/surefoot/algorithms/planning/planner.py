"""A planner that acts: at each step CEM or CEM-AG on a learned model, begun at the last step's plan.

It is a policy with a memory (:class:`surefoot.worlds.world.Remembers`): its last plan, which the world
forgets when an episode ends. LOOP acts with it (Sikchi 2022, section 2.3); any method that has a model can.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from surefoot.algorithms.planning.objective import ModelObjective, Simulated, actor_sequences, plan
from surefoot.networks.critics import TwinContinuousQ
from surefoot.numerics.cem import Cem, Plan, middle, shifted

PLAN_METRICS = ("plan_elite_return", "plan_usage", "plan_frozen", "plan_dropped", "plan_feasible")
"""Names of what each search reports (:attr:`surefoot.numerics.cem.Plan.metrics`)."""
COMPARISON_PARTICLES = 20
"""A member, where finished plans are compared (Figure 2.9)."""


class Memory(eqx.Module):
    """What a planner knows from the step before."""

    actions: Float[Array, "horizon act"]
    """The last plan, from the action that was taken."""
    age: Int[Array, ""]
    """Steps since it was made."""
    report: dict[str, Float[Array, ""]]
    """Numbers of the last planning call, NaN before the first."""
    simulated: Simulated | None
    """Transitions that the last planning call met, if they are wanted."""


class Planner(eqx.Module):
    """Acts by the first action of a plan; the key decides candidates and particles."""

    objective: ModelObjective
    actor: Any
    """Policy with ``mode`` whose sequences are candidates of the search (CEM-AG), if there is one."""
    low: tuple[float, ...] = eqx.field(static=True)
    high: tuple[float, ...] = eqx.field(static=True)
    horizon: int = eqx.field(static=True)
    """H, actions of a plan."""
    search: Cem = eqx.field(static=True, default_factory=Cem)
    sequences: int = eqx.field(static=True, default=5)
    """How many sequences of the actor are candidates; 0 is plain CEM."""
    every: int = eqx.field(static=True, default=1)
    """Steps that a plan is followed before the next is made."""
    limits: tuple[float, ...] | None = eqx.field(static=True, default=None)
    """Largest predicted cost of a plan, one a cost; ``None`` plans without regard of them."""
    compare: bool = eqx.field(static=True, default=False)
    """Also search by plain CEM at each step, and report what is gained over it and over the actor."""

    @property
    def exported(self) -> Any:
        """What can be used without JAX: the actor, ``None`` if there is none."""
        return self.actor

    def memory(self) -> Memory:
        """At the start of an episode: the middle of the bounds, and a plan that is due."""
        start = middle(*self._bounds, self.horizon)
        names = PLAN_METRICS
        if self.actor is not None:
            names += ("actor_divergence",)
        if self.compare:
            names += ("gain_over_cem", "gain_over_actor")
        report = {name: jnp.asarray(jnp.nan) for name in names}
        return Memory(start, jnp.asarray(self.every, jnp.int32), report, self._nothing_simulated())

    def act(self, observation: Float[Array, " obs"], key: PRNGKeyArray) -> Float[Array, " act"]:
        """As at the first step of an episode."""
        return self.act_with(self.memory(), observation, key)[0]

    def act_with(
        self, memory: Memory, observation: Float[Array, " obs"], key: PRNGKeyArray
    ) -> tuple[Float[Array, " act"], Memory]:
        """The first action of a new plan, or the next one of the old plan if it is not yet ``every`` old."""
        if self.every == 1:
            memory = self._planned(memory, observation, key)
        else:
            memory = jax.lax.cond(
                memory.age + 1 >= self.every,
                lambda: self._planned(memory, observation, key),
                lambda: self._followed(memory, observation),
            )
        return memory.actions[0], memory

    def uniform(self, observation: Float[Array, " obs"], key: PRNGKeyArray) -> Float[Array, " act"]:
        """An action drawn uniformly within the bounds."""
        low, high = self._bounds
        return jax.random.uniform(key, low.shape, minval=low, maxval=high)

    def _planned(self, memory: Memory, observation: Array, key: PRNGKeyArray) -> Memory:
        key_plan, key_compare = jax.random.split(key)
        found = self._search(self.objective, memory, observation, key_plan, self.sequences)
        report = found.metrics | self._divergence(observation, found.action)
        if self.compare:
            report |= self._gains(memory, observation, found, key_plan, key_compare)
        return Memory(found.actions, jnp.zeros((), jnp.int32), report, self._simulated(found))

    def _followed(self, memory: Memory, observation: Array) -> Memory:
        actions = shifted(memory.actions)
        report = memory.report | self._divergence(observation, actions[0])
        return Memory(actions, memory.age + 1, report, memory.simulated)

    def _search(
        self, objective: ModelObjective, memory: Memory, observation: Array, key: PRNGKeyArray, sequences: int
    ) -> Plan:
        actor = None if self.actor is None else self.actor.mode
        return plan(
            objective, observation, memory.actions, self._bounds, key, self.search,
            actor=actor, sequences=sequences, limits=self.limits,
        )  # fmt: skip

    def _divergence(self, observation: Array, action: Array) -> dict[str, Array]:
        """||a - pi(s)|| in the action's unit (section 2.4.4)."""
        if self.actor is None:
            return {}
        return {"actor_divergence": jnp.linalg.norm(action - self.actor.mode(observation))}

    def _gains(
        self, memory: Memory, observation: Array, found: Plan, key_plan: PRNGKeyArray, key: PRNGKeyArray
    ) -> dict[str, Array]:
        """G of this plan minus that of plain CEM's from the same start, and minus that of the actor's own
        sequences, all judged by the same noise (Figure 2.9)."""
        key_cem, key_judge = jax.random.split(key)
        judge = replace(
            self.objective, particles=COMPARISON_PARTICLES, simulated=0, precision="float32"
        ).ready()
        plain = self._search(replace(self.objective, simulated=0), memory, observation, key_cem, 0)
        sequences = actor_sequences(  # those that the search was given: of the same key
            self.objective.ready().ensemble, self.actor.mode, observation, jax.random.split(key_plan)[0],
            count=self.sequences, horizon=self.horizon,
        )  # fmt: skip
        plans = jnp.concatenate([jnp.stack([found.actions, plain.actions]), sequences])
        worth = jax.vmap(lambda actions: judge(observation, actions[None], key_judge).returns[0])(plans)
        return {"gain_over_cem": worth[0] - worth[1], "gain_over_actor": worth[0] - jnp.mean(worth[2:])}

    def _simulated(self, found: Plan) -> Simulated | None:
        """``[iterations, n]`` to one list, as mixed as they were drawn."""
        if not self.objective.simulated:
            return None
        n = self.search.iterations * self.objective.simulated
        return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(n, *x.shape[2:]), found.aux)

    def _nothing_simulated(self) -> Simulated | None:
        """Zeros in the form of :meth:`_simulated`."""
        n, model = self.search.iterations * self.objective.simulated, self.objective.ensemble
        if not n:
            return None
        obs, costs = jnp.zeros((n, model.observation_size)), jnp.zeros((n, model.costs))
        return Simulated(obs, jnp.zeros((n, model.action_size)), jnp.zeros(n), costs, obs, jnp.zeros(n))

    @property
    def _bounds(self) -> tuple[Float[Array, " act"], Float[Array, " act"]]:
        return jnp.asarray(self.low), jnp.asarray(self.high)


class TerminalValue(eqx.Module):
    """Q(s, a) at the end of a plan, from two critics."""

    critics: TwinContinuousQ
    which: str = eqx.field(static=True, default="first")
    """first, min or mean."""

    def __call__(
        self, observation: Float[Array, "batch obs"], action: Float[Array, "batch act"]
    ) -> Float[Array, " batch"]:
        """Of the first critic alone, the smaller of the two, or their mean."""
        if self.which == "first":
            return self.critics.first(observation, action)
        both = self.critics(observation, action)
        return jnp.min(both, axis=0) if self.which == "min" else jnp.mean(both, axis=0)
