"""The Marble Maze as a Gymnasium environment, ``surefoot/MarbleMaze-v0``."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any, ClassVar

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from surefoot.envs import marble_maze_board as geometry
from surefoot.envs import marble_maze_view as view
from surefoot.envs.env import StepResult
from surefoot.envs.marble_maze import HORIZON, MAX_TILT, MarbleMaze, State
from surefoot.errors import SurefootError, unknown

_SMOOTH = 6
"""Pictures a decision in a window; the ball is drawn between two decisions."""


class MarbleMazeGym(gymnasium.Env[np.ndarray, np.integer]):
    """A ball on a tilting tray, to be led through a gap without doing harm on the way.

    The physics are the compiled functions of :class:`surefoot.envs.marble_maze.MarbleMaze`, run on the
    processor, so both forms of the environment agree to the bit. One step is a decision of 0.2 s.

    | | |
    | --- | --- |
    | action | ``Discrete(9)``: ``3 * (rate about x + 1) + (rate about y + 1)``, tilt rates -1, 0, +1 |
    | observation | ``Box(8)`` float32: position, velocity, tilt, tilt rate; see :meth:`MarbleMaze.observe` |
    | reward | -0.1 a step, +10 at the goal; see ``MarbleMaze.reward`` and ``reward_scale`` |
    | ``info["cost"]`` | float32, one entry a constraint: 1 where it was violated during the step, else 0 |
    | ``info["constraints"]`` | the names of those entries |
    | ``info["success"]`` | whether the goal was reached at this step |
    | terminated | the ball reached the goal |
    | truncated | after 200 steps |
    | start | ``reset(seed=...)`` draws one of ``starts``; ``reset(options={"start": (x, y)})`` sets it, px |

    Args:
        render_mode: ``rgb_array`` (one picture a step) or ``human`` (a window; needs ``pygame``).
        perspective: whether pictures show the tray from slightly above, or flat.
        options: the fields of :class:`MarbleMaze`: board, constraints, starts, reward, goal_radius, ...
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["rgb_array", "human"] if find_spec("pygame") else ["rgb_array"],
        "render_fps": 5,
    }
    max_episode_steps: ClassVar[int] = HORIZON
    """The environment truncates its episodes itself."""

    def __init__(self, *, render_mode: str | None = None, perspective: bool = True, **options: Any) -> None:
        known = MarbleMaze.__dataclass_fields__
        for option in options:
            if option not in known:
                raise unknown("option of MarbleMaze-v0", option, [*known, "render_mode", "perspective"])
        if render_mode not in (None, "rgb_array", "human"):
            raise unknown("render_mode", str(render_mode), ("rgb_array", "human"))
        if render_mode == "human":
            _pygame()
        if isinstance(options.get("constraints"), list):
            options["constraints"] = tuple(options["constraints"])
        self.maze = MarbleMaze(**options)
        self.render_mode = render_mode
        self._perspective = perspective
        space = self.maze.task.observation
        self.observation_space = gymnasium.spaces.Box(
            np.array(space.low, np.float32), np.array(space.high, np.float32), dtype=np.float32
        )
        self.action_space = gymnasium.spaces.Discrete(9)
        self._processor = jax.devices("cpu")[0]
        self._state: State | None = None
        self._path: list[np.ndarray] = []
        self._violated = False
        self._violating_steps = 0
        self._window: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """At rest, the tray level; ``options={"start": (x, y)}`` puts the ball there (px)."""
        super().reset(seed=seed)
        points = geometry.starts(self.maze.starts)
        drawn = points[self.np_random.integers(len(points))]
        start = drawn if not options or "start" not in options else _checked_start(options["start"])
        with jax.default_device(self._processor):
            self._state, observation = _begin(self.maze, jnp.asarray(start))
        self._path = [start]
        self._violated, self._violating_steps = False, 0
        if self.render_mode == "human":
            self._show(np.asarray(observation), np.asarray(observation))
        return np.array(observation), self._info(np.zeros(len(self.maze.constraints), np.float32), False)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One decision of 12 frames."""
        if self._state is None:
            raise SurefootError("MarbleMaze-v0: call reset() before step().")
        if not self.action_space.contains(action):
            raise SurefootError(f"MarbleMaze-v0: the action is {action}; it must be an integer from 0 to 8.")
        before = self._state
        with jax.default_device(self._processor):
            state, observation, result = _advance(self.maze, before, jnp.int32(action))
        cost = np.array(result.cost)
        self._violated = bool((cost > 0).any())
        self._violating_steps += self._violated
        self._path.append(np.asarray(state.position))
        self._state = state
        if self.render_mode == "human":
            self._show(np.asarray(self.maze.observe(before)), np.asarray(observation))
        return (
            np.array(observation),
            float(result.reward),
            bool(result.terminated),
            bool(result.truncated),
            self._info(cost, bool(result.success)),
        )

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The picture, ``[480, 480, 3]`` uint8; in the mode ``human`` the window shows it by itself."""
        if self.render_mode is None:
            gymnasium.logger.warn('give render_mode="rgb_array" or "human" to make() to see the maze.')
            return None
        if self._state is None:
            raise SurefootError("MarbleMaze-v0: call reset() before render().")
        if self.render_mode == "human":
            return None
        return self._picture(np.asarray(self._state.position), np.asarray(self._state.tilt), self._path)

    def close(self) -> None:
        """Closes the window, if there is one."""
        if self._window is not None:
            _pygame().display.quit()
            self._window = None

    def get_keys_to_action(self) -> dict[str, int]:
        """For ``gymnasium.utils.play``: w, a, s, d tilt the tray so that the ball rolls that way."""
        about_x, about_y = {"w": -1, "s": 1}, {"a": 1, "d": -1}
        single = {k: _action(x, 0) for k, x in about_x.items()} | {
            k: _action(0, y) for k, y in about_y.items()
        }
        both = {k + m: _action(x, y) for k, x in about_x.items() for m, y in about_y.items()}
        return single | both

    def _info(self, cost: np.ndarray, success: bool) -> dict[str, Any]:
        return {"cost": cost, "constraints": self.maze.constraints, "success": success}

    def _picture(self, position: np.ndarray, tilt: np.ndarray, path: list[np.ndarray]) -> np.ndarray:
        return view.draw(
            self.maze.board,
            position,
            tilt,
            zones="zone" in self.maze.constraints,
            trail=np.array(path),
            perspective=self._perspective,
            violated=self._violated,
            text=f"step {len(self._path) - 1}   violating steps {self._violating_steps}",
            goal_radius=self.maze.goal_radius,
        )

    def _show(self, before: np.ndarray, after: np.ndarray) -> None:
        """Plays the decision in the window, in between by interpolation."""
        pygame = _pygame()
        if self._window is None:
            pygame.display.init()
            self._window = pygame.display.set_mode((480, 480))
            pygame.display.set_caption("surefoot: Marble Maze")
            self._clock = pygame.time.Clock()
        for share in np.linspace(0, 1, _SMOOTH + 1)[1:]:
            seen = np.asarray(before) * (1 - share) + np.asarray(after) * share
            position, tilt = (seen[:2] + 1) * geometry.SIZE / 2, seen[4:6] * MAX_TILT
            # Coarser tilts, so that few scenes have to be drawn anew.
            picture = self._picture(position, np.round(tilt / 0.02) * 0.02, [*self._path[:-1], position])
            self._window.blit(pygame.surfarray.make_surface(picture.swapaxes(0, 1)), (0, 0))
            pygame.event.pump()
            pygame.display.flip()
            self._clock.tick(self.metadata["render_fps"] * _SMOOTH)


