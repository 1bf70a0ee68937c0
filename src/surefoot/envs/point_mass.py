"""Point mass: a dot in a square room, for pictures of what a reward does.

The room, its goal and its two distractors are those of the experiments on f-IRL (Ni et al. 2020).

| item | value |
| --- | --- |
| state | position ``p`` in ``[0, size]^2`` |
| action | ``a`` in ``[-1, 1]^2``, added to the position: ``p' = clip(p + a, 0, size)`` |
| observation | 2 floats: the position, as it is |
| reward | ``none``: 0; ``goals``: 1 or 0.1 in three corners, see ``PointMass.reward`` |
| start | exactly ``(0, 0)`` |
| end | never terminated; truncated after ``horizon`` actions |
| cost | none |

Version history: v0, first version.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from surefoot.envs.env import StepResult
from surefoot.errors import check_range, unknown
from surefoot.task import Box, Task

REACH = 0.05
"""How near to both walls of a corner counts as being there."""
GOAL_REWARD = 1.0
DISTRACTOR_REWARD = 0.1


class State(eqx.Module):
    """Where the dot is, and how many actions were taken."""

    position: Float[Array, " 2"]
    time: Int[Array, ""]


@dataclass(frozen=True)
class PointMass:
    """Settings of the room, and its pure functions ``reset``, ``step`` and ``observe``."""

    size: float = 4.0
    """Side of the room; 4 for densities with a hill, 6 for uniform densities and for the goals."""
    reward: str = "none"
    """``none``: 0 always; ``goals``: each step that ends in the far corner ``(size, size)`` yields 1, in
    the distracting corners ``(size, 0)`` and ``(0, size)`` 0.1 (within 0.05 of both walls). The episode
    goes on there, so a goal pays again at each step."""
    horizon: int = 29
    """Actions in an episode; 29 make 30 states together with the start."""

    def __post_init__(self) -> None:
        check_range("size", self.size, low=0, open_low=True)
        check_range("horizon", self.horizon, low=1)
        if self.reward not in ("none", "goals"):
            raise unknown("reward", self.reward, ("none", "goals"))

    @property
    def task(self) -> Task:
        """Two observations, two real actions, no constraints; ``goals`` also reports success."""
        size = float(self.size)
        return Task(
            name="PointMass-v0",
            observation=Box((2,), (0.0, 0.0), (size, size)),
            action=Box((2,), (-1.0, -1.0), (1.0, 1.0)),
            horizon=self.horizon,
            reports_success=self.reward == "goals",
        )

    def reset(self, key: PRNGKeyArray) -> State:
        """In the corner ``(0, 0)``; ``key`` is not used."""
        del key
        return State(jnp.zeros(2), jnp.zeros((), jnp.int32))

    def observe(self, state: State) -> Float[Array, " 2"]:
        """The position."""
        return state.position

    def step(self, state: State, action: Float[Array, " 2"]) -> tuple[State, StepResult]:
        """Moves by ``action`` (clipped to +-1), but not through a wall."""
        position = jnp.clip(state.position + jnp.clip(action, -1.0, 1.0), 0.0, self.size)
        time = state.time + 1
        goal, distractor = self._corners(position)
        scored = self.reward == "goals"
        reward = scored * (GOAL_REWARD * goal + DISTRACTOR_REWARD * distractor)
        result = StepResult(
            reward=jnp.asarray(reward, position.dtype),
            cost=jnp.zeros(0),
            terminated=jnp.zeros((), bool),
            truncated=time >= self.horizon,
            success=goal & scored,
        )
        return State(position, time), result

    def _corners(self, position: Float[Array, " 2"]) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
        """Whether the dot is in the goal's corner, and in one of the two distractors'."""
        near, far = position < REACH, position > self.size - REACH
        return far[0] & far[1], (far[0] & near[1]) | (near[0] & far[1])
