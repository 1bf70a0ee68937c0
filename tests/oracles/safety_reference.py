"""Recordings of the safety tasks by the package that defined them, and how ours compare with them.

Each recording is single steps: a state, an action, and what came of it. Whole files, as they were
recorded, are compared (and the extract in ``tests/data/safety_reference`` made) by

    python tests/oracles/safety_reference.py FOLDER [--extract]
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

EXTRACT = Path(__file__).parents[1] / "data" / "safety_reference"
STEPS_OF_A_TRAJECTORY = 3
"""That are kept in the extract."""


@dataclass(frozen=True)
class Steps:
    """``n`` steps of one task; things not in the task have size 0."""

    seed: np.ndarray
    kind: np.ndarray
    """``reset``: from a fresh layout. ``goal``, ``hazard``, ``solid``: next to one, moving towards it."""
    time: np.ndarray
    base: np.ndarray
    """``[n, 3]``: x, y, yaw of the frame in which Point's position is given."""
    qpos: np.ndarray
    qvel: np.ndarray
    warmstart: np.ndarray
    goal: np.ndarray
    hazards: np.ndarray
    pillars: np.ndarray
    pillars_quat: np.ndarray
    actions: np.ndarray
    next_qpos: np.ndarray
    next_goal: np.ndarray
    observation: np.ndarray
    """Before the step."""
    next_observation: np.ndarray
    reward: np.ndarray
    cost: np.ndarray
    """0 or 1."""
    raw_costs: np.ndarray
    """``[n, costs]``."""
    goal_met: np.ndarray

    def __getitem__(self, rows: Any) -> Steps:
        return Steps(**{name: value[rows] for name, value in vars(self).items()})


def whole(path: Path, costs: tuple[str, ...]) -> Steps:
    """All steps of a file as it was recorded."""
    with np.load(path) as file:
        data = dict(file)
    n, time = data["actions"].shape[:2]
    order = json.loads(str(data["meta"]))["obs_order"]
    seen = np.concatenate([data[f"obs_{name}"].reshape(n, time + 1, -1) for name in order], axis=2)
    quat = data["agent_base_quat"]
    base = np.column_stack([data["agent_base_pos"][:, :2], 2 * np.arctan2(quat[:, 3], quat[:, 0])])

    def each(value: np.ndarray) -> np.ndarray:
        return np.repeat(value, time, axis=0)

    def flat(value: np.ndarray) -> np.ndarray:
        return value.reshape(n * time, *value.shape[2:])

    return Steps(
        seed=each(data["seed"]),
        kind=each(data["kind"]),
        time=np.tile(np.arange(time), n),
        base=each(base),
        qpos=flat(data["qpos"][:, :-1]),
        qvel=flat(data["qvel"][:, :-1]),
        warmstart=flat(data["qacc_warmstart"][:, :-1]),
        goal=flat(data["goal_pos"][:, :-1, :2]),
        hazards=each(data["hazards_pos"][:, :, :2]),
        pillars=each(data["pillars_pos"][:, :, :2]),
        pillars_quat=each(data["pillars_quat"]),
        actions=flat(data["actions"]),
        next_qpos=flat(data["qpos"][:, 1:]),
        next_goal=flat(data["goal_pos"][:, 1:, :2]),
        observation=flat(seen[:, :-1]),
        next_observation=flat(seen[:, 1:]),
        reward=flat(data["reward"]),
        cost=flat(data["cost"]),
        raw_costs=np.stack([flat(data[f"raw_cost_{name}"]) for name in costs], axis=1),
        goal_met=flat(data["goal_met"]),
    )


def extract(name: str) -> Steps:
    """The steps of a task that are kept with the tests."""
    with np.load(EXTRACT / f"{name}.npz") as file:
        return Steps(**file)


def chosen(steps: Steps) -> np.ndarray:
    """Rows for the extract: of each trajectory its first step, where something happens, and another."""
    rng = np.random.default_rng(0)
    rows = []
    first = np.flatnonzero(steps.time == 0)
    for start, end in zip(first, [*first[1:], len(steps.time)], strict=True):
        trajectory = np.arange(start, end)
        events = trajectory[(steps.goal_met | (steps.cost > 0))[trajectory]]
        met = trajectory[steps.goal_met[trajectory]]
        wanted = dict.fromkeys([start, *met[:1], *events[:1], *rng.permutation(trajectory)])
        rows += list(wanted)[:STEPS_OF_A_TRAJECTORY]
    return np.sort(rows)


