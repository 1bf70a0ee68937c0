"""The form of an environment written in JAX: pure functions on a state."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import equinox as eqx
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from surefoot.task import Task


class StepResult(eqx.Module):
    """What one step yields besides the next state."""

    reward: Float[Array, ""]
    cost: Float[Array, " constraints"]
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]
    success: Bool[Array, ""]


@runtime_checkable
class JaxEnv(Protocol):
    """A frozen dataclass of plain settings with three pure functions.

    It holds no arrays, so that it can be hashed and be a constant of a compiled program.
    """

    @property
    def task(self) -> Task: ...

    def reset(self, key: PRNGKeyArray) -> Any:
        """A fresh state."""
        ...

    def step(self, state: Any, action: Shaped[Array, "..."]) -> tuple[Any, StepResult]:
        """The state after one decision, and what it yielded."""
        ...

    def observe(self, state: Any) -> Float[Array, " obs"]:
        """What the policy sees of a state."""
        ...
