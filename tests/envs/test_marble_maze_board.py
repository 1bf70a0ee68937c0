"""The board's geometry against the description in cells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from oracles import marble_maze as oracle
from surefoot.envs import marble_maze_board as geometry
from surefoot.errors import SurefootError

# The description: occupied cells (row: columns) of both barriers; diagonals cut the outer cells of a run.
CELLS_A = {1: (12, 13), 2: (11, 13), 3: (10, 12), 4: (9, 11), 5: (8, 10), 6: (8, 9)}
CELLS_B = {8: (5, 6), 9: (4, 6), 10: (3, 5), 11: (2, 4), 12: (1, 3), 13: (1, 2)}


def grid(n: int) -> np.ndarray:
    """Points [n * n, 2] all over the inside of the tray, none on a line of cells."""
    ticks = 32 + 416 * (np.arange(n) + 0.37) / n
    return np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)


def test_barriers_cover_the_described_cells() -> None:
    points = grid(130)
    inside = geometry.barrier_distance(points) < 0
    column, row = (points // 32).astype(int).T
    described = np.zeros(len(points), bool)
    for cells in (CELLS_A, CELLS_B):
        for r, (first, last) in cells.items():
            described |= (row == r) & (column >= first) & (column <= last)
    assert not (inside & ~described).any()
    share = inside[described].mean()
    assert 0.55 < share < 0.75  # about two of three cells of a run are cut in half
    whole = (row == 3) & (column == 11)
    assert inside[whole].all()
    for cut in ((3, 10), (3, 12), (10, 3), (10, 5)):
        assert inside[(row == cut[0]) & (column == cut[1])].mean() == pytest.approx(0.5, abs=0.06)


def test_barrier_distance_against_a_dense_outline() -> None:
    points = grid(40)
    fine = np.stack(np.meshgrid(*[np.arange(32, 448, 1.0) + 0.5] * 2), axis=-1).reshape(-1, 2)
    solid = cKDTree([(x, y) for x, y in fine if oracle.inside_barrier(x, y)])
    distance = geometry.barrier_distance(points)
    outside = points[distance > 0]
    far, _ = solid.query(outside)
    # The outline runs on into the outer walls, which the fine grid does not: compare away from them.
    clear = (outside.min(1) > 70) & (outside.max(1) < 410)
    np.testing.assert_allclose(distance[distance > 0][clear], far[clear], atol=1.2)
    np.testing.assert_array_equal(distance < 0, [oracle.inside_barrier(x, y) for x, y in points])


def test_zone_and_wall_distances() -> None:
    zones = (geometry.Disc(100.0, 100.0, 20.0), geometry.Disc(200.0, 100.0, 10.0))
    points = np.array([[100.0, 100.0], [130.0, 100.0], [195.0, 100.0], [160.0, 180.0]])
    expected = [-20.0, 10.0, -5.0, np.hypot(40, 80) - 10]
    np.testing.assert_allclose(geometry.zone_distance(points, zones), expected)
    np.testing.assert_allclose(
        geometry.wall_distance(np.array([[40.0, 100], [440, 430], [20, 100]])), [8, 8, -12]
    )


def test_starts_are_disjoint_and_clear_of_walls() -> None:
    train, test = geometry.starts("train"), geometry.starts("test")
    assert train.shape == test.shape == (300, 2)
    assert len({tuple(p) for p in train} | {tuple(p) for p in test}) == 600
    between = np.hypot(*(train[:, None] - test[None]).transpose(2, 0, 1))
    assert between.min() > 0
    for points in (train, test, geometry.starts("corners")):
        assert geometry.wall_distance(points).min() > geometry.BALL_RADIUS
        assert geometry.barrier_distance(points).min() > geometry.BALL_RADIUS
        for board in geometry.BOARDS.values():
            assert geometry.zone_distance(points, board.zones).min() > 0
        x, y = points.T / 32
        assert (x + y > 14).all()  # all on the other side of the barriers


def test_named_groups_of_starts_make_up_the_set() -> None:
    for family in ("train", "test", "corners"):
        groups = [geometry.starts(f"{family}/{group}") for group in geometry.CORNERS]
        np.testing.assert_array_equal(np.concatenate(groups), geometry.starts(family))
    right = geometry.starts("train/right")
    assert (np.abs(right - np.array(geometry.CORNERS["right"])) <= geometry.START_SPREAD).all()
    assert set(geometry.start_names()) >= {"train", "test/bottom", "corners/corner"}


@pytest.mark.parametrize("name", ["tests", "train/left", ""])
def test_unknown_starts_are_refused(name: str) -> None:
    with pytest.raises(SurefootError, match="set of starts"):
        geometry.starts(name)


def test_the_zones_leave_a_way() -> None:
    """A ball can get from every start to the goal without its centre touching a zone."""
    step = 4.0
    ticks = np.arange(0, 480, step) + step / 2
    points = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    for board in geometry.BOARDS.values():
        free = geometry.wall_distance(points) > 8
        free &= geometry.barrier_distance(points) > 8
        free &= geometry.zone_distance(points, board.zones) > 0
        regions, _ = ndimage.label(free.reshape(len(ticks), len(ticks)))
        at = {tuple((np.array(p) // step).astype(int)) for p in [geometry.GOAL, *geometry.CORNERS.values()]}
        assert len({int(regions[i, j]) for i, j in at}) == 1
