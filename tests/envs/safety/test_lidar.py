"""The pseudo-lidar: known values, and a slow version written from its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from surefoot.envs.safety.lidar import readings


def _seen(x: float, y: float, yaw: float = 0.0, height: float = 0.1) -> np.ndarray:
    x_axis = np.array([[math.cos(yaw), math.sin(yaw), 0.0]])
    y_axis = np.array([[-math.sin(yaw), math.cos(yaw), 0.0]])
    position = np.array([[0.0, 0.0, height]])
    return readings(position, x_axis, y_axis, np.array([[[x, y]]]), np.zeros(1, int), 1)[0]


@pytest.mark.parametrize(
    "x, y, bins",
    [
        (1.0, 0.0, {0: 0.6667, 15: 0.6667, 1: 0.0}),
        (0.0, 2.0, {4: 0.3333, 3: 0.3333, 5: 0.0}),
        (-1.0, 1.0, {6: 0.5286, 5: 0.5286, 7: 0.0}),
        (1.0, 0.2, {0: 0.6601, 1: 0.3318, 15: 0.3283}),
        (3.5, 0.0, {0: 0.0, 15: 0.0}),
    ],
)
def test_published_values(x: float, y: float, bins: dict[int, float]) -> None:
    seen = _seen(x, y)
    for index, value in bins.items():
        assert seen[index] == pytest.approx(value, abs=5e-5)
    assert np.flatnonzero(seen).tolist() == sorted(index for index, value in bins.items() if value)


def test_an_angle_just_below_zero_does_not_fall_out() -> None:
    """-1e-17 modulo a full turn is rounded to a full turn, bin 16: the original crashes there."""
    assert -1e-17 % (2 * math.pi) == 2 * math.pi
    seen = _seen(1.0, -1e-17)
    assert seen[0] == pytest.approx(2 / 3)
    assert seen[15] == pytest.approx(2 / 3)


def _slowly(position: np.ndarray, rotation: np.ndarray, things: list[np.ndarray]) -> np.ndarray:
    """One thing after another, as the definition says."""
    bins = [0.0] * 16
    for thing in things:
        vector = rotation.T @ (np.array([*thing, 0.0]) - position)
        near = max(0.0, 3.0 - math.hypot(vector[0], vector[1])) / 3.0
        turn = math.atan2(vector[1], vector[0]) % (2 * math.pi) / (2 * math.pi / 16)
        k = math.floor(turn)
        for index, value in ((k, near), (k + 1, (turn - k) * near), (k - 1, (1 - turn + k) * near)):
            bins[index % 16] = max(bins[index % 16], value)
    return np.array(bins)


def test_many_at_once_with_tilted_robots() -> None:
    rng = np.random.default_rng(0)
    worlds, things = 40, 9
    position = rng.uniform(-1, 1, (worlds, 3))
    rotation = np.linalg.qr(rng.normal(size=(worlds, 3, 3)))[0]
    places = rng.uniform(-2.5, 2.5, (worlds, things, 2))
    kind = np.array([0, 1, 1, 1, 1, 2, 2, 2, 2])
    seen = readings(position, rotation[:, :, 0], rotation[:, :, 1], places, kind, 3)
    assert seen.shape == (worlds, 48)
    for world in range(worlds):
        expected = [
            _slowly(position[world], rotation[world], list(places[world, kind == which]))
            for which in range(3)
        ]
        np.testing.assert_allclose(seen[world], np.concatenate(expected), atol=1e-12)
    assert seen.min() >= 0 and seen.max() <= 1
