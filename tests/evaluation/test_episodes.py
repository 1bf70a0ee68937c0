"""What counts as a violation, the numbers that follow from it, and the two ways around the island."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from scipy import stats

from surefoot.errors import SurefootError
from surefoot.evaluation.episodes import (
    DEFINITIONS,
    EpisodeTable,
    collapsed,
    read_tables,
    side_of,
    summarise,
    way_left,
    ways,
)


def table(violating_steps, success=None, returns=None, horizon=4, kept=1) -> EpisodeTable:
    """A table from ``violating_steps [seeds, episodes, constraints]``; everything else is plain."""
    steps = np.asarray(violating_steps)
    shape = steps.shape[:2]
    return EpisodeTable(
        returns=np.zeros(shape) if returns is None else np.asarray(returns, float),
        lengths=np.full(shape, horizon),
        success=np.ones(shape, bool) if success is None else np.asarray(success, bool),
        violating_steps_any=steps.max(axis=2, initial=0),
        costs=2.0 * steps,
        violating_steps=steps,
        paths=np.zeros((shape[0], kept, horizon + 1, 3), np.float32),
        path_violations=np.zeros((shape[0], kept, horizon, steps.shape[2]), bool),
    )


def test_summary_by_hand():
    found = summarise(
        table(
            [[[0, 0], [3, 1]], [[0, 2], [0, 0]], [[0, 0], [0, 0]]],
            success=[[1, 0], [1, 1], [1, 1]],
            returns=[[1, 3], [5, 5], [6, 8]],
        ),
        ("zone", "speed"),
        True,
        limits=(0.0, 2.0),
    )
    values = {name: each.estimate for name, each in found.items()}
    assert values == pytest.approx(
        {
            "return": (2 + 5 + 7) / 3,
            "success": 5 / 6,
            "violating_steps_per_episode": (1.5 + 1 + 0) / 3,
            "violating_episodes": 2 / 6,
            "violating_policies": 1 / 3,  # seed 0 by zone; seed 1's speed cost of 2 is at its limit
            "violating_steps_per_episode/zone": 1.5 / 3,
            "violating_episodes/zone": 1 / 6,
            "cost/zone": 3 / 3,
            "expected_cost/zone": 3 / 3,
            "cvar/zone": 6 / 3,  # the worst tenth of two episodes is the worst
            "violating_steps_per_episode/speed": (0.5 + 1) / 3,
            "violating_episodes/speed": 2 / 6,
            "cost/speed": (1 + 2) / 3,
            "expected_cost/speed": (1 + 2) / 3,
            "cvar/speed": (2 + 4) / 3,
        }
    )
    exact = stats.binomtest(2, 6).proportion_ci(0.95, method="exact")
    rate = found["violating_episodes"]
    assert (rate.lower, rate.upper) == pytest.approx((exact.low, exact.high))
    assert rate.n == 6 and found["violating_policies"].n == 3
    assert {name.partition("/")[0] for name in found} <= set(DEFINITIONS)


def test_prefix_is_put_in_front_of_every_name():
    found = summarise(table([[[1]]]), ("zone",), False, prefix="test_")
    assert found and all(name.startswith("test_") for name in found)
    assert "test_success" not in found


def test_without_constraints_nothing_is_said_of_violations():
    found = summarise(table(np.zeros((2, 3, 0), int)), (), True)
    assert set(found) == {"return", "success"}


def test_constraints_must_match_the_costs():
    with pytest.raises(SurefootError, match="2 constraints"):
        summarise(table([[[1]]]), ("zone", "speed"), True)


def test_tables_of_wrong_shapes_are_refused():
    good = table([[[1]]]).arrays()
    with pytest.raises(SurefootError, match="lengths"):
        EpisodeTable(**good | {"lengths": np.zeros((1, 2))})


def test_tables_survive_a_file(tmp_path):
    first, second = table([[[1], [0]]]), table([[[0], [2]]])
    np.savez_compressed(tmp_path / "rollouts.npz", **first.arrays(), **second.arrays("test_"))
    again = read_tables(tmp_path / "rollouts.npz")
    assert set(again) == {"", "test_"}
    for name, array in second.arrays().items():
        assert np.array_equal(getattr(again["test_"], name), array)


def test_damaged_and_missing_files_are_named(tmp_path):
    path = tmp_path / "rollouts.npz"
    with pytest.raises(SurefootError, match="surefoot evaluate"):
        read_tables(path)
    np.savez_compressed(path, **table([[[1]]]).arrays())
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(SurefootError, match="damaged"):
            read_tables(path)
    for place in range(40, len(whole) - 1, 97):  # a byte that was stored wrongly: read as it was, or named
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with contextlib.suppress(SurefootError):
            read_tables(path)
    np.savez(path, returns=np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(SurefootError, match="damaged"):
        read_tables(path)


def test_few_paths_are_kept_where_observations_are_large():
    found = table(np.zeros((2, 50, 1), int), kept=50)
    assert found.with_paths(7).paths.shape[1] == 7
    assert found.with_paths(50, numbers=2 * 5 * 3 * 4).paths.shape[1] == 4
    assert found.with_paths(50, numbers=1).paths.shape[1] == 1


CENTRE = (160.0, 160.0)


def test_side_is_where_the_path_crosses_the_line_through_the_island():
    # Straight up at x = 200: crosses x + y = 320 at (200, 120), right of the diagonal.
    right = np.array([[200.0, 300.0], [200.0, 200.0], [200.0, 100.0]])
    assert side_of(right, CENTRE) == pytest.approx(80.0)
    assert side_of(right[:, ::-1], CENTRE) == pytest.approx(-80.0)
    assert math.isnan(side_of(right[:2], CENTRE))


def test_the_last_passage_counts():
    there_and_back = np.array([[300.0, 100.0], [200.0, 100.0], [300.0, 100.0], [100.0, 300.0], [80.0, 80.0]])
    assert side_of(there_and_back, CENTRE) < 0


def test_ways_of_successful_episodes_only():
    left = [[100.0, 300.0], [100.0, 200.0], [80.0, 80.0]]
    right = [[300.0, 100.0], [200.0, 100.0], [80.0, 80.0]]
    paths = np.array([[left, right, right, left], [right, right, right, right]])
    shape = (2, 4)
    found = EpisodeTable(
        returns=np.zeros(shape),
        lengths=np.full(shape, 2),
        success=np.array([[1, 1, 0, 1], [1, 1, 1, 1]], bool),
        violating_steps_any=np.zeros(shape, int),
        costs=np.zeros((*shape, 1)),
        violating_steps=np.zeros((*shape, 1), int),
        paths=paths,
        path_violations=np.zeros((*shape, 2, 1), bool),
    )
    passed = ways(found, lambda points: points, CENTRE)
    assert passed.tolist() == [[-1, 1, 0, -1], [1, 1, 1, 1]]
    share = way_left(passed)
    assert share.estimate == pytest.approx(2 / 7) and share.n == 7
    assert collapsed(passed) == [1]
    assert collapsed(np.zeros((2, 3), int)) == []


def test_seeds_that_know_one_way_each_do_not_hide_behind_their_mean():
    assert collapsed(np.array([[-1] * 20, [1] * 20, [-1, 1] * 10])) == [0, 1]
