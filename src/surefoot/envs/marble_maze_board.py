"""Geometry of the Marble Maze: walls, barriers, keep-out zones, starts. NumPy only.

Lengths are pixels of the tray (32 a cell, 15 x 15 cells), x to the right, y down, so that
cell (row, column) spans x in [32 column, 32 (column + 1)] and y in [32 row, 32 (row + 1)].
The physics, the expert and the pictures all read the board from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from surefoot.errors import unknown

CELL = 32.0
"""Pixels a cell."""
SIZE = 15 * CELL
"""Side of the tray, walls included."""
LOW, HIGH = CELL, SIZE - CELL
"""The inner faces of the outer walls."""
BALL_RADIUS = 8.0
"""Radius of the ball for collisions."""
GOAL = (2.5 * CELL, 2.5 * CELL)
"""Centre of the goal, cell (2, 2)."""

CORNERS = {
    "right": (13.5 * CELL, 4.5 * CELL),
    "bottom": (4.5 * CELL, 13.5 * CELL),
    "corner": (13.5 * CELL, 13.5 * CELL),
}
"""The three corner starts, cells (4, 13), (13, 4) and (13, 13)."""

BARRIER_A = tuple((CELL * x, CELL * y) for x, y in ((15, -1), (8, 6), (8, 7), (9, 7), (16, 0)))
"""Outline of the barrier from the top-right corner, an open chain that ends inside the outer wall.

The first and last pieces are its diagonal faces. Barrier B is its mirror image in the line x = y.
"""


@dataclass(frozen=True)
class Disc:
    """A round keep-out region; lengths in pixels."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Board:
    """A named arrangement of keep-out zones on the tray."""

    name: str
    zones: tuple[Disc, ...]
    about: str
    two_ways: bool = False
    """Whether the zone is an island that can be passed on either side."""


BOARDS = {
    "gap": Board(
        "gap",
        (Disc(5.6 * CELL, 5.0 * CELL, 1.1 * CELL), Disc(4.4 * CELL, 3.5 * CELL, 1.0 * CELL)),
        "two diagonal barriers with one opening; two overlapping zones on the straight way to the goal",
    ),
    "island": Board(
        "island",
        (Disc(4.7 * CELL, 4.7 * CELL, 0.55 * CELL),),
        "the same barriers; one keep-out island behind the opening, to be passed left or right",
        two_ways=True,
    ),
}


def board(name: str) -> Board:
    """The board of that name; raises :class:`SurefootError` with the nearest name if there is none."""
    if name not in BOARDS:
        raise unknown("board", name, BOARDS)
    return BOARDS[name]


START_SEEDS = {"train": 20_250_706, "test": 20_250_707}
"""The named seeds from which the two sets of starts are drawn."""
STARTS_PER_CORNER = 100
START_SPREAD = 1.25 * CELL
"""Starts lie in a square of this half-width around a corner start."""
_WALL_MARGIN = BALL_RADIUS + 2.0


@cache
def starts(name: str) -> np.ndarray:
    """Start positions ``[n, 2]`` in pixels, float32.

    ``train`` and ``test`` hold 100 positions around each of the three corner starts, drawn from
    different seeds; ``corners`` holds the corner starts themselves; ``train/right`` (or
    ``/bottom``, ``/corner``) only those around one of them.
    """
    family, _, group = name.partition("/")
    if family == "corners":
        points = {key: np.array([xy]) for key, xy in CORNERS.items()}
    elif family in START_SEEDS:
        points = _draw_starts(START_SEEDS[family])
    else:
        raise unknown("set of starts", name, start_names())
    if group and group not in points:
        raise unknown("set of starts", name, start_names())
    chosen = [points[group]] if group else list(points.values())
    return np.concatenate(chosen).astype(np.float32)


def start_names() -> tuple[str, ...]:
    """Every name that :func:`starts` takes."""
    families = ("train", "test", "corners")
    return families + tuple(f"{family}/{group}" for family in families for group in CORNERS)


def _draw_starts(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    points = {}
    for group, (x, y) in CORNERS.items():
        low = np.maximum(np.array([x, y]) - START_SPREAD, LOW + _WALL_MARGIN)
        high = np.minimum(np.array([x, y]) + START_SPREAD, HIGH - _WALL_MARGIN)
        drawn: list[np.ndarray] = []
        while len(drawn) < STARTS_PER_CORNER:
            candidate = rng.uniform(low, high)
            if barrier_distance(candidate[None])[0] > _WALL_MARGIN:
                drawn.append(candidate)
        points[group] = np.stack(drawn)
    return points


def barrier_distance(points: np.ndarray) -> np.ndarray:
    """Distance ``[n]`` from points ``[n, 2]`` to the nearer barrier, negative inside it."""
    points = np.asarray(points, float)
    x, y = points.max(axis=1), points.min(axis=1)  # barrier B is the mirror image of barrier A
    chain = np.array(BARRIER_A)
    best = np.full(len(points), np.inf)
    for start, end in zip(chain[:-1], chain[1:], strict=True):
        along = end - start
        share = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / (along @ along), 0, 1)
        best = np.minimum(best, np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1]))
    inside = (x + y > 14 * CELL) & (x + y < 16 * CELL) & (x > 8 * CELL) & (y < 7 * CELL)
    return np.where(inside, -best, best)


def wall_distance(points: np.ndarray) -> np.ndarray:
    """Distance ``[n]`` from points ``[n, 2]`` to the nearest outer wall, negative behind it."""
    points = np.asarray(points, float)
    return np.minimum(points.min(axis=1) - LOW, HIGH - points.max(axis=1))


def zone_distance(points: np.ndarray, zones: tuple[Disc, ...]) -> np.ndarray:
    """Distance ``[n]`` from points ``[n, 2]`` to the nearest zone, negative inside it."""
    points = np.asarray(points, float)
    best = np.full(len(points), np.inf)
    for disc in zones:
        best = np.minimum(best, np.hypot(points[:, 0] - disc.x, points[:, 1] - disc.y) - disc.radius)
    return best
