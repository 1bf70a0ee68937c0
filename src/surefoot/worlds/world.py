"""The face that every source of experience shows to a learner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Array, PRNGKeyArray, Shaped

from surefoot.data.trajectories import Trajectories
from surefoot.task import Task


@dataclass(frozen=True)
class Steps:
    """Ask for this many environment steps in all, spread evenly over the parallel environments."""

    n: int


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
