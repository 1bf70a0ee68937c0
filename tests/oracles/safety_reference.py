"""Recordings of the safety tasks by the package that defined them, and how ours compare with them.

Each recording is single steps: a state, an action, and what came of it. Whole files, as they were
recorded, are compared (and the extracts in ``tests/data/safety_reference`` made) by

    python tests/oracles/safety_reference.py FOLDER [--extract]
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

EXTRACT = Path(__file__).parents[1] / "data" / "safety_reference"
STEPS_OF_A_TRAJECTORY = 3
"""That are kept in the extract of single steps."""
KINDS = ("reset", "goal", "hazard", "solid")
COMPARED = np.array([7, 15, 23, 31])
"""Steps of a whole trajectory after which positions are compared."""


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


@dataclass(frozen=True)
class Trajectories:
    """``n`` whole trajectories of one task: a start, and actions that are played from it."""

    start: Steps
    """Their first steps."""
    actions: np.ndarray
    """``[n, time, actions]``."""
    goals: np.ndarray
    """``[n, time, 2]``: the goal after each step."""
    costs: np.ndarray
    """``[n, time]``, 0 or 1."""
    met: np.ndarray
    """``[n, time]``: whether the goal was reached."""
    positions: np.ndarray
    """``[n, len(COMPARED), nq]``: ``qpos`` after those steps."""


def trajectories(steps: Steps) -> Trajectories:
    """One of each kind out of a whole recording, each of another seed where there is one."""
    first = np.flatnonzero(steps.time == 0)
    length, chosen = int(steps.time.max()) + 1, []
    for index, kind in enumerate(KINDS):
        found = first[steps.kind[first] == kind]
        chosen.append(found[index % len(found)])
    rows = np.array(chosen)[:, None] + np.arange(length)
    return Trajectories(
        steps[rows[:, 0]],
        steps.actions[rows],
        steps.next_goal[rows],
        steps.cost[rows],
        steps.goal_met[rows],
        steps.next_qpos[rows[:, COMPARED]],
    )


def extract_trajectories(name: str) -> Trajectories:
    """Those of a task that are kept with the tests."""
    with np.load(EXTRACT / f"{name}_trajectories.npz") as file:
        arrays = dict(file)
    start = {name: arrays.pop(f"start_{name}") for name in Steps.__annotations__}
    return Trajectories(Steps(**start), **arrays)


def open_loop(simulation: Any, played: Trajectories) -> tuple[np.ndarray, np.ndarray]:
    """Plays the recorded actions from the recorded starts, with nothing put right on the way but the goals.

    Returns the largest differences of positions after the steps of ``COMPARED``, ``[n, len(COMPARED)]``, and
    the numbers ``[n]`` of steps whose cost, or reaching of the goal, differs.
    """
    start, everywhere = played.start, np.arange(len(played.actions))
    qpos, qvel, warmstart, _ = in_world(start, simulation.model.robot.planar)
    simulation.place(
        everywhere,
        qpos=qpos,
        goal=start.goal,
        hazards=start.hazards,
        pillars=start.pillars,
        pillars_quat=start.pillars_quat,
    )
    simulation.qvel[:], simulation.warmstart[:] = qvel, warmstart
    differ, ours = np.zeros(len(everywhere), int), []
    for t in range(played.actions.shape[1]):
        outcome = simulation.step(played.actions[:, t])
        costs = outcome.raw_costs.max(axis=1) > 0
        differ += (costs != played.costs[:, t]) | (outcome.goal_met != played.met[:, t])
        simulation.goal[:] = played.goals[:, t]
        simulation.distances[:] = simulation._distances()
        if t in COMPARED:
            ours.append(simulation.qpos.copy())
    theirs = played.positions.copy()
    if simulation.model.robot.planar:
        for t in range(len(COMPARED)):
            at = dataclasses.replace(start, next_qpos=played.positions[:, t])
            theirs[:, t] = in_world(at, True)[3]
    return np.abs(np.stack(ours, axis=1) - theirs).max(axis=2), differ


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
    print("open loop: largest deviation of qpos in 32 steps for each kind of start; cost or goal differ")
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
        played = trajectories(steps)
        simulation = Simulation(task, len(played.actions), physics="parity")
        far, differ = open_loop(simulation, played)
        kinds = zip(KINDS, far.max(axis=1), strict=True)
        print(f"{name:11s} open loop    ", *(f"{kind} {value:.0e}" for kind, value in kinds), differ.tolist())
        if "--extract" in words:
            kept = steps[chosen(steps)]
            np.savez_compressed(EXTRACT / f"{name}.npz", **vars(kept))
            arrays = dict(vars(played))
            start = {f"start_{key}": value for key, value in vars(arrays.pop("start")).items()}
            np.savez_compressed(EXTRACT / f"{name}_trajectories.npz", **arrays, **start)


if __name__ == "__main__":
    main(sys.argv[1:])
