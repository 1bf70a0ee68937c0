"""What the robot sees: for each kind of things, how near one is in each of 16 directions.

For a thing at ``p`` and a robot at ``r`` with rotation ``R``: ``(x, y)`` are the first two entries of
``R^T (p_x - r_x, p_y - r_y, -r_z)``, ``s = max(0, 3 - |(x, y)|) / 3`` is its nearness, and its angle, in
units of a bin, falls a fraction ``f`` into bin ``k``. That bin then holds at least ``s``, the next ``f s``,
the one before ``(1 - f) s``. Bin 0 begins at the robot's +x, bins run counter-clockwise, and all are 0
where nothing is near.
"""

from __future__ import annotations

import numpy as np

BINS = 16
RANGE = 3.0
"""m."""


def readings(
    position: np.ndarray,
    x_axis: np.ndarray,
    y_axis: np.ndarray,
    things: np.ndarray,
    kind: np.ndarray,
    kinds: int,
) -> np.ndarray:
    """``[worlds, kinds * 16]``, each in [0, 1].

    Args:
        position: of the robots, ``[worlds, 3]`` m.
        x_axis: of their frames, ``[worlds, 3]``.
        y_axis: likewise.
        things: where things are, ``[worlds, things, 2]`` m; their height counts as 0.
        kind: of each thing, ``[things]``, from 0.
        kinds: how many there are.
    """
    worlds = len(position)
    east = things[:, :, 0] - position[:, :1]
    north = things[:, :, 1] - position[:, 1:2]
    x = east * x_axis[:, :1] + north * x_axis[:, 1:2] - position[:, 2:] * x_axis[:, 2:]
    y = east * y_axis[:, :1] + north * y_axis[:, 1:2] - position[:, 2:] * y_axis[:, 2:]
    nearness = np.maximum(0.0, RANGE - np.sqrt(x * x + y * y)) / RANGE
    turn = np.arctan2(y, x) % (2 * np.pi) / (2 * np.pi / BINS)
    whole = np.floor(turn)
    fraction = turn - whole
    bin_ = whole.astype(np.int64) % BINS  # an angle just below 0 is rounded to a full turn: bin 16 is bin 0
    first = (np.arange(worlds)[:, None] * kinds + kind) * BINS
    seen = np.zeros(worlds * kinds * BINS)
    np.maximum.at(seen, first + bin_, nearness)
    np.maximum.at(seen, first + (bin_ + 1) % BINS, fraction * nearness)
    np.maximum.at(seen, first + (bin_ - 1) % BINS, (1 - fraction) * nearness)
    return seen.reshape(worlds, kinds * BINS)
