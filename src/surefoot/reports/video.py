"""Rollouts as animations: GIF files, which every browser shows and which need no other program."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from surefoot.envs.marble_maze_board import SIZE, Board
from surefoot.errors import SurefootError

SPEED = 2.0
"""Times faster than real time: a decision of 0.2 s is shown for 0.1 s."""
MILLISECONDS = round(200 / SPEED)
_COLOURS = 64
_KEPT = ((24, 92, 140), (208, 46, 40), (56, 120, 72), (0, 215, 215), (240, 220, 30))
"""Colours of small things (trail, alarm, goal; vases, box) that would be lost among those of the ground."""


def maze_frames(
    board: Board | str,
    observations: np.ndarray,
    violated: np.ndarray,
    *,
    size: int = 320,
    most: int = 100,
    text: str = "",
    perspective: bool = True,
    goal_radius: float = 24.0,
) -> list[np.ndarray]:
    """Pictures ``[size, size, 3]`` of one episode of the Marble Maze, one an observation.

    ``observations [n + 1, 8]`` and ``violated [n]`` (whether step t, between observations t and t + 1,
    violated a constraint) are those of ``EpisodeTable.path``. An episode that would make more than
    ``most`` pictures is shown with every second (third, ...) one.
    """
    from surefoot.envs.marble_maze_view import draw

    observations = np.asarray(observations, float)
    points = (observations[:, :2] + 1) * (SIZE / 2)
    tilts = observations[:, 4:6] * 0.5
    every = -(-len(points) // most)
    flags = np.concatenate([[False], np.asarray(violated, bool)])
    frames = []
    shown = sorted({*range(0, len(points), every), len(points) - 1})
    for before, index in zip([-1, *shown[:-1]], shown, strict=True):
        picture = draw(
            board,
            points[index],
            tilts[index],
            trail=points[: index + 1],
            size=size,
            violated=bool(flags[before + 1 : index + 1].any()),
            text=text,
            perspective=perspective,
            goal_radius=goal_radius,
        )
        frames.append(picture)
    return frames


def gif(episodes: Sequence[Sequence[np.ndarray]], *, pause: int = 900) -> bytes:
    """An endless GIF of several episodes, each a list of pictures; its last one stays for ``pause`` ms."""
    frames = [frame for episode in episodes for frame in episode]
    if not frames:
        raise SurefootError("There is no picture to animate.")
    palette = _palette(frames)
    images = [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    times = [t for episode in episodes for t in [MILLISECONDS] * (len(episode) - 1) + [pause] if episode]
    buffer = io.BytesIO()
    images[0].save(
        buffer, format="GIF", save_all=True, append_images=images[1:], duration=times, loop=0, disposal=1
    )
    return buffer.getvalue()


def _palette(frames: Sequence[np.ndarray]) -> Image.Image:
    """One palette for all pictures, so that what stands still does not flicker."""
    some = [frames[i] for i in np.linspace(0, len(frames) - 1, min(len(frames), 8)).astype(int)]
    height, width = some[0].shape[:2]
    swatches = np.repeat(np.array(_KEPT, np.uint8), -(-height // len(_KEPT)), axis=0)[:height, None]
    sheet = np.concatenate([*some, np.repeat(swatches, width // 2, axis=1)], axis=1)
    return Image.fromarray(sheet).quantize(_COLOURS, method=Image.Quantize.MEDIANCUT)


def near_corners(starts: np.ndarray, corners: np.ndarray) -> list[int]:
    """For each of the ``corners [c, 2]`` the first of the ``starts [n, 2]`` that is nearest to it, if any.

    A corner that no start belongs to is left out.
    """
    nearest = np.argmin(np.hypot(*(starts[:, None] - corners[None]).transpose(2, 0, 1)), axis=1)
    found = [np.flatnonzero(nearest == corner) for corner in range(len(corners))]
    return [int(rows[0]) for rows in found if len(rows)]
