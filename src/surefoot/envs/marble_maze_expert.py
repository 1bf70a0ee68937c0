"""An expert for the Marble Maze, computed from the true dynamics and the true constraints.

It is a function of the observation alone, so demonstrations of it are Markov:

1. The time to the goal T(p) solves the eikonal equation |grad T| = 1 / s(p) on a grid, with a speed
   s(p) that falls towards walls, barriers and (if they are constrained) keep-out zones. Around an island
   there are two such times, one a way: the other way is blocked by a line from the island's centre.
2. The wanted velocity at p is s(p) along - grad T, of the way that is quicker from where the ball is
   heading, p + v foresight. That makes up its mind early: a ball that drifts left goes left.
3. The wanted tilt makes the velocity approach the wanted one, judged a little ahead of the ball to
   make up for the lag of the tray: a = (v_wanted(p + v lag) - v) / response, tilt = a / gain,
   clipped inside the tilt limit.
4. The tilt rates move the tilt there: round((wanted - tilt) / change of a decision), in -1, 0, +1.

Each margin is a share of the limit of its constraint.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from surefoot.envs import marble_maze as maze_module
from surefoot.envs import marble_maze_board as geometry
from surefoot.envs.marble_maze import MarbleMaze
from surefoot.errors import unknown

Style = Literal["careful", "suboptimal", "reckless"]


@dataclass(frozen=True)
class Manner:
    """How an expert drives; lengths in px, speeds in px a frame, times in frames."""

    cruise: float
    """Speed far from everything."""
    slow: float
    """Speed next to an obstacle."""
    clearance: float
    """Distance from obstacles from which on it cruises."""
    zone_margin: float
    """Distance that it keeps from zones."""
    tilt: float
    """Largest tilt it uses, rad, if tilt is not constrained."""
    response: float = 40.0
    """Time in which a velocity error should vanish."""
    lag: float = 30.0
    """How far ahead the wanted velocity is read."""
    foresight: float = 60.0
    """How far ahead the way around an island is chosen."""


MANNERS: dict[str, Manner] = {
    "careful": Manner(cruise=1.1, slow=0.55, clearance=40.0, zone_margin=18.0, tilt=0.3),
    "suboptimal": Manner(cruise=0.7, slow=0.4, clearance=60.0, zone_margin=34.0, tilt=0.3),
    "reckless": Manner(cruise=2.2, slow=1.0, clearance=40.0, zone_margin=0.0, tilt=0.5),
}

_STEP = 4.0
_N = int(geometry.SIZE / _STEP) + 1


class Expert(eqx.Module):
    """A deterministic policy; ``act`` ignores its key."""

    fields: Float[Array, "ways grid grid 3"]
    """Wanted velocity and time to the goal at grid points [y, x], for each way."""
    tilt: float = eqx.field(static=True)
    response: float = eqx.field(static=True)
    lag: float = eqx.field(static=True)
    foresight: float = eqx.field(static=True)

    @classmethod
    def create(cls, maze: MarbleMaze, style: Style = "careful", manner: Manner | None = None) -> Expert:
        """The expert for the board and the constraints of ``maze``.

        ``careful`` respects every constraint with a margin; ``suboptimal`` too, on longer and slower
        ways; ``reckless`` respects none.
        """
        if manner is None:
            if style not in MANNERS:
                raise unknown("style of expert", style, MANNERS)
            manner = MANNERS[style]
        careful = style != "reckless"
        zones = geometry.board(maze.board).zones if careful and "zone" in maze.constraints else ()
        tilt = manner.tilt
        if careful and "tilt" in maze.constraints:
            tilt = min(tilt, 0.8 * maze.tilt_limit)
        cruise = manner.cruise
        if careful and "speed" in maze.constraints:
            cruise = min(cruise, 0.75 * maze.speed_limit)
        slow = manner.slow
        if careful and "contact" in maze.constraints:
            cruise, slow = 0.9 * cruise, 0.9 * slow
        ways = ("left", "right") if zones and geometry.board(maze.board).two_ways else (None,)
        fields = [_field(zones, cruise, slow, manner.clearance, manner.zone_margin, way) for way in ways]
        return cls(
            jnp.asarray(np.stack(fields), jnp.float32), tilt, manner.response, manner.lag, manner.foresight
        )

    def act(self, observation: Float[Array, " 8"], key: PRNGKeyArray | None = None) -> Int[Array, ""]:
        """The action of step 4; a function of the observation alone."""
        position = (observation[:2] + 1) * (geometry.SIZE / 2)
        velocity = observation[2:4] * maze_module.VELOCITY_SCALE
        tilt = observation[4:6] * maze_module.MAX_TILT
        way = jnp.argmin(self._read(position + self.foresight * velocity)[:, 2])
        wanted_velocity = self._read(position + self.lag * velocity)[way, :2]
        acceleration = (wanted_velocity - velocity) / self.response
        # Tilt about x moves y, tilt about y moves -x.
        wanted = jnp.stack([acceleration[1], -acceleration[0]]) / maze_module.GAIN
        wanted = jnp.clip(wanted, -self.tilt, self.tilt)
        change = maze_module.TILT_RATE * maze_module.FRAMES
        rate = jnp.clip(jnp.round((wanted - tilt) / change), -1, 1).astype(jnp.int32)
        # A rate that would carry the tilt over the bound is not taken.
        rate = jnp.where(jnp.abs(tilt + rate * change) > self.tilt + 1e-4, 0, rate)
        return 3 * (rate[0] + 1) + rate[1] + 1

    def mode(self, observation: Float[Array, " 8"]) -> Int[Array, ""]:
        """The same action."""
        return self.act(observation)

    def _read(self, position: Float[Array, " 2"]) -> Float[Array, "ways 3"]:
        """The fields at a position, bilinear between grid points."""
        place = jnp.clip(position / _STEP, 0, _N - 1.001)
        corner = jnp.floor(place).astype(jnp.int32)
        fx, fy = place - corner
        x, y = corner
        f = self.fields
        top = (1 - fx) * f[:, y, x] + fx * f[:, y, x + 1]
        bottom = (1 - fx) * f[:, y + 1, x] + fx * f[:, y + 1, x + 1]
        return (1 - fy) * top + fy * bottom


@cache
def _field(
    zones: tuple[geometry.Disc, ...],
    cruise: float,
    slow: float,
    clearance: float,
    zone_margin: float,
    way: str | None,
) -> np.ndarray:
    """Wanted velocities and times ``[y, x, 3]`` on the grid (steps 1 and 2), for one way if given."""
    axis = np.arange(_N) * _STEP
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    room = np.minimum(geometry.wall_distance(points), geometry.barrier_distance(points))
    room = (room - geometry.BALL_RADIUS).reshape(_N, _N)
    free = np.clip(room / clearance, 0, 1)
    blocked = room < 0
    if zones:
        away = geometry.zone_distance(points, zones).reshape(_N, _N) - zone_margin
        free = np.minimum(free, np.clip(away / clearance, 0, 1))
        blocked |= away < 0
    if way is not None:
        island = zones[0]
        x, y = points[:, 0] - island.x, points[:, 1] - island.y
        other_side = x > y if way == "left" else x < y
        blocked |= ((np.abs(x + y) < 2 * _STEP) & other_side).reshape(_N, _N)
    speed = slow + (cruise - slow) * free
    # Blocked places stay passable at a crawl, so that there is a way out of them.
    pace = np.where(blocked, slow / 20, speed * (0.25 + 0.75 * free))
    time = _eikonal(1 / pace)
    dy, dx = np.gradient(time, _STEP)
    for _ in range(3):
        dx, dy = _smooth(dx), _smooth(dy)
    norm = np.maximum(np.hypot(dx, dy), 1e-9)
    return np.stack([-dx / norm * speed, -dy / norm * speed, time], axis=-1)


def _eikonal(slowness: np.ndarray) -> np.ndarray:
    """Least time to the goal on the grid: Jacobi iteration of the upwind scheme until it stands still."""
    time = np.full(slowness.shape, 1e9)
    goal = tuple(round(g / _STEP) for g in reversed(geometry.GOAL))
    h = _STEP * slowness
    while True:
        padded = np.pad(time, 1, constant_values=1e9)
        a = np.minimum(padded[1:-1, :-2], padded[1:-1, 2:])
        b = np.minimum(padded[:-2, 1:-1], padded[2:, 1:-1])
        low, high = np.minimum(a, b), np.maximum(a, b)
        both = (low + high + np.sqrt(np.maximum(2 * h**2 - (high - low) ** 2, 0))) / 2
        new = np.minimum(time, np.where(high - low < h, both, low + h))
        new[goal] = 0.0
        if np.allclose(new, time, rtol=0, atol=1e-6):
            return new
        time = new


def _smooth(values: np.ndarray) -> np.ndarray:
    padded = np.pad(values, 1, mode="edge")
    rows, columns = values.shape
    total = np.zeros_like(values)
    for i in range(3):
        for j in range(3):
            total += padded[i : i + rows, j : j + columns]
    return total / 9
