"""Pictures of what happens in a plane: a dot in its room, an arm with its trace. NumPy and Pillow only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = Any
"""Two numbers, x and y."""

_FINER = 3
"""Pictures are drawn this many times finer, then averaged."""
_BORDER = 0.06
"""Share of the picture that stays free at each edge."""

PAPER: Colour = (250, 249, 247)
FLOOR: Colour = (236, 237, 240)
LINE: Colour = (214, 216, 221)
INK: Colour = (58, 60, 66)
GOAL: Colour = (62, 146, 88)
DISTRACTOR: Colour = (222, 156, 56)
TRAIL: Colour = (24, 92, 140)
ARM: Colour = (132, 138, 148)


class Plane:
    """A square picture of the square ``[left, right] x [left, right]``, y upwards."""

    def __init__(self, left: float, right: float | int, pixels: int) -> None:
        self._left, self._pixels = left, pixels
        self._scale = pixels * _FINER * (1 - 2 * _BORDER) / (right - left)
        side = pixels * _FINER
        self._image = Image.new("RGB", (side, side), PAPER)
        self._pen = ImageDraw.Draw(self._image)

    def square(self, low: Point, high: Point, fill: Colour | None, edge: Colour | None = None) -> None:
        """The rectangle between two corners."""
        (x0, y1), (x1, y0) = self._place(low), self._place(high)
        self._pen.rectangle((x0, y0, x1, y1), fill=fill, outline=edge, width=_FINER)

    def disc(
        self, centre: Point, radius: float | int, fill: Colour | None, edge: Colour | None = None
    ) -> None:
        """``radius`` in the units of the plane."""
        x, y = self._place(centre)
        r = radius * self._scale
        self._pen.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=edge, width=_FINER)

    def line(self, points: Any, colour: Colour, width: float | int) -> None:
        """A chain of points ``[n, 2]`` with round corners; ``width`` in pixels of the picture."""
        places = [self._place(point) for point in np.asarray(points, float)]
        r = width * _FINER / 2
        if len(places) > 1:
            self._pen.line(places, fill=colour, width=max(1, round(2 * r)))
        for x, y in places:
            self._pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def trail(self, points: Any, width: float = 3.0) -> None:
        """A path ``[n, 2]``, its older part paler."""
        points = np.asarray(points, float)
        pieces = len(points) - 1
        for i in range(pieces):
            share = 0.75 * (1 - (i + 1) / pieces)
            colour = tuple(round(t + share * (f - t)) for t, f in zip(TRAIL, FLOOR, strict=True))
            self.line(points[i : i + 2], colour, width)  # type: ignore[arg-type]

    def picture(self) -> np.ndarray:
        """``[pixels, pixels, 3]`` uint8."""
        side = self._pixels
        return np.asarray(self._image.resize((side, side), Image.Resampling.LANCZOS))

    def _place(self, point: Point) -> tuple[float, float]:
        border = _BORDER * self._pixels * _FINER
        x = border + (float(point[0]) - self._left) * self._scale
        y = self._pixels * _FINER - border - (float(point[1]) - self._left) * self._scale
        return x, y


def draw_room(size: float | int, path: Any, *, goals: bool = False, pixels: int = 480) -> np.ndarray:
    """A room of side ``size`` and the path ``[n, 2]`` of a dot in it, which stands at the last point.

    With ``goals`` the corners that pay are marked: green for the goal, orange for the two distractors.
    """
    path = np.asarray(path, float)
    plane = Plane(0.0, size, pixels)
    plane.square((0, 0), (size, size), FLOOR)
    for k in range(1, math.ceil(size)):
        plane.line([(k, 0), (k, size)], LINE, 1)
        plane.line([(0, k), (size, k)], LINE, 1)
    if goals:
        mark = 0.045 * size
        plane.disc((size, size), mark, GOAL)
        plane.disc((size, 0), mark, DISTRACTOR)
        plane.disc((0, size), mark, DISTRACTOR)
    plane.square((0, 0), (size, size), None, INK)
    plane.trail(path)
    plane.disc(path[-1], 0.02 * size, TRAIL, PAPER)
    return plane.picture()


def draw_arm(joints: Any, tips: Any, *, reach: float, pixels: int = 480) -> np.ndarray:
    """An arm through ``joints`` ``[n, 2]``, in the disc it can reach, and the way of its tip ``[m, 2]``."""
    joints = np.asarray(joints, float)
    plane = Plane(-reach, reach, pixels)
    plane.disc((0, 0), reach, FLOOR, LINE)
    plane.trail(tips)
    plane.line(joints, ARM, 12)
    for joint in joints[:-1]:
        plane.disc(joint, 0.035 * reach, INK)
    plane.disc(joints[-1], 0.045 * reach, TRAIL, PAPER)
    return plane.picture()


def draw_walk(path: Any, *, reach: float = 2.0, pixels: int = 480) -> np.ndarray:
    """A path ``[n, 2]`` from the origin, in the square within ``reach`` of it."""
    path = np.asarray(path, float)
    plane = Plane(-reach, reach, pixels)
    plane.square((-reach, -reach), (reach, reach), FLOOR)
    plane.line([(0, -reach), (0, reach)], LINE, 1)
    plane.line([(-reach, 0), (reach, 0)], LINE, 1)
    plane.trail(path)
    plane.disc(path[-1], 0.02 * reach, TRAIL, PAPER)
    return plane.picture()
