"""The Marble Maze integrated slowly in plain Python, from its description alone. No code is shared.

The tray has 15 x 15 cells of 32 px. Barriers are written as what they cover, not as outlines:
barrier A is where 14 <= x + y <= 16, x >= 8, y <= 7 in cells (rows 1 to 6, whose outer cells
are cut by the diagonals); barrier B is 14 <= x + y <= 16, x <= 7, y >= 8. Both run into the walls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

CELL = 32.0
RADIUS = 8.0
NEAR, FAR = 32.0 + RADIUS, 448.0 - RADIUS
"""Where the ball's centre touches an outer wall."""
ROOT = math.sqrt(2.0)


@dataclass
class Ball:
    x: float
    y: float
    vx: float = 0.0
    vy: float = 0.0
    tilt_x: float = 0.0
    tilt_y: float = 0.0


@dataclass
class Seen:
    """What happened during one decision, frame by frame."""

    places: list[tuple[float, float]]
    speeds: list[float]
    tilts: list[float]
    impacts: list[float]
    """Normal speeds of all contacts with walls and barriers."""


def decide(ball: Ball, rate_x: int, rate_y: int, frames: int = 12) -> Seen:
    """Moves ``ball`` by one decision with tilt rates -1, 0 or +1."""
    seen = Seen([], [], [], [])
    for _ in range(frames):
        ball.tilt_x = min(0.5, max(-0.5, ball.tilt_x + 0.01 * rate_x))
        ball.tilt_y = min(0.5, max(-0.5, ball.tilt_y + 0.01 * rate_y))
        # 0.1 px/frame^2 per rad, of which the velocity gains half in a frame.
        ball.vx += 0.5 * 0.1 * -ball.tilt_y
        ball.vy += 0.5 * 0.1 * ball.tilt_x
        ball.x += ball.vx
        ball.y += ball.vy
        _outer_walls(ball, seen)
        for barrier in ("A", "B"):
            _barrier(ball, barrier, seen)
        seen.places.append((ball.x, ball.y))
        seen.speeds.append(math.sqrt(ball.vx**2 + ball.vy**2))
        seen.tilts.append(max(abs(ball.tilt_x), abs(ball.tilt_y)))
    return seen


def _outer_walls(ball: Ball, seen: Seen) -> None:
    if ball.x < NEAR:
        ball.x = NEAR
        if ball.vx < 0:
            seen.impacts.append(-ball.vx)
            ball.vx *= -0.25
    elif ball.x > FAR:
        ball.x = FAR
        if ball.vx > 0:
            seen.impacts.append(ball.vx)
            ball.vx *= -0.25
    if ball.y < NEAR:
        ball.y = NEAR
        if ball.vy < 0:
            seen.impacts.append(-ball.vy)
            ball.vy *= -0.25
    elif ball.y > FAR:
        ball.y = FAR
        if ball.vy > 0:
            seen.impacts.append(ball.vy)
            ball.vy *= -0.25


def _barrier(ball: Ball, name: str, seen: Seen) -> None:
    """Contact with one barrier: pushed out along the normal; ends bounce, diagonals let it slide."""
    x, y, vx, vy = ball.x, ball.y, ball.vx, ball.vy
    if name == "B":  # written for A, whose mirror image in x = y is B
        x, y, vx, vy = y, x, vy, vx
    nearest = _nearest_on_a(x / CELL, y / CELL)
    if nearest is None:
        return
    (px, py), bounces = nearest
    dx, dy = x - px * CELL, y - py * CELL
    distance = math.sqrt(dx * dx + dy * dy)
    if not 0 < distance < RADIUS:
        return
    nx, ny = dx / distance, dy / distance
    x, y = px * CELL + RADIUS * nx, py * CELL + RADIUS * ny
    towards = -(vx * nx + vy * ny)
    if towards > 0:
        seen.impacts.append(towards)
        share = 1.25 if bounces else 1.0
        vx, vy = vx + share * towards * nx, vy + share * towards * ny
    if name == "B":
        x, y, vx, vy = y, x, vy, vx
    ball.x, ball.y, ball.vx, ball.vy = x, y, vx, vy


def _nearest_on_a(x: float, y: float) -> tuple[tuple[float, float], bool] | None:
    """The point of barrier A nearest to a point outside it (cells), and whether it bounces there.

    The plane outside is cut into the five strips and wedges in which one side or corner is nearest.
    """
    along = (x - y) / ROOT  # grows towards the top right corner of the tray
    above = (x + y - 14) / ROOT  # < 0 on the goal's side of the upper diagonal
    below = (x + y - 16) / ROOT  # > 0 on the other side of the lower diagonal
    if above < 0 and along >= 2 / ROOT:  # beside the upper diagonal, beyond its corner (8, 6)
        return (x - above / ROOT, y - above / ROOT), False
    if below > 0 and along >= 2 / ROOT:  # beside the lower diagonal, beyond its corner (9, 7)
        return (x - below / ROOT, y - below / ROOT), False
    if y <= 6 and x < 8:  # wedge at the corner (8, 6): as the diagonal
        return (8.0, 6.0), False
    if x < 8 and y < 7:  # the end that faces left
        return (8.0, y), True
    if x <= 8:  # wedge at the corner (8, 7)
        return (8.0, 7.0), True
    if y > 7 and x < 9:  # the end that faces down
        return (x, 7.0), True
    if y > 7 or below > 0:  # wedge at the corner (9, 7)
        return (9.0, 7.0), True
    return None  # inside


def inside_barrier(x: float, y: float, margin: float = 0.0) -> bool:
    """Whether a point (px) lies in a barrier, more than ``margin`` px from its border."""
    m = margin / CELL
    for a, b in ((x / CELL, y / CELL), (y / CELL, x / CELL)):
        if 14 + m * ROOT < a + b < 16 - m * ROOT and a > 8 + m and b < 7 - m:
            return True
    return False
