"""Many worlds of one task, stepped together: physics in MuJoCo's own threads, all else as array code.

Order of a step: ten steps of the physics with the action held, then one evaluation of the new state;
the reward, with the old goal; the costs; where the goal was reached, a new one; the count of steps; the
observation, which shows the new goal.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surefoot.envs._mujoco import mujoco, quiet
from surefoot.envs.safety import lidar, rewards
from surefoot.envs.safety.layout import Layouts, OriginalLayouts
from surefoot.envs.safety.model import SUBSTEPS, VASE_HEIGHT, build
from surefoot.envs.safety.task import BOX_SIZE, PILLAR_HEIGHT, Task
from surefoot.errors import SurefootError, check_range, unknown

PHYSICS = ("fast", "parity")
LAYOUTS = {"own": Layouts, "original": OriginalLayouts}


@dataclass(frozen=True)
class Outcome:
    """One step of ``m`` worlds."""

    observation: np.ndarray
    """``[m, obs]``; after a failure of the physics, the last one before it."""
    reward: np.ndarray
    """``[m]``."""
    raw_costs: np.ndarray
    """``[m, costs]``, see :func:`surefoot.envs.safety.rewards.raw_costs`; above 0 is a violation."""
    truncated: np.ndarray
    """``[m]``: out of steps, or one of the two failures."""
    goal_met: np.ndarray
    """``[m]``."""
    goal_failed: np.ndarray
    """``[m]``: no place was found for the next goal."""
    physics_failed: np.ndarray
    """``[m]``: the simulator gave up; reward and costs of this step are 0."""


class Simulation:
    """``worlds`` worlds of one task.

    Args:
        task: what is simulated.
        worlds: how many.
        physics: ``fast``: objects at rest sleep until they are touched. ``parity``: all are always computed.
        layouts: ``own``, or ``original`` for the stream of the package that defined these tasks.
        threads: of the physics; left out, one for each processor.

    ``failures`` counts the failures of the physics since the start; ``last`` is each world's observation,
    ``costing`` whether its last step cost anything.
    """

    def __init__(
        self,
        task: Task,
        worlds: int,
        *,
        physics: str = "fast",
        layouts: str = "own",
        threads: int | None = None,
    ) -> None:
        if physics not in PHYSICS:
            raise unknown("physics", str(physics), PHYSICS)
        if layouts not in LAYOUTS:
            raise unknown("layouts", str(layouts), LAYOUTS)
        check_range("worlds", worlds, low=1)
        if threads is not None:
            check_range("threads", threads, low=1)
        self._package = mujoco()
        from mujoco import batch

        self.task, self.worlds, self.physics = task, worlds, physics
        self.model = build(task, fast=physics == "fast")
        self.layouts = LAYOUTS[layouts](task, worlds)
        threads = min(worlds, threads or _processors())
        self._error = batch.SimulationError
        self._stage = int(self._package.mjtStage.mjSTAGE_ACC)
        # One MjData a world: sleep needs it, and a step goes on from where the last evaluation ended.
        self.batch: Any = batch.Batch(self.model.compiled, worlds, threads, persistent=True)
        self.qpos, self.qvel = self.batch.bind("qpos"), self.batch.bind("qvel")
        self.warmstart, self.ctrl = self.batch.bind("qacc_warmstart"), self.batch.bind("ctrl")
        self.pillars, self.pillars_quat = self.batch.bind("mocap_pos"), self.batch.bind("mocap_quat")
        self.sensed: np.ndarray = self.batch.bind("sensordata")
        self.goal = np.zeros((worlds, 2))
        self.hazards = np.zeros((worlds, task.hazards, 2))
        self.distances = np.zeros((worlds, 2 if task.pushes else 1))
        self.steps = np.zeros(worlds, np.int64)
        self.last = np.zeros((worlds, self.model.observation_size))
        self.costing = np.zeros(worlds, bool)
        self.failures = 0
        self._kinds = np.repeat(np.arange(len(task.lidars)), [task.things[name] for name in task.lidars])
        # What a sleeping world is made again from: where it started and what was done since.
        self._start = np.zeros_like(self.batch.state) if physics == "fast" else None
        self._actions = np.zeros((0, worlds, self.model.compiled.nu))

    @property
    def robot(self) -> np.ndarray:
        """Positions ``[worlds, 3]`` of the robots, m."""
        return self.sensed[:, self.model.sensed["position"]]

    @property
    def yaw(self) -> np.ndarray:
        """``[worlds]``, rad."""
        axis = self.sensed[:, self.model.sensed["x_axis"]]
        return np.arctan2(axis[:, 1], axis[:, 0])

    @property
    def objects(self) -> np.ndarray:
        """Positions ``[worlds, vases + box, 3]`` of the free objects, m."""
        return self.qpos[:, self.model.objects_qpos[:, None] + np.arange(3)]

    @property
    def box(self) -> np.ndarray | None:
        """Positions ``[worlds, 3]`` of the boxes, if there are any."""
        return self.objects[:, -1] if self.task.pushes else None

    def reset(self, worlds: np.ndarray, seeds: Sequence[int | None] | None = None) -> np.ndarray:
        """New layouts for these worlds, all at rest; observations ``[m, obs]``.

        A world without a seed (or ``None``) goes on with its stream of chance.
        """
        for world, seed in zip(worlds, seeds or (), strict=seeds is not None):
            if seed is not None:
                self.layouts.seed(int(world), int(seed))
        if not len(worlds):
            return self.last[:0]
        places, yaws = self.layouts.layouts(worlds)
        task, model = self.task, self.model
        qpos = np.tile(model.compiled.qpos0, (len(worlds), 1))
        ground, yaw = places[:, 0], yaws[:, 0]
        if model.robot.planar:
            qpos[:, :3] = np.column_stack([ground, yaw])
        else:
            height = np.full(len(worlds), model.robot.height)
            qpos[:, :7] = np.column_stack([ground, height, _turned(yaw)])
        free = [*range(*task.where("vases").indices(999)), *range(*task.where("box").indices(999))]
        heights = [VASE_HEIGHT] * task.vases + [BOX_SIZE[task.robot]] * task.pushes
        for start, thing, height in zip(model.objects_qpos, free, heights, strict=True):
            qpos[:, start : start + 2], qpos[:, start + 2] = places[:, thing], height
            qpos[:, start + 3 : start + 7] = _turned(yaws[:, thing])
        pillars = task.where("pillars")
        self.place(
            worlds,
            qpos=qpos,
            goal=places[:, 1],
            hazards=places[:, task.where("hazards")],
            pillars=places[:, pillars],
            pillars_quat=_turned(yaws[:, pillars]),
        )
        return self.last[worlds]

    def place(
        self,
        worlds: np.ndarray,
        *,
        qpos: np.ndarray,
        goal: np.ndarray,
        hazards: np.ndarray,
        pillars: np.ndarray,
        pillars_quat: np.ndarray,
        qvel: np.ndarray | None = None,
        warmstart: np.ndarray | None = None,
    ) -> None:
        """Puts these worlds into states of one's own, at the start of an episode.

        Args:
            worlds: which, ``[m]``, sorted.
            qpos: ``[m, nq]``: the robot, then 7 numbers for each vase and the box.
            goal: ``[m, 2]``.
            hazards: ``[m, hazards, 2]``.
            pillars: ``[m, pillars, 2]``.
            pillars_quat: ``[m, pillars, 4]``.
            qvel: ``[m, nv]``; 0 if left out.
            warmstart: accelerations from which the solver starts, ``[m, nv]``; 0 if left out.
        """
        nothing = int(self._package.mjtStage.mjSTAGE_NONE)
        self.batch.reset(worlds, stage=nothing)
        self.batch.warning[worlds] = 0
        self.qpos[worlds] = qpos
        self.qvel[worlds] = 0.0 if qvel is None else qvel
        self.warmstart[worlds] = 0.0 if warmstart is None else warmstart
        self.ctrl[worlds] = 0.0
        self.pillars[worlds, :, :2] = pillars
        self.pillars[worlds, :, 2] = PILLAR_HEIGHT / 2
        self.pillars_quat[worlds] = pillars_quat
        if self._start is not None:
            self._start[worlds] = self.batch.state[worlds]
        self.batch.forward(worlds, stage=self._stage)
        self.goal[worlds], self.hazards[worlds], self.steps[worlds] = goal, hazards, 0
        self.distances[worlds] = self._distances()[worlds]
        self.last[worlds], self.costing[worlds] = self._observe()[worlds], False

    def step(self, actions: np.ndarray, worlds: np.ndarray | None = None) -> Outcome:
        """One action in each of these worlds, or in all.

        Args:
            actions: ``[m, actions]``, clipped to +-1.
            worlds: which, ``[m]``, sorted.
        """
        which: Any = slice(None) if worlds is None else worlds
        self.ctrl[which] = np.clip(actions, -1.0, 1.0)
        if self._start is not None:
            self._remember(worlds)
        failed = self._advance(worlds)
        self.layouts.step(np.arange(self.worlds) if worlds is None else worlds)
        robot = self.robot
        after = self._distances()
        reached = (after[:, -1] <= self.task.goal_radius) & ~failed
        reward = np.where(failed, 0.0, rewards.reward(self.distances, after, reached))
        costs = rewards.raw_costs(self.model, robot, self.hazards, self.qvel, self.sensed)
        costs[failed] = 0.0
        met = np.flatnonzero(reached if worlds is None else reached & np.isin(np.arange(self.worlds), worlds))
        lost = np.zeros(self.worlds, bool)
        if len(met):
            self.goal[met], found = self._new_goals(met)
            lost[met] = ~found
            after[met] = self._distances()[met]
        self.distances[which] = after[which]
        self.steps[which] += 1
        seen = self._observe()
        seen[failed] = self.last[failed]
        self.last[which] = seen[which]
        self.costing[which] = np.any(costs > 0, axis=1)[which]
        truncated = (self.steps >= self.task.steps) | failed | lost
        self.failures += int(failed[which].sum())
        return Outcome(
            seen[which],
            reward[which],
            costs[which],
            truncated[which],
            reached[which],
            lost[which],
            failed[which],
        )

    def save(self) -> dict[str, np.ndarray]:
        """Everything that decides what comes next, as arrays (they fit into an ``.npz`` file).

        In ``fast`` physics that is the start of the episodes and the actions since: which objects sleep
        cannot be written down. Restoring then plays them again; in ``parity`` it takes no time. The sizes of
        the arrays do not depend on the time.
        """
        saved = {
            "goal": self.goal.copy(),
            "hazards": self.hazards.copy(),
            "distances": self.distances.copy(),
            "steps": self.steps.copy(),
            "last": self.last.copy(),
            "costing": self.costing.copy(),
            "failures": np.array(self.failures),
            **self.layouts.save(),
        }
        if self._start is None:
            return {**saved, "state": self.batch.state.copy()}
        actions = np.zeros((self.task.steps, *self._actions.shape[1:]))
        known = min(len(actions), len(self._actions))
        actions[:known] = self._actions[:known]
        return {**saved, "start": self._start.copy(), "actions": actions}

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """Goes on exactly where :meth:`save` was called, in a simulation of the same task and options.

        Raises:
            SurefootError: it is from another task, number of worlds, physics or layouts.
        """
        mine = self.save()
        if saved.keys() != mine.keys() or any(saved[name].shape != mine[name].shape for name in mine):
            raise SurefootError(
                "What is to be restored was saved from another task, number of worlds, physics or layouts."
            )
        self.batch.reset(stage=int(self._package.mjtStage.mjSTAGE_NONE))
        self.batch.warning[:] = 0
        self.batch.state[:] = saved["state"] if self._start is None else saved["start"]
        self.batch.forward(stage=self._stage)
        if self._start is None:
            # The evaluation starts the solver where it ends; the state was saved after one.
            self.batch.state[:] = saved["state"]
        else:
            self._start[:], self._actions = saved["start"], saved["actions"].copy()
            for t in range(int(saved["steps"].max())):
                playing = np.flatnonzero(saved["steps"] > t)
                self.ctrl[playing] = self._actions[t, playing]
                self._advance(playing)
        for name in ("goal", "hazards", "distances", "steps", "last", "costing"):
            getattr(self, name)[:] = saved[name]
        self.failures = int(saved["failures"])
        self.layouts.restore(saved)

    def close(self) -> None:
        """Frees the threads and states of the physics."""
        self.batch = None

    def _advance(self, worlds: np.ndarray | None) -> np.ndarray:
        """Ten steps of the physics and an evaluation; whether it failed, ``[worlds]``."""
        before = self.batch.warning[:, :, 1].sum(axis=1)
        failed = np.zeros(self.worlds, bool)
        try:
            with quiet(self._package):  # its warnings are counted, and need no file in the working folder
                self.batch.step(worlds, nstep=SUBSTEPS, stage=self._stage)
        except self._error as error:
            failed[error.ids] = True
        return failed | (self.batch.warning[:, :, 1].sum(axis=1) > before)

    def _remember(self, worlds: np.ndarray | None) -> None:
        """Writes the actions down, at the number of their step."""
        longest = int(self.steps.max()) + 1
        if longest > len(self._actions):
            room = np.zeros((max(16, longest), *self._actions.shape[1:]))
            self._actions = np.concatenate([self._actions, room])
        rows = np.arange(self.worlds) if worlds is None else worlds
        self._actions[self.steps[rows], rows] = self.ctrl[rows]

    def _distances(self) -> np.ndarray:
        return rewards.distances(self.robot, self.box, self.goal)

    def _new_goals(self, met: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Goals for the worlds ``met``, clear of everything where it is now; where none is found, the old."""
        things = [self.robot[met, None, :2], self.hazards[met], self.pillars[met, :, :2]]
        others = np.concatenate([*things, self.objects[met, :, :2]], axis=1)
        goals, found = self.layouts.goals(met, others)
        return np.where(found[:, None], goals, self.goal[met]), found

    def _observe(self) -> np.ndarray:
        """``[worlds, obs]``: what the robot feels, then what it sees."""
        where, objects = self.model.sensed, self.objects[:, :, :2]
        things = {
            "goal": self.goal[:, None],
            "hazards": self.hazards,
            "vases": objects[:, : self.task.vases],
            "pillars": self.pillars[:, :, :2],
            "box": objects[:, self.task.vases :],
        }
        seen = lidar.readings(
            self.robot,
            self.sensed[:, where["x_axis"]],
            self.sensed[:, where["y_axis"]],
            np.concatenate([things[name] for name in self.task.lidars], axis=1),
            self._kinds,
            len(self.task.lidars),
        )
        felt = self.model.robot.joints(self.qpos, self.qvel)
        return np.concatenate([self.sensed[:, where["robot"]], *felt, seen], axis=1)


def _turned(yaw: np.ndarray) -> np.ndarray:
    """Quaternions ``[..., 4]`` of turns about the vertical."""
    zero = np.zeros_like(yaw)
    return np.stack([np.cos(yaw / 2), zero, zero, np.sin(yaw / 2)], axis=-1)


def _processors() -> int:
    """How many of them this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
