"""Marble Maze with real actions: the same tray, ball and costs, tilted at any rate.

For methods that need real actions, such as planning (``algorithms/planning/loop.py``). All is as in
:mod:`surefoot.envs.marble_maze`, whose physics it runs, but for the action:

| item | value |
| --- | --- |
| action | tilt rates ``(about x, about y)`` in ``[-1, 1]^2``, in 0.01 rad a frame, held for 12 frames |

The nine actions of ``MarbleMaze-v0`` are those whose entries are -1, 0 and +1; with them both mazes agree
to the bit. Rewards ``step`` and ``timeout`` are zero-sum with time until the goal is met, and so say nothing
to a plan of a few steps; ``distance`` does.

Version history: v0, first version.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from surefoot.envs.env import StepResult
from surefoot.envs.marble_maze import HORIZON, TILT_RATE, MarbleMaze, State
from surefoot.task import Box, Task


@dataclass(frozen=True)
class MarbleMazeTilt(MarbleMaze):
    """Settings of the maze, which are those of :class:`MarbleMaze`, and its pure functions."""

    @property
    def task(self) -> Task:
        """Eight observations, two real actions, one cost signal a constraint with limit 0."""
        action = Box((2,), (-1.0, -1.0), (1.0, 1.0))
        return replace(super().task, name="MarbleMazeTilt-v0", action=action)

    def step(self, state: State, action: Float[Array, " 2"]) -> tuple[State, StepResult]:
        """One decision: 12 frames at these tilt rates (clipped to +-1)."""
        rate = jnp.clip(jnp.asarray(action, jnp.float32), -1.0, 1.0)
        state, peaks = self.frames(eqx.tree_at(lambda s: s.rate, state, rate))
        # From here on as in MarbleMaze.step, which the tests compare it with.
        reached = peaks.squared_goal_distance <= self.goal_radius**2
        time = state.time + 1
        truncated = (time >= HORIZON) & ~reached
        state = eqx.tree_at(lambda s: s.time, state, time)
        broken = {
            "zone": peaks.zone > 0,
            "speed": peaks.squared_speed > self.speed_limit**2,
            "tilt": peaks.tilt > self.tilt_limit + TILT_RATE / 2,
            "contact": peaks.impact > self.contact_limit,
        }
        cost = jnp.array([broken[name] for name in self.constraints], jnp.float32).reshape(-1)
        return state, StepResult(self._reward(state, reached, truncated), cost, reached, truncated, reached)
