"""Pictures of the maze: what must be seen in them."""

from __future__ import annotations

import numpy as np
import pytest

from surefoot.envs import marble_maze_board as geometry
from surefoot.envs import marble_maze_view as view
from surefoot.errors import SurefootError


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Largest change of a channel at each pixel, [size, size]."""
    return np.abs(one.astype(int) - other.astype(int)).max(axis=-1)


@pytest.mark.parametrize("size", [120, 480])
@pytest.mark.parametrize("board", list(geometry.BOARDS))
def test_form_and_repeatability(board: str, size: int) -> None:
    arguments = (board, (300.0, 300.0), (0.12, -0.24))
    picture = view.draw(*arguments, trail=np.array([[400.0, 300], [300, 300]]), size=size, text="step 3")
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    again = view.draw(
        geometry.board(board),
        *arguments[1:],
        trail=np.array([[400.0, 300], [300, 300]]),
        size=size,
        text="step 3",
    )
    np.testing.assert_array_equal(picture, again)
    picture[:] = 0  # a copy: what is kept must not change
    assert view.draw(*arguments, size=size).max() > 0


@pytest.mark.parametrize("tilt", [(0.0, 0.0), (0.3, -0.2), (-0.5, 0.5)])
@pytest.mark.parametrize("perspective", [True, False])
def test_the_ball_is_where_the_camera_says(tilt: tuple[float, float], perspective: bool) -> None:
    place = (380.0, 300.0)
    with_ball = view.draw("gap", place, tilt, perspective=perspective)
    without = view.draw("gap", None, tilt, perspective=perspective)
    camera = view._camera(*tilt, 480, perspective)
    x, y = camera(np.array([[*place, geometry.BALL_RADIUS]]))[0]
    ys, xs = np.nonzero(difference(with_ball, without) > 60)
    assert len(xs) > 60
    assert np.hypot(xs.mean() - x, ys.mean() - y) < 6  # its shadow is beside it
    assert np.hypot(xs - x, ys - y).max() < 30


def test_flat_view_is_to_scale() -> None:
    camera = view._camera(0.3, -0.2, 480, False)
    corners = camera(np.array([[0.0, 0, 0], [480, 0, 0], [480, 480, 30]]))
    np.testing.assert_allclose(corners[1] - corners[0], [0.92 * 480, 0], atol=1e-9)
    np.testing.assert_allclose(corners[2] - corners[1], [0, 0.92 * 480], atol=1e-9)


def test_tilt_lowers_the_side_that_the_ball_rolls_to() -> None:
    """A side that is lower is farther from the camera, so it looks shorter."""
    corners = np.array([[0.0, 0, 0], [480, 0, 0], [480, 480, 0], [0, 480, 0]])

    def lengths(about_x: float, about_y: float) -> np.ndarray:
        seen = view._camera(about_x, about_y, 480, True)(corners)
        return np.hypot(*(np.roll(seen, -1, axis=0) - seen).T)  # far, right, near, left

    level, about_x, about_y = lengths(0.0, 0.0), lengths(0.2, 0.0), lengths(0.0, 0.2)
    assert about_x[2] < level[2]
    assert about_x[0] > level[0]  # positive tilt about x: towards larger y, the near edge
    assert about_y[3] < level[3]
    assert about_y[1] > level[1]  # positive tilt about y: towards smaller x


def test_the_tray_stays_inside_the_picture() -> None:
    outline = view._lifted(view._rounded(), view.WALL_HEIGHT)
    for tilt in [(a, b) for a in (-0.5, 0.0, 0.5) for b in (-0.5, 0.0, 0.5)]:
        seen = view._camera(*tilt, 480, True)(outline)
        assert seen.min() > -1
        assert seen.max() < 481


def test_zones_are_drawn_only_if_wanted() -> None:
    with_zones = view.draw("gap", None, perspective=False)
    without = view.draw("gap", None, perspective=False, zones=False)
    ys, xs = np.nonzero(difference(with_zones, without) > 12)
    camera = view._camera(0.0, 0.0, 480, False)
    scale = 0.92
    offset = camera(np.zeros((1, 3)))[0]
    points = (np.stack([xs + 0.5, ys + 0.5], axis=1) - offset) / scale
    zones = geometry.BOARDS["gap"].zones
    assert geometry.zone_distance(points, zones).max() < 4
    area = len(points) / scale**2
    assert area > 0.85 * np.pi * min(zone.radius for zone in zones) ** 2 * 2 * 0.8


def test_a_violation_turns_the_border_red() -> None:
    calm = view.draw("gap", (400.0, 300.0))
    alarm = view.draw("gap", (400.0, 300.0), violated=True)
    border = np.concatenate([alarm[0], alarm[-1], alarm[:, 0], alarm[:, -1]]).astype(int)
    assert (border[:, 0] > border[:, 1:].max(axis=1) + 80).all()
    assert difference(calm, alarm)[150:200, 150:200].max() == 0


def test_the_trail_fades_and_hides_behind_walls() -> None:
    trail = np.stack([np.linspace(60, 430, 120), np.full(120, 330.0)], axis=1)  # runs through barrier B
    plain = view.draw("island", None, zones=False, perspective=False)
    drawn = difference(plain, view.draw("island", None, zones=False, trail=trail, perspective=False))
    camera = view._camera(0.0, 0.0, 480, False)

    def at(x: float) -> int:
        column, row = camera(np.array([[x, 330.0, 0.0]]))[0].astype(int)
        return int(drawn[row - 1 : row + 2, column - 1 : column + 2].max())

    assert at(425) > at(200) > 10
    assert at(152) == 0  # inside the barrier


def test_a_near_wall_hides_the_ball_and_a_far_one_does_not() -> None:
    def seen(place: tuple[float, float]) -> int:
        tilt = (-0.36, 0.0)  # the near edge is raised
        return int((difference(view.draw("gap", place, tilt), view.draw("gap", None, tilt)) > 60).sum())

    assert seen((300.0, 440.0)) < 0.8 * seen((300.0, 380.0))
    assert seen((200.0, 40.0)) > 0.8 * seen((200.0, 100.0))


def test_pictures_are_quick_once_a_tilt_was_seen() -> None:
    trail = np.random.default_rng(0).uniform(60, 200, (200, 2))
    view.draw("gap", (300.0, 300.0), (0.12, 0.0), trail=trail)
    before = view._empty_scene.cache_info()
    for i in range(9):
        view.draw("gap", (301.0 + i, 300.0), (0.12, 0.0), trail=trail)
    after = view._empty_scene.cache_info()
    assert (after.hits - before.hits, after.misses - before.misses) == (9, 0)


def test_unknown_board_is_refused() -> None:
    with pytest.raises(SurefootError, match="Did you mean 'island'"):
        view.draw("iland", None)


def test_board_on_matplotlib_axes() -> None:
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    view.draw_board_svg(ax, "gap")
    assert ax.get_xlim() == (0, 480)
    assert ax.get_ylim() == (480, 0)  # y downwards
    shapes = ax.patches
    assert len(shapes) >= 2 + 2 + 2 * len(geometry.BOARDS["gap"].zones) + 2
    plt.close(figure)
