"""The face that every source of experience shows to a learner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, Shaped

from surefoot.data.trajectories import Trajectories
from surefoot.errors import SurefootError
from surefoot.task import Task


@dataclass(frozen=True)
class Steps:
    """Ask for this many environment steps in all, spread evenly over the parallel environments."""

    n: int

    def each(self, envs: int) -> int:
        """Steps of each of ``envs`` environments; raises :class:`SurefootError` if they are not as many."""
        if self.n % envs:
            raise SurefootError(
                f"{self.n} steps do not divide evenly over {envs} environments; make another number of them "
                f"(envs, --envs), or let the method take a multiple of {envs} steps at a time (batch_steps, "
                "steps_per_iteration or steps_per_round, whichever it has)."
            )
        return self.n // envs


@dataclass(frozen=True)
class Episodes:
    """Ask for this many whole episodes, each from a fresh reset; shorter ones are padded."""

    n: int


@runtime_checkable
class Acts(Protocol):
    """What a world needs of a policy."""

    def act(self, observation: Array, key: PRNGKeyArray) -> Shaped[Array, "..."]:
        """Action for one observation."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """What a policy has as well that remembers from step to step: a planner its last plan, say.

    A world keeps the memory of each of its environments, and begins anew with each episode.
    """

    def memory(self) -> Any:
        """What it knows of one environment when an episode begins, as arrays; ``None`` if it remembers
        nothing after all."""
        ...

    def act_with(self, memory: Any, observation: Array, key: PRNGKeyArray) -> tuple[Array, Any]:
        """Action for one observation, and the memory after it, of the same form.

        Numbers by name in an attribute ``report`` of the memory are kept of every step of an evaluation.
        """
        ...


@runtime_checkable
class World(Protocol):
    """Where experience comes from. Immutable: ``collect`` returns the world after the steps."""

    @property
    def task(self) -> Task: ...

    @property
    def compiled(self) -> bool:
        """Whether ``collect`` may be traced by JAX."""
        ...

    def collect(
        self, policy: Acts, amount: Steps | Episodes, key: PRNGKeyArray
    ) -> tuple[World, Trajectories]: ...

    def fresh(self, key: PRNGKeyArray) -> World:
        """The same world with every environment reset."""
        ...


def report_of(memory: Any) -> dict[str, Float[Array, " envs"]] | None:
    """Numbers by name that a memory ``[envs, ...]`` reports of the step: its ``report``, if it has one."""
    return getattr(memory, "report", None)


def memory_of(policy: Acts, envs: int, before: Any = None) -> Any:
    """A memory ``[envs, ...]`` for ``policy``: the one before if it has the right form, else a fresh one.

    ``None`` for a policy that remembers nothing.
    """
    if not isinstance(policy, Remembers):
        return None
    fresh = jax.tree.map(lambda x: jnp.broadcast_to(strong(x), (envs, *x.shape)), policy.memory())

    def form(memory: Any) -> Any:
        return jax.tree.structure(memory), [(x.shape, x.dtype) for x in jax.tree.leaves(memory)]

    return before if form(before) == form(fresh) else fresh


def strong(x: Array) -> Array:
    """``x`` of no weak type: results have none, so that what takes both would be compiled twice."""
    return jax.lax.convert_element_type(x, x.dtype) if not jnp.issubdtype(x.dtype, jax.dtypes.extended) else x


def act_with(
    policy: Any,
    memory: Any,
    observation: Float[Array, "envs obs"],
    keys: Key[Array, " envs"],
    started: Bool[Array, " envs"],
) -> tuple[Shaped[Array, "envs *act"], Any]:
    """Actions of all environments, and their memories after it; those that ``started`` remember nothing.

    One environment alone is not batched, so that what a policy leaves out (``lax.cond``) costs nothing.
    """
    fresh = policy.memory()

    def one(memory: Any, observation: Array, key: PRNGKeyArray, started: Array) -> tuple[Array, Any]:
        memory = jax.tree.map(lambda new, old: jnp.where(started, new, old), fresh, memory)
        return policy.act_with(memory, observation, key)

    rows = memory, observation, keys, started
    if len(observation) == 1:
        return jax.tree.map(lambda x: x[None], one(*jax.tree.map(lambda x: x[0], rows)))
    return jax.vmap(one)(*rows)
