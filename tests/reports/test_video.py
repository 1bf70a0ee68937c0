"""Animations: one picture a decision, the right colours, the right times."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from surefoot.errors import SurefootError
from surefoot.reports.video import MILLISECONDS, gif, maze_frames, near_corners

SIZE = 96


def episode(steps: int) -> np.ndarray:
    observations = np.zeros((steps + 1, 8), np.float32)
    observations[:, 0] = np.linspace(0.8, -0.6, steps + 1)
    observations[:, 1] = 0.1
    return observations


def redness(picture: np.ndarray) -> float:
    """How red the rim of the picture is."""
    rim = np.asarray(picture, float)[1:3, SIZE // 3 : 2 * SIZE // 3]
    return float((rim[..., 0] - rim[..., 1:].mean(axis=-1)).mean())


def test_one_picture_an_observation_and_a_red_frame_after_a_violation():
    frames = maze_frames("gap", episode(6), np.array([0, 0, 1, 0, 0, 0], bool), size=SIZE)
    assert len(frames) == 7 and frames[0].shape == (SIZE, SIZE, 3)
    reds = [redness(frame) for frame in frames]
    assert np.argmax(reds) == 3 and reds[3] > max(reds[:3] + reds[4:]) + 30


def test_long_episodes_are_thinned_and_hide_no_violation():
    violated = np.zeros(100, bool)
    violated[37] = True
    frames = maze_frames("gap", episode(100), violated, size=SIZE, most=20)
    assert len(frames) <= 21
    assert sum(redness(frame) > 30 for frame in frames) == 1


def test_gif_holds_every_picture_and_pauses_at_the_end_of_an_episode():
    first = maze_frames("island", episode(4), np.zeros(4, bool), size=SIZE)
    second = maze_frames("island", episode(2), np.zeros(2, bool), size=SIZE)
    image = Image.open(io.BytesIO(gif([first, second], pause=700)))
    times = []
    for index in range(image.n_frames):
        image.seek(index)
        times.append(image.info["duration"])
        if index < 5:
            shown = np.asarray(image.convert("RGB"), float)
            assert np.abs(shown - first[index]).mean() < 8
    assert times == [MILLISECONDS] * 4 + [700] + [MILLISECONDS] * 2 + [700]
    assert image.info["loop"] == 0


def test_nothing_cannot_be_animated():
    with pytest.raises(SurefootError, match="no picture"):
        gif([])


def test_the_first_start_near_each_corner():
    corners = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    starts = np.array([[9.0, 0.0], [1.0, 0.0], [0.0, 1.0], [10.0, 1.0]])
    assert near_corners(starts, corners) == [1, 0]