@partial(jax.jit, static_argnums=0)
def _begin(maze: MarbleMaze, start: Array) -> tuple[State, Array]:
    state = maze.reset_at(start)
    return state, maze.observe(state)


@partial(jax.jit, static_argnums=0)
def _advance(maze: MarbleMaze, state: State, action: Array) -> tuple[State, Array, StepResult]:
    state, result = maze.step(state, action)
    return state, maze.observe(state), result


def _action(about_x: int, about_y: int) -> int:
    return 3 * (about_x + 1) + about_y + 1


def _checked_start(start: Any) -> np.ndarray:
    try:
        point = np.asarray(start, np.float32)
    except (TypeError, ValueError):
        point = np.array(np.nan, np.float32)
    if point.shape != (2,) or not np.isfinite(point).all():
        raise SurefootError(f"options['start'] = {start}: give two numbers, x and y in px.")
    room = min(geometry.wall_distance(point[None])[0], geometry.barrier_distance(point[None])[0])
    if room < geometry.BALL_RADIUS:
        raise SurefootError(
            f"options['start'] = {start} is in a wall: the ball needs {geometry.BALL_RADIUS:g} px to each, "
            f"here it has {room:.1f}."
        )
    return point


def _pygame() -> Any:
    try:
        import pygame  # type: ignore[import-not-found]
    except ImportError as error:
        raise gymnasium.error.DependencyNotInstalled(
            'render_mode="human" needs pygame: run `pip install "surefoot[play]"`.'
        ) from error
    return pygame
