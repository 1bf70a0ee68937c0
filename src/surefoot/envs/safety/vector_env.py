"""Many worlds of one safety task as a ``gymnasium.vector.VectorEnv``.

No Python runs per world: the physics of all worlds is one call into MuJoCo's threads, the rest are array
operations. World ``i`` plays exactly as a :class:`surefoot.envs.safety.env.SafetyEnv` with its seed does.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from surefoot.envs.safety.env import check_actions, check_forms, infos, made_task, no_outcome, spaces
from surefoot.envs.safety.simulation import Simulation
from surefoot.envs.safety.task import Task
from surefoot.errors import SurefootError


class SafetyVectorEnv(gymnasium.vector.VectorEnv):
    """``num_envs`` worlds of a safety task.

    Args:
        task: a :class:`Task`, or the short name of one of the twelve.
        num_envs: how many.
        physics: see :class:`surefoot.envs.safety.env.SafetyEnv`.
        cost_form: likewise.
        layouts: likewise.
        threads: of the physics; left out, one for each processor.
        autoreset_mode: Gymnasium's: ``NextStep``, ``SameStep``, or ``Disabled``, where
            ``reset(options={"reset_mask": mask})`` starts episodes.
        render_mode: ``rgb_array``: :meth:`render` returns a picture of each world.
        camera: see :class:`surefoot.envs.safety.env.SafetyEnv`.
        changes: fields of :class:`Task` to change.
    """

    def __init__(
        self,
        task: Task | str = "PointGoal1",
        num_envs: int = 1,
        *,
        physics: str = "fast",
        cost_form: str = "total",
        layouts: str = "own",
        threads: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        camera: str = "both",
        **changes: Any,
    ) -> None:
        self.task = made_task(task, changes)
        check_forms(cost_form, render_mode, camera)
        self.simulation = Simulation(self.task, num_envs, physics=physics, layouts=layouts, threads=threads)
        self.num_envs, self.cost_form, self.render_mode, self.camera = (
            num_envs,
            cost_form,
            render_mode,
            camera,
        )
        self.single_observation_space, self.single_action_space = spaces(self.simulation)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": ["rgb_array"], "autoreset_mode": self.autoreset_mode}
        self.max_episode_steps = self.task.steps
        self._ended = np.zeros(num_envs, bool)
        self._fresh = np.ones(num_envs, bool)
        self._running = np.zeros(num_envs)
        self._view: Any = None

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """New layouts in all worlds, or in those of ``options["reset_mask"]``.

        A single seed stands for ``seed, seed + 1, ...``; a world without one goes on with its stream.
        """
        if isinstance(seed, int | np.integer):
            seed = [int(seed) + i for i in range(self.num_envs)]
        super().reset(seed=None if seed is None else seed[0])
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        given: list[int | None] = [None] * self.num_envs if seed is None else list(seed)
        if len(given) != self.num_envs:
            raise SurefootError(f"{len(given)} seeds for {self.num_envs} worlds; give one for each.")
        self._restart(np.flatnonzero(mask), given)
        return self.simulation.last.copy(), self._marked(no_outcome(self.simulation))

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One action in each world, or the reset of those that had ended, as ``autoreset_mode`` says."""
        if self._fresh.any():
            raise SurefootError("safety tasks: call reset() before step().")
        given = np.asarray(actions, np.float64)
        check_actions(given, self.action_space.shape)
        skipped = self._ended & (self.autoreset_mode == AutoresetMode.NEXT_STEP)
        playing = None if not skipped.any() else np.flatnonzero(~skipped)
        outcome = no_outcome(self.simulation)
        if playing is None:
            outcome = self.simulation.step(given)
        elif len(playing):
            part = self.simulation.step(given[playing], playing)
            outcome = type(outcome)(**{name: value.copy() for name, value in vars(outcome).items()})
            for name, value in vars(part).items():
                getattr(outcome, name)[playing] = value
        info = self._marked(outcome)
        self._running += info["cost_total"]
        self._ended = outcome.truncated.copy()
        if skipped.any():
            self._restart(np.flatnonzero(skipped), [None] * self.num_envs)
        elif self.autoreset_mode == AutoresetMode.SAME_STEP and self._ended.any():
            ended = self._ended.copy()
            info = {"final_obs": _objects(self.simulation.last, ended), "_final_obs": ended, **info}
            info |= {"final_info": {key: value for key, value in info.items() if "final" not in key}}
            info |= {"_final_info": ended}
            self._restart(np.flatnonzero(ended), [None] * self.num_envs)
        terminated = np.zeros(self.num_envs, bool)
        return self.simulation.last.copy(), outcome.reward, terminated, outcome.truncated, info

    def save(self) -> dict[str, np.ndarray]:
        """The whole state, see :meth:`surefoot.envs.safety.simulation.Simulation.save`."""
        return {
            **self.simulation.save(),
            "ended": self._ended.copy(),
            "running_cost": self._running.copy(),
        }

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """Goes on exactly where :meth:`save` was called."""
        saved = dict(saved)
        ended, running = saved.pop("ended"), saved.pop("running_cost")
        self.simulation.restore(saved)
        self._ended, self._running = ended.copy(), running.copy()
        self._fresh[:] = False

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A picture ``[480, 480 or 960, 3]`` uint8 of each world."""
        if self.render_mode is None:
            return None
        if self._view is None:
            from surefoot.envs.safety.render import View

            self._view = View(self.simulation)
        return tuple(
            self._view.draw(world, self.camera, running_cost=self._running[world])
            for world in range(self.num_envs)
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Frees threads, states and the renderer."""
        if self._view is not None:
            self._view.close()
            self._view = None
        self.simulation.close()

    def _restart(self, worlds: np.ndarray, seeds: list[int | None]) -> None:
        chosen = [seeds[world] for world in worlds]
        for i, world in enumerate(worlds):
            if chosen[i] is None and self._fresh[world]:
                chosen[i] = int(self.np_random.integers(2**31))
        self.simulation.reset(worlds, chosen)
        self._fresh[worlds], self._ended[worlds], self._running[worlds] = False, False, 0.0

    def _marked(self, outcome: Any) -> dict[str, Any]:
        """Infos with Gymnasium's masks: every world reports everything at every step."""
        info = infos(self.task, self.cost_form, outcome)
        everywhere = np.ones(self.num_envs, bool)
        return {**info, **{f"_{name}": everywhere for name in info}}


def _objects(rows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """``[worlds]`` of arrays, ``None`` where not chosen, as Gymnasium gives final observations."""
    objects = np.full(len(rows), None, dtype=object)
    for i in np.flatnonzero(chosen):
        objects[i] = rows[i].copy()
    return objects


PointGoal1 = partial(SafetyVectorEnv, "PointGoal1")
PointGoal2 = partial(SafetyVectorEnv, "PointGoal2")
PointPush1 = partial(SafetyVectorEnv, "PointPush1")
PointPush2 = partial(SafetyVectorEnv, "PointPush2")
CarGoal1 = partial(SafetyVectorEnv, "CarGoal1")
CarGoal2 = partial(SafetyVectorEnv, "CarGoal2")
CarPush1 = partial(SafetyVectorEnv, "CarPush1")
CarPush2 = partial(SafetyVectorEnv, "CarPush2")
DoggoGoal1 = partial(SafetyVectorEnv, "DoggoGoal1")
DoggoGoal2 = partial(SafetyVectorEnv, "DoggoGoal2")
DoggoPush1 = partial(SafetyVectorEnv, "DoggoPush1")
DoggoPush2 = partial(SafetyVectorEnv, "DoggoPush2")
