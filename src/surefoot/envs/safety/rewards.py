"""What a step earns and what it costs, for all worlds at once."""

from __future__ import annotations

import numpy as np

from surefoot.envs.safety.model import Model

GOAL_HEIGHT = 0.16
"""Of the goal's centre, m; it counts when a box is pushed."""
BONUS = 1.0
"""For reaching the goal."""
MOVING = 1e-4
"""Speed from which a vase costs, m/s."""


def distances(robot: np.ndarray, box: np.ndarray | None, goal: np.ndarray) -> np.ndarray:
    """What has to become small, in m.

    Args:
        robot: ``[worlds, 3]``.
        box: ``[worlds, 3]``, or ``None`` if nothing is pushed.
        goal: ``[worlds, 2]``.

    Returns:
        ``[worlds, 1]`` from robot to goal, over ground; or ``[worlds, 2]`` from robot to box and from box to
        goal, in space (so heights count, as in the original). The last one decides about the goal.
    """
    if box is None:
        return np.linalg.norm(robot[:, :2] - goal, axis=1)[:, None]
    over_ground, height = box[:, :2] - goal, box[:, 2] - GOAL_HEIGHT
    to_goal = np.sqrt((over_ground**2).sum(axis=1) + height**2)
    return np.stack([np.linalg.norm(robot - box, axis=1), to_goal], axis=1)


def reward(before: np.ndarray, after: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """``[worlds]``: the way that was made good, ``sum(before - after)``, and 1 for reaching the goal.

    Args:
        before: :func:`distances` to the goal before the step, ``[worlds, 1 or 2]``.
        after: to the same goal, after it.
        reached: ``[worlds]`` bool.
    """
    return (before - after).sum(axis=1) + BONUS * reached


def raw_costs(
    model: Model, robot: np.ndarray, hazards: np.ndarray, qvel: np.ndarray, sensed: np.ndarray
) -> np.ndarray:
    """``[worlds, costs]`` in the order of the task's ``costs``; a step violates where one is above 0.

    * ``hazards``: how deep the robot's origin is inside discs, ``sum(max(0, radius - distance))``, m;
    * ``vases_contact``, ``pillars``: the number of points where the robot touches one;
    * ``vases_velocity``: the sum of the speeds of vases that are at least 0.0001 m/s fast.

    Args:
        model: of the task.
        robot: positions ``[worlds, 3]``.
        hazards: ``[worlds, hazards, 2]``.
        qvel: velocities ``[worlds, nv]``.
        sensed: ``[worlds, sensors]`` after the step.
    """
    columns = []
    for cost in model.task.costs:
        if cost == "hazards":
            distance = np.linalg.norm(hazards - robot[:, None, :2], axis=2)
            columns.append(np.maximum(0.0, model.task.hazard_radius - distance).sum(axis=1))
        elif cost == "vases_velocity":
            first = model.objects_qvel[: model.task.vases, None] + np.arange(3)
            speeds = np.linalg.norm(qvel[:, first], axis=2)
            columns.append(np.where(speeds >= MOVING, speeds, 0.0).sum(axis=1))
        else:
            columns.append(sensed[:, model.sensed[cost]].sum(axis=1))
    return np.stack(columns, axis=1)
