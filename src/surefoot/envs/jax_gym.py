"""Environments written in JAX, with Gymnasium's face."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from functools import partial
from typing import Any, ClassVar

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from surefoot.envs import marble_maze_view
from surefoot.envs.env import JaxEnv, StepResult
from surefoot.envs.marble_maze_tilt import MarbleMazeTilt
from surefoot.envs.noisy_walk import NoisyWalk
from surefoot.envs.plane_view import draw_arm, draw_room, draw_walk
from surefoot.envs.point_mass import PointMass
from surefoot.envs.reacher_trace import LINK, REACH, ReacherTrace
from surefoot.errors import SurefootError, unknown
from surefoot.task import Box

_LARGEST_SEED = 2**31


class JaxGym(gymnasium.Env[np.ndarray, np.ndarray]):
    """An environment with real actions, run by its own compiled functions on the processor.

    It gives the numbers of the JAX form to the bit. It truncates its own episodes; ``info`` holds
    ``cost`` (float32, one entry a constraint), ``constraints`` (their names) and ``success``.

    Args:
        render_mode: ``rgb_array`` (one picture a step, the path so far in it), or ``human`` (through
            Gymnasium, a window; needs ``pygame``).
        options: the fields of the JAX environment.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    made_of: ClassVar[type[Any]]
    """The JAX environment."""

    def __init__(self, *, render_mode: str | None = None, **options: Any) -> None:
        known = [field.name for field in dataclasses.fields(self.made_of)]
        for option in options:
            if option not in known:
                raise unknown(f"option of {self.made_of.__name__}", option, [*known, "render_mode"])
        if render_mode not in (None, "rgb_array"):
            raise unknown("render_mode", str(render_mode), ("rgb_array", "human"))
        self.env: Any = self.made_of(**options)
        self.render_mode = render_mode
        task = self.env.task
        self.observation_space, self.action_space = _space(task.observation), _space(task.action)
        self.max_episode_steps: int = task.horizon
        self._processor = jax.devices("cpu")[0]
        self._states: list[Any] = []

    @abstractmethod
    def picture(self, states: list[Any]) -> np.ndarray:
        """``[height, width, 3]`` uint8 of an episode's states so far."""
        ...

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A fresh episode; ``options`` are not used."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(_LARGEST_SEED))
        with jax.default_device(self._processor):
            state, observation = _begin(self.env, jax.random.key(drawn))
        self._states = [state]
        return np.array(observation), self._info(np.zeros(len(self.env.task.constraints), np.float32), False)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One action; values outside the action space are clipped to it."""
        name = self.env.task.name
        if not self._states:
            raise SurefootError(f"{name}: call reset() before step().")
        given = np.asarray(action, np.float32)
        if given.shape != self.action_space.shape or not np.isfinite(given).all():
            raise SurefootError(f"{name}: the action is {action}; give {self.env.task.action.size} numbers.")
        with jax.default_device(self._processor):
            state, observation, result = _advance(self.env, self._states[-1], jnp.asarray(given))
        # The path is kept for pictures only.
        self._states = [*self._states, state] if self.render_mode else [state]
        return (
            np.array(observation),
            float(result.reward),
            bool(result.terminated),
            bool(result.truncated),
            self._info(np.array(result.cost), bool(result.success)),
        )

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """A picture of the state and the way to it."""
        if self.render_mode is None:
            gymnasium.logger.warn('give render_mode="rgb_array" to make() to see pictures.')
            return None
        if not self._states:
            raise SurefootError(f"{self.env.task.name}: call reset() before render().")
        return self.picture(self._states)

    def _info(self, cost: np.ndarray, success: bool) -> dict[str, Any]:
        info = {"cost": cost, "constraints": self.env.task.constraints}
        return info | {"success": success} if self.env.task.reports_success else info


class MarbleMazeTiltGym(JaxGym):
    """The Marble Maze with real actions, ``surefoot/MarbleMazeTilt-v0``; see
    :class:`surefoot.envs.marble_maze_tilt.MarbleMazeTilt`."""

    made_of = MarbleMazeTilt

    def picture(self, states: list[Any]) -> np.ndarray:
        """The tray from slightly above."""
        return marble_maze_view.draw(
            self.env.board,
            np.asarray(states[-1].position),
            np.asarray(states[-1].tilt),
            zones="zone" in self.env.constraints,
            trail=np.array([state.position for state in states]),
            goal_radius=self.env.goal_radius,
        )


class PointMassGym(JaxGym):
    """A dot in a square room, ``surefoot/PointMass-v0``; see :class:`surefoot.envs.point_mass.PointMass`."""

    made_of = PointMass

    def picture(self, states: list[Any]) -> np.ndarray:
        """The room from above."""
        path = np.array([state.position for state in states])
        return draw_room(self.env.size, path, goals=self.env.reward == "goals")


class ReacherTraceGym(JaxGym):
    """An arm that draws, ``surefoot/ReacherTrace-v0``; see
    :class:`surefoot.envs.reacher_trace.ReacherTrace`."""

    made_of = ReacherTrace

    def picture(self, states: list[Any]) -> np.ndarray:
        """The arm and what it drew, from above."""
        tips = np.array([self.env.observe(state)[:2] for state in states])
        shoulder = float(states[-1].angle[0])
        elbow = (LINK * np.cos(shoulder), LINK * np.sin(shoulder))
        return draw_arm([(0.0, 0.0), elbow, tips[-1]], tips, reach=REACH)


class NoisyWalkGym(JaxGym):
    """Ten steps under noise, ``surefoot/NoisyWalk-v0``; see :class:`surefoot.envs.noisy_walk.NoisyWalk`."""

    made_of = NoisyWalk

    def picture(self, states: list[Any]) -> np.ndarray:
        """The plane from above, with the origin in the middle."""
        return draw_walk(np.array([state.position for state in states]))


@partial(jax.jit, static_argnums=0)
def _begin(env: JaxEnv, key: PRNGKeyArray) -> tuple[Any, Array]:
    state = env.reset(key)
    return state, env.observe(state)


@partial(jax.jit, static_argnums=0)
def _advance(env: JaxEnv, state: Any, action: Array) -> tuple[Any, Array, StepResult]:
    state, result = env.step(state, action)
    return state, env.observe(state), result


def _space(box: Box) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(
        np.array(box.low, np.float32), np.array(box.high, np.float32), dtype=np.float32
    )
