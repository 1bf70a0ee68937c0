"""What a learner must know of its problem: spaces, cost signals, horizon."""

from __future__ import annotations

from dataclasses import dataclass

from surefoot.errors import SurefootError


@dataclass(frozen=True)
class Box:
    """Real vectors of one shape; ``low`` and ``high`` bound every entry (flattened, may be infinite)."""

    shape: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        size = self.size
        if len(self.low) != size or len(self.high) != size:
            raise SurefootError(
                f"Box of shape {self.shape} needs {size} lower and upper bounds, "
                f"got {len(self.low)} and {len(self.high)}."
            )

    @property
    def size(self) -> int:
        """Number of entries of one vector."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size


@dataclass(frozen=True)
class Discrete:
    """The integers 0 .. n - 1."""

    n: int
    start: int = 0
    """What the environment calls the first of them; learners and demonstrations count from 0."""


@dataclass(frozen=True)
class Task:
    """The problem as a learner sees it (Altman 1999: a constrained Markov decision process)."""

    name: str
    """Identifier of the environment, such as ``MarbleMaze-v0``."""
    observation: Box
    """Space of one observation; always a flat vector."""
    action: Box | Discrete
    """Space of one action."""
    constraints: tuple[str, ...] = ()
    """Name of each cost signal, in the order of the last axis of every cost array."""
    limits: tuple[float, ...] = ()
    """Largest expected cost of an episode that counts as safe, one a constraint."""
    horizon: int | None = None
    """Steps after which an episode is truncated; ``None`` if the environment sets no limit."""
    reports_success: bool = False
    """Whether the environment says when the task is solved."""
    options: tuple[str, ...] = ()
    """Names of the options that an environment of Gymnasium was made with, where they differ from its
    defaults: what is known of it by its name need not hold then."""

    def __post_init__(self) -> None:
        if len(self.limits) != len(self.constraints):
            raise SurefootError(
                f"Task '{self.name}' names {len(self.constraints)} constraints "
                f"but gives {len(self.limits)} limits; give one limit a constraint."
            )
        for name, limit in zip(self.constraints, self.limits, strict=True):
            if not limit >= 0:  # NaN too
                raise SurefootError(
                    f"Task '{self.name}' gives the limit {limit:g} for the cost '{name}'; "
                    "a limit is the cost of an episode, from 0."
                )

    @property
    def discrete_actions(self) -> int:
        """Number of actions; raises :class:`SurefootError` if actions are continuous."""
        if not isinstance(self.action, Discrete):
            raise SurefootError(
                f"'{self.name}' has continuous actions, but this algorithm needs discrete ones."
            )
        return self.action.n
