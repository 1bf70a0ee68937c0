"""PointGoal1 as a planner wants it: positions in the robot's frame in place of the lidar, actions held.

Not one of the twelve tasks: layout, robot, reward and cost are those of ``SafetyPointGoal1-v0``, but

| item | value |
| --- | --- |
| decision | ``hold`` actions of the task in a row, 0.1 s with 5; 200 in an episode |
| observation | velocity forward and sideways (m/s), turning rate (rad/s), then ``(x, y)`` in the robot's
|             | frame (m) of the goal and of the ``shown`` nearest hazards, the nearest first |
| reward | the sum over the actions held |
| cost | 1 if any of them costs, else 0 |
| vase | none: it costs nothing in Goal1 |

The lidar is hard to predict: it is rounded to directions, and shows of all things in one only the nearest.
The paper on LOOP (Sikchi, Zhou and Held 2021) replaced it likewise and held actions for 5 steps. Hazards in
the order of their distance change places where two are equally far, which no smooth model follows; in a
fixed order a model would have to learn the cost of each hazard apart.

    surefoot train loop --env python:surefoot.envs.safety.positions.point_goal --plan-cost-limits 1
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from surefoot.envs.safety.env import SafetyEnv
from surefoot.errors import check_range


class Positions(gymnasium.Env[np.ndarray, np.ndarray]):
    """One world; ``info`` holds ``cost``, ``constraints`` and ``goals``, those reached in the decision."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, *, hold: int = 5, shown: int = 3, render_mode: str | None = None) -> None:
        check_range("hold", hold, low=1, high=1000)
        self.inner = SafetyEnv("PointGoal1", vases=0, costs=("hazards",), render_mode=render_mode)
        check_range("shown", shown, low=1, high=self.inner.task.hazards)
        self.hold, self.shown, self.render_mode = hold, shown, render_mode
        self.max_episode_steps = -(-self.inner.task.steps // hold)
        free = np.full(5 + 2 * shown, np.inf, np.float32)
        self.observation_space = gymnasium.spaces.Box(-free, free, dtype=np.float32)
        self.action_space = self.inner.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A new layout."""
        super().reset(seed=seed)
        felt, _ = self.inner.reset(seed=seed, options=options)
        return self._observe(felt), self._info(0.0, 0)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One decision; ends early where the episode does."""
        earned, cost, goals, truncated = 0.0, 0.0, 0, False
        felt = np.zeros(0)
        for _ in range(self.hold):
            felt, reward, _, truncated, info = self.inner.step(action)
            earned, cost = earned + reward, max(cost, float(info["cost"]))
            goals += bool(info["goal_met"])
            if truncated:
                break
        return self._observe(felt), earned, False, truncated, self._info(cost, goals)

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """A picture of the task."""
        return self.inner.render()

    def close(self) -> None:
        """Frees the renderer."""
        self.inner.close()

    def _observe(self, felt: np.ndarray) -> np.ndarray:
        """From what the robot feels, and from where things are."""
        simulation = self.inner.simulation
        place, yaw = simulation.robot[0, :2], float(simulation.yaw[0])
        hazards = simulation.hazards[0]
        near = hazards[np.argsort(np.hypot(*(hazards - place).T))[: self.shown]]
        ahead, left = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
        offsets = np.concatenate([simulation.goal, near]) - place
        seen = np.stack([offsets @ ahead, offsets @ left], axis=1).ravel()
        return np.concatenate([felt[[3, 4, 8]], seen]).astype(np.float32)

    def _info(self, cost: float, goals: int) -> dict[str, Any]:
        return {"cost": np.array([cost], np.float32), "constraints": ("hazards",), "goals": goals}


def point_goal(hold: int = 5, shown: int = 3, render_mode: str | None = None) -> Positions:
    """Makes one; see the table on top of this module.

    Raises:
        SurefootError: an option out of range.
    """
    return Positions(hold=hold, shown=shown, render_mode=render_mode)
