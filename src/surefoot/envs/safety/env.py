"""One safety task as a Gymnasium environment: a simulation of a single world.

| item | value |
| --- | --- |
| action | 2 (Point, Car) or 12 (Doggo) floats in [-1, 1], held for ten steps of the physics |
| observation | what the robot feels, then 16 numbers in [0, 1] for each kind of things it sees; float64 |
| reward | the way made good towards the goal (or box, and box towards goal), + 1 for reaching it |
| cost | ``info["cost"]``: 0 or 1, see :class:`SafetyEnv` |
| start | things at random, all at rest |
| end | never terminated; truncated after 1000 steps. A reached goal is drawn anew and the episode goes on |

Needs ``pip install "surefoot[mujoco]"``. Version history: v0, first version.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from surefoot.envs.safety.simulation import Outcome, Simulation
from surefoot.envs.safety.task import Task, known_task
from surefoot.errors import SurefootError, unknown

COST_FORMS = ("total", "kinds")
CAMERAS = ("top", "follow", "both")
_LARGEST_SEED = 2**31


class SafetyEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One world of a safety task.

    Args:
        task: a :class:`Task`, or the short name of one of the twelve.
        physics: ``fast`` lets objects at rest sleep until they are touched; ``parity`` computes all of them
            always, as the original does.
        cost_form: what ``info["cost"]`` is. ``total``: 1 if anything costs, else 0. ``kinds``: a vector of
            such numbers, one for each of the task's costs. Either way ``info`` has ``costs`` (that vector),
            ``raw_costs`` (depths, contacts, speeds) and ``cost_names``.
        layouts: ``own``; or ``original``: seed for seed the layouts of the package that defined these tasks.
        threads: of the physics; taken so that a vector's options fit, one world has no use for more than one.
        render_mode: ``rgb_array``: one picture a step.
        camera: ``top``, ``follow`` or ``both``, side by side.
        changes: fields of :class:`Task` to change, such as ``hazards=12``.

    ``info`` also has ``goal_met``, ``goal_failed`` (no place for the next goal, truncated) and
    ``physics_failed`` (the simulator gave up, truncated; reward and cost of that step are 0).
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(
        self,
        task: Task | str = "PointGoal1",
        *,
        physics: str = "fast",
        cost_form: str = "total",
        layouts: str = "own",
        threads: int | None = None,
        render_mode: str | None = None,
        camera: str = "both",
        **changes: Any,
    ) -> None:
        self.task = made_task(task, changes)
        check_forms(cost_form, render_mode, camera)
        self.simulation = Simulation(self.task, 1, physics=physics, layouts=layouts, threads=threads)
        self.cost_form, self.render_mode, self.camera = cost_form, render_mode, camera
        self.observation_space, self.action_space = spaces(self.simulation)
        self.max_episode_steps = self.task.steps
        model = self.simulation.model.compiled
        self.metadata = {**self.metadata, "render_fps": max(1, round(0.1 / model.opt.timestep))}
        self._ready = False
        self._run_up = 0.0
        self._view: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A new layout; without a seed the stream of chance goes on. ``options`` are not used."""
        super().reset(seed=seed)
        if seed is None and not self._ready:
            seed = int(self.np_random.integers(_LARGEST_SEED))
        observation = self.simulation.reset(np.zeros(1, int), [seed])[0].copy()
        self._ready, self._run_up = True, 0.0
        return observation, _first(infos(self.task, self.cost_form, no_outcome(self.simulation)))

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One action; see the table on top of this module."""
        if not self._ready:
            raise SurefootError("safety task: call reset() before step().")
        given = np.asarray(action, np.float64)
        check_actions(given, self.action_space.shape)
        outcome = self.simulation.step(given[None])
        info = _first(infos(self.task, self.cost_form, outcome))
        self._run_up += info["cost_total"]
        return (
            outcome.observation[0].copy(),
            float(outcome.reward[0]),
            False,
            bool(outcome.truncated[0]),
            info,
        )

    def save(self) -> dict[str, np.ndarray]:
        """The whole state, see :meth:`surefoot.envs.safety.simulation.Simulation.save`."""
        return {**self.simulation.save(), "running_cost": np.array(self._run_up)}

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """Goes on exactly where :meth:`save` was called."""
        saved = dict(saved)
        running = float(saved.pop("running_cost"))
        self.simulation.restore(saved)
        self._ready, self._run_up = True, running

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """A picture ``[480, 480 or 960, 3]`` uint8."""
        if self.render_mode is None:
            gymnasium.logger.warn('give render_mode="rgb_array" to make() to see pictures.')
            return None
        if not self._ready:
            raise SurefootError("safety task: call reset() before render().")
        if self._view is None:
            from surefoot.envs.safety.render import View

            self._view = View(self.simulation)
        return self._view.draw(0, self.camera, running_cost=self._run_up)

    def close(self) -> None:
        """Frees the renderer."""
        if self._view is not None:
            self._view.close()
            self._view = None


def made_task(task: Task | str, changes: dict[str, Any]) -> Task:
    """A task from its name or itself, with changes to its fields."""
    made = known_task(task) if isinstance(task, str) else task
    if not isinstance(made, Task):
        raise SurefootError(f"task is a {type(task).__name__}; give a Task or the name of one of the twelve.")
    known = [field.name for field in dataclasses.fields(Task)]
    for name in changes:
        if name not in known:
            options = ("physics", "cost_form", "layouts", "threads", "render_mode", "camera")
            raise unknown("option of a safety task", name, [*known, *options])
    return dataclasses.replace(made, **changes)


def check_forms(cost_form: str, render_mode: str | None, camera: str) -> None:
    """Raises :class:`SurefootError` for an option that does not exist."""
    if cost_form not in COST_FORMS:
        raise unknown("cost_form", str(cost_form), COST_FORMS)
    if render_mode not in (None, "rgb_array"):
        raise unknown("render_mode", str(render_mode), ("rgb_array",))
    if camera not in CAMERAS:
        raise unknown("camera", str(camera), CAMERAS)


def spaces(simulation: Simulation) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    """Of the observation (what is felt has no bounds, what is seen lies in [0, 1]) and of the action."""
    size, seen = simulation.model.observation_size, 16 * len(simulation.task.lidars)
    low, high = np.full(size, -np.inf), np.full(size, np.inf)
    low[size - seen :], high[size - seen :] = 0.0, 1.0
    actions = simulation.model.compiled.nu
    return gymnasium.spaces.Box(low, high, dtype=np.float64), gymnasium.spaces.Box(
        -1.0, 1.0, (actions,), np.float32
    )


def check_actions(actions: np.ndarray, shape: tuple[int, ...] | None) -> None:
    """Raises :class:`SurefootError` unless these are finite numbers of that shape."""
    if actions.shape != shape or not np.isfinite(actions).all():
        raise SurefootError(f"safety task: the actions are {actions}; give finite numbers of shape {shape}.")


def infos(task: Task, cost_form: str, outcome: Outcome) -> dict[str, Any]:
    """What ``info`` holds, for all worlds: arrays with one row a world, and names."""
    kinds = (outcome.raw_costs > 0).astype(np.float64)
    total = kinds.max(axis=1)
    return {
        "cost": total if cost_form == "total" else kinds,
        "constraints": ("cost",) if cost_form == "total" else task.costs,
        "cost_total": total,
        "costs": kinds,
        "raw_costs": outcome.raw_costs,
        "cost_names": task.costs,
        "goal_met": outcome.goal_met,
        "goal_failed": outcome.goal_failed,
        "physics_failed": outcome.physics_failed,
    }


def no_outcome(simulation: Simulation) -> Outcome:
    """That of a reset: nothing earned, nothing spent."""
    worlds = simulation.worlds
    no = np.zeros(worlds, bool)
    costs = np.zeros((worlds, len(simulation.task.costs)))
    return Outcome(simulation.last, np.zeros(worlds), costs, no, no, no, no)


def _first(info: dict[str, Any]) -> dict[str, Any]:
    """That of one world; single numbers as Python's own."""
    first: dict[str, Any] = {}
    for name, value in info.items():
        if isinstance(value, np.ndarray):
            first[name] = value[0].copy() if value.ndim > 1 else value[0].item()
        else:
            first[name] = value
    return first


PointGoal1 = partial(SafetyEnv, "PointGoal1")
PointGoal2 = partial(SafetyEnv, "PointGoal2")
PointPush1 = partial(SafetyEnv, "PointPush1")
PointPush2 = partial(SafetyEnv, "PointPush2")
CarGoal1 = partial(SafetyEnv, "CarGoal1")
CarGoal2 = partial(SafetyEnv, "CarGoal2")
CarPush1 = partial(SafetyEnv, "CarPush1")
CarPush2 = partial(SafetyEnv, "CarPush2")
DoggoGoal1 = partial(SafetyEnv, "DoggoGoal1")
DoggoGoal2 = partial(SafetyEnv, "DoggoGoal2")
DoggoPush1 = partial(SafetyEnv, "DoggoPush1")
DoggoPush2 = partial(SafetyEnv, "DoggoPush2")
