"""Marble Maze: a ball on a tilting tray, to be led through a gap without doing harm on the way.

The tray, its numbers and its task are those of the marble maze that the SCOPIL line of work
plays; the constraints, their limits and the sets of starts are our own.

| item | value |
| --- | --- |
| decision | every 12 frames of 1/60 s; an episode has at most 200 decisions |
| action | 9 integers: ``3 * (rate about x + 1) + (rate about y + 1)``, rates -1, 0, +1 |
| tilt | changes by 0.01 rad a frame times the rate, clipped to +-0.5 rad |
| ball | velocity gains 0.05 px/frame^2 per rad of tilt; tilt about x moves y, about y moves -x |
| contact | ball radius 8 px; normal velocity times -0.25 at walls and barrier ends; slides along diagonals |
| observation | 8 floats, see :meth:`MarbleMaze.observe` |
| reward | see ``MarbleMaze.reward`` |
| start | at rest, tray level, one of a named set of positions |
| end | terminated when the centre of the ball comes within ``goal_radius`` of the goal |
| cost | 1 for a constraint that was broken in any frame of the decision, else 0; never in the reward |

Version history: v0, first version.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from surefoot.envs import marble_maze_board as geometry
from surefoot.envs.env import StepResult
from surefoot.errors import SurefootError, check_range, unknown
from surefoot.task import Box, Discrete, Task

FRAMES = 12
"""Frames a decision."""
TILT_RATE = 0.01
"""rad a frame."""
MAX_TILT = 0.5
"""rad."""
GAIN = 0.05
"""px/frame^2 per rad of tilt."""
RESTITUTION = 0.25
VELOCITY_SCALE = 4.0
"""Observed velocity 1 means this many px a frame."""
HORIZON = 200

CONSTRAINTS = {
    "zone": "the ball's centre is inside a keep-out zone",
    "speed": "the ball is faster than speed_limit",
    "tilt": "the tray is tilted by more than tilt_limit about either axis",
    "contact": "the ball hits a wall or barrier with a normal speed above contact_limit",
}
"""Every constraint kind, and when it is broken."""


class State(eqx.Module):
    """Lengths in px, time in frames (velocity) or decisions (time)."""

    position: Float[Array, " 2"]
    velocity: Float[Array, " 2"]
    tilt: Float[Array, " 2"]
    """About x and about y, rad."""
    rate: Float[Array, " 2"]
    """Tilt rates of the last decision, -1, 0 or +1."""
    time: Int[Array, ""]


class Peaks(eqx.Module):
    """The worst of the frames of one decision."""

    squared_speed: Float[Array, ""]
    tilt: Float[Array, ""]
    impact: Float[Array, ""]
    zone: Float[Array, ""]
    """Largest of radius^2 - distance^2 over zones and frames; positive inside a zone."""
    squared_goal_distance: Float[Array, ""]
    """Smallest."""


@dataclass(frozen=True)
class MarbleMaze:
    """Settings of the maze, and its pure functions ``reset``, ``step`` and ``observe``."""

    board: str = "gap"
    """``gap`` or ``island``."""
    constraints: tuple[str, ...] = ("zone",)
    """Which cost signals are reported: any of ``zone``, ``speed``, ``tilt``, ``contact``."""
    starts: str = "train"
    """Set of starts: ``train``, ``test``, ``corners``, or one corner of it such as ``train/right``."""
    reward: str = "step"
    """``step``: -1 a decision, +100 at the goal; ``timeout``: the same with -50 at the time limit;
    ``distance``: minus the distance to the goal in cells."""
    reward_scale: float = 0.1
    """Factor on the rewards above; 0.1 keeps returns, and so critics, at the scale of ten."""
    goal_radius: float = 24.0
    """px; 5 is the original, 24 is easier to find."""
    speed_limit: float = 1.2
    """px a frame."""
    tilt_limit: float = 0.4
    """rad."""
    contact_limit: float = 0.5
    """px a frame of normal speed at a wall."""

    def __post_init__(self) -> None:
        geometry.board(self.board)
        geometry.starts(self.starts)
        if isinstance(self.constraints, str):
            raise SurefootError(f"constraints = '{self.constraints}': give a tuple of names.")
        for name in self.constraints:
            if name not in CONSTRAINTS:
                raise unknown("constraint", name, CONSTRAINTS)
        if len(set(self.constraints)) != len(self.constraints):
            raise SurefootError(f"constraints = {self.constraints} names one constraint twice.")
        if self.reward not in ("step", "timeout", "distance"):
            raise unknown("reward", self.reward, ("step", "timeout", "distance"))
        check_range("reward_scale", self.reward_scale, low=0, open_low=True)
        for name in ("goal_radius", "speed_limit", "tilt_limit", "contact_limit"):
            check_range(name, getattr(self, name), low=0, open_low=True)

    @property
    def task(self) -> Task:
        """Eight observations, nine actions, one cost signal a constraint with limit 0."""
        bound = (1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0)
        return Task(
            name="MarbleMaze-v0",
            observation=Box((8,), tuple(-b for b in bound), bound),
            action=Discrete(9),
            constraints=self.constraints,
            limits=(0.0,) * len(self.constraints),
            horizon=HORIZON,
            reports_success=True,
        )

    def reset(self, key: PRNGKeyArray) -> State:
        """At rest at a position drawn uniformly from the set of starts."""
        points = jnp.asarray(geometry.starts(self.starts))
        return self.reset_at(points[jax.random.randint(key, (), 0, len(points))])

    def reset_at(self, position: Float[Array, " 2"]) -> State:
        """At rest at ``position`` (px), tray level."""
        zero = jnp.zeros(2)
        return State(jnp.asarray(position, jnp.float32), zero, zero, zero, jnp.zeros((), jnp.int32))

    def observe(self, state: State) -> Float[Array, " 8"]:
        """Ball x, y (+-1 at the tray's edges); velocity x, y (px/frame / 4); tilt about x, y
        (rad / 0.5); tilt rate about x, y (-1, 0, +1)."""
        return jnp.concatenate(
            [
                state.position / (geometry.SIZE / 2) - 1,
                state.velocity / VELOCITY_SCALE,
                state.tilt / MAX_TILT,
                state.rate,
            ]
        )

    def step(self, state: State, action: Int[Array, ""]) -> tuple[State, StepResult]:
        """One decision: 12 frames at constant tilt rates."""
        rate = jnp.stack([action // 3 - 1, action % 3 - 1]).astype(jnp.float32)
        state, peaks = self.frames(eqx.tree_at(lambda s: s.rate, state, rate))
        reached = peaks.squared_goal_distance <= self.goal_radius**2
        time = state.time + 1
        truncated = (time >= HORIZON) & ~reached
        state = eqx.tree_at(lambda s: s.time, state, time)
        broken = {
            "zone": peaks.zone > 0,
            "speed": peaks.squared_speed > self.speed_limit**2,
            # Half a rate step of slack: a tilt of exactly the limit must not count by rounding.
            "tilt": peaks.tilt > self.tilt_limit + TILT_RATE / 2,
            "contact": peaks.impact > self.contact_limit,
        }
        cost = jnp.array([broken[name] for name in self.constraints], jnp.float32).reshape(-1)
        reward = self._reward(state, reached, truncated)
        return state, StepResult(reward, cost, reached, truncated, reached)

    def _reward(self, state: State, reached: Array, truncated: Array) -> Float[Array, ""]:
        if self.reward == "distance":
            away = state.position - jnp.array(geometry.GOAL)
            return -self.reward_scale * jnp.sqrt(jnp.sum(away**2)) / geometry.CELL
        late = 50.0 * truncated if self.reward == "timeout" else 0.0
        return self.reward_scale * (-1.0 + 100.0 * reached - late)

    def frames(self, state: State) -> tuple[State, Peaks]:
        """Integrates 12 frames at the rates of ``state``: semi-implicit Euler, then contacts."""
        zones = geometry.board(self.board).zones

        def frame(_: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
            x, y, vx, vy, tilt_x, tilt_y, speed, tilt, impact, zone, goal = carry
            tilt_x = jnp.clip(tilt_x + TILT_RATE * state.rate[0], -MAX_TILT, MAX_TILT)
            tilt_y = jnp.clip(tilt_y + TILT_RATE * state.rate[1], -MAX_TILT, MAX_TILT)
            vx, vy = vx - GAIN * tilt_y, vy + GAIN * tilt_x
            x, y = x + vx, y + vy
            x, vx, hit_x = _bounce(x, vx)
            y, vy, hit_y = _bounce(y, vy)
            x, y, vx, vy, hit = _collide(x, y, vx, vy)
            speed = jnp.maximum(speed, vx**2 + vy**2)
            tilt = jnp.maximum(tilt, jnp.maximum(jnp.abs(tilt_x), jnp.abs(tilt_y)))
            impact = jnp.maximum(impact, jnp.maximum(hit, jnp.maximum(hit_x, hit_y)))
            for disc in zones:
                zone = jnp.maximum(zone, disc.radius**2 - (x - disc.x) ** 2 - (y - disc.y) ** 2)
            goal = jnp.minimum(goal, (x - geometry.GOAL[0]) ** 2 + (y - geometry.GOAL[1]) ** 2)
            return x, y, vx, vy, tilt_x, tilt_y, speed, tilt, impact, zone, goal

        zero, far = jnp.zeros(()), jnp.full((), jnp.inf)
        start = (*state.position, *state.velocity, *state.tilt, zero, zero, zero, -far, far)
        x, y, vx, vy, tilt_x, tilt_y, *peaks = jax.lax.fori_loop(0, FRAMES, frame, start)
        after = State(
            jnp.stack([x, y]), jnp.stack([vx, vy]), jnp.stack([tilt_x, tilt_y]), state.rate, state.time
        )
        return after, Peaks(*peaks)


def _bounce(x: Array, v: Array) -> tuple[Array, Array, Array]:
    """Contact with the two outer walls of one axis: position, velocity, normal speed of the hit."""
    low, high = geometry.LOW + geometry.BALL_RADIUS, geometry.HIGH - geometry.BALL_RADIUS
    inside = jnp.clip(x, low, high)
    towards = jnp.where(x < low, -v, jnp.where(x > high, v, 0.0))
    hit = jnp.maximum(towards, 0.0)
    return inside, jnp.where(hit > 0, -RESTITUTION * v, v), hit


def _collide(x: Array, y: Array, vx: Array, vy: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Contact with the barriers: position, velocity, normal speed of the hit.

    Only barrier A is tested: barrier B is its mirror image in x = y, so the ball is mirrored to the
    side of A first. The ball moves less than its radius in a frame, so its centre never gets inside.
    """
    mirror = y > x
    px, py = jnp.maximum(x, y), jnp.minimum(x, y)
    best, near_x, near_y, bounce = jnp.full_like(x, jnp.inf), px, py, jnp.zeros_like(x)
    chain = np.array(geometry.BARRIER_A)
    pieces = list(zip(chain[:-1], chain[1:], strict=True))
    for index, (start, end) in enumerate(pieces):
        (ax, ay), (dx, dy) = start.tolist(), (end - start).tolist()
        length = dx * dx + dy * dy
        share = jnp.clip((px - ax) * (dx / length) + (py - ay) * (dy / length), 0.0, 1.0)
        cx, cy = ax + share * dx, ay + share * dy
        squared = (px - cx) ** 2 + (py - cy) ** 2
        closer = squared < best
        diagonal = index in (0, len(pieces) - 1)
        # At a corner both pieces are equally near; the first one, which is seen first, decides.
        best = jnp.where(closer, squared, best)
        near_x, near_y = jnp.where(closer, cx, near_x), jnp.where(closer, cy, near_y)
        bounce = jnp.where(closer, 0.0 if diagonal else RESTITUTION, bounce)
    distance = jnp.sqrt(jnp.maximum(best, 1e-12))
    near_x, near_y = jnp.where(mirror, near_y, near_x), jnp.where(mirror, near_x, near_y)
    nx, ny = (x - near_x) / distance, (y - near_y) / distance
    normal = vx * nx + vy * ny
    touching = distance < geometry.BALL_RADIUS
    hit = jnp.where(touching, jnp.maximum(-normal, 0.0), 0.0)
    push = jnp.where(touching, geometry.BALL_RADIUS - distance, 0.0)
    kick = (1 + bounce) * hit
    return x + push * nx, y + push * ny, vx + kick * nx, vy + kick * ny, hit