def in_world(steps: Steps, planar: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions, velocities, warm starts and next positions with Point's slides along the world's axes."""
    arrays = [array.copy() for array in (steps.qpos, steps.qvel, steps.warmstart, steps.next_qpos)]
    if planar:
        cos, sin = np.cos(steps.base[:, 2]), np.sin(steps.base[:, 2])
        for array in arrays:
            x, y = array[:, 0].copy(), array[:, 1].copy()
            array[:, 0], array[:, 1] = cos * x - sin * y, sin * x + cos * y
        for positions in (arrays[0], arrays[3]):
            positions[:, :3] += steps.base
    return arrays[0], arrays[1], arrays[2], arrays[3]


@dataclass(frozen=True)
class Deviation:
    """Largest absolute differences in each step, ``[n]``."""

    qpos: np.ndarray
    observation: np.ndarray
    """Without the accelerometer."""
    accelerometer: np.ndarray
    reward: np.ndarray
    raw_costs: np.ndarray
    cost_differs: np.ndarray
    goal_differs: np.ndarray


def compare(simulation: Any, steps: Steps) -> Deviation:
    """Takes each step in a world of its own, from the recorded state."""
    qpos, qvel, warmstart, next_qpos = in_world(steps, simulation.model.robot.planar)
    simulation.place(
        np.arange(len(qpos)),
        qpos=qpos,
        goal=steps.goal,
        hazards=steps.hazards,
        pillars=steps.pillars,
        pillars_quat=steps.pillars_quat,
    )
    # The evaluation in place() has touched the warm start: the recorded one goes in after it.
    simulation.qvel[:], simulation.warmstart[:] = qvel, warmstart
    outcome = simulation.step(steps.actions)
    simulation.goal[:] = steps.next_goal
    observation = np.abs(simulation._observe() - steps.next_observation)
    return Deviation(
        np.abs(simulation.qpos - next_qpos).max(axis=1),
        observation[:, 3:].max(axis=1),
        observation[:, :3].max(axis=1),
        np.abs(outcome.reward - steps.reward),
        np.abs(outcome.raw_costs - steps.raw_costs).max(axis=1),
        outcome.raw_costs.max(axis=1).astype(bool) != steps.cost.astype(bool),
        outcome.goal_met != steps.goal_met,
    )


def touches_pillar(steps: Steps, planar: bool, within: float = 0.5) -> np.ndarray:
    """Whether the robot is so near a pillar's centre (m) that it may touch it in the step, ``[n]``.

    MuJoCo's general collision of convex shapes ends within 1e-6, and where it ends depends on the last
    bit of its input, so contacts with pillars cannot be compared more closely than that.
    """
    if not steps.pillars.shape[1]:
        return np.zeros(len(steps.seed), bool)
    qpos = in_world(steps, planar)[0]
    return (np.linalg.norm(steps.pillars - qpos[:, None, :2], axis=2) < within).any(axis=1)


def main(words: list[str]) -> None:
    from surefoot.envs.safety import TASKS, Simulation, known_task

    folder = Path(words[0])
    print("largest deviations: qpos, observation, accelerometer, reward, raw costs; cost and goal differ")
    for name in TASKS:
        task = known_task(name)
        steps = whole(folder / f"{name}_seeds0-3.npz", task.costs)
        simulation = Simulation(task, len(steps.seed), physics="parity")
        deviation = compare(simulation, steps)
        near = touches_pillar(steps, simulation.model.robot.planar)
        for title, rows in (("", ~near), ("near a pillar", near)):
            if rows.any():
                values = [value[rows] for value in vars(deviation).values()]
                numbers = " ".join(f"{value.max():8.1e}" for value in values[:5])
                differ = [int(value.sum()) for value in values[5:]]
                print(f"{name:11s} {title:13s} {rows.sum():4d} steps {numbers} {differ}")
        if "--extract" in words:
            kept = steps[chosen(steps)]
            np.savez_compressed(EXTRACT / f"{name}.npz", **vars(kept))


if __name__ == "__main__":
    main(sys.argv[1:])
