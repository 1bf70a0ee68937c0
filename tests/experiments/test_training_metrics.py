import json
import math

import numpy as np
import pytest

from surefoot.errors import SurefootError
from surefoot.experiments import training_metrics
from surefoot.experiments.training_metrics import Curve, at_the_end, logged, thinned


def columns(rows: int, seeds: tuple[int, ...] = (4, 2)) -> dict[str, np.ndarray]:
    """As ``Run.metrics`` gives them: block after block, in each the seeds; kl is 100 seed + row."""
    index = np.repeat(np.arange(rows), len(seeds))
    seed = np.tile(seeds, rows)
    return {
        "iteration": index + 1,
        "steps": 300 * (index + 1),
        "seed": seed,
        "kl": 100.0 * seed + index,
    }


@pytest.mark.parametrize(("rows", "last"), [(1, 1), (9, 1), (10, 1), (11, 2), (25, 3), (200, 20)])
def test_the_end_is_the_last_tenth_rounded_up(rows, last):
    found = training_metrics.of(columns(rows), ("kl",))
    by_hand = [sum(100 * seed + row for row in range(rows - last, rows)) / last for seed in (4, 2)]
    assert found.per_seed["kl"] == pytest.approx(by_hand)  # in the order of the run, not sorted
    estimate = found.metrics["kl"]
    assert estimate.estimate == pytest.approx(sum(by_hand) / 2)
    assert (estimate.lower, estimate.upper) == pytest.approx((by_hand[1], by_hand[0]))  # two seeds: the range
    assert estimate.n == 2


def test_what_is_missing_is_left_out():
    values = np.array([[0.0] * 18 + [1.0, math.nan], [0.0] * 18 + [math.nan, math.nan]])
    np.testing.assert_array_equal(at_the_end(values), [1.0, math.nan])


def test_curves_are_means_of_equal_stretches():
    curve = thinned(logged(columns(7), "kl"), points=3)  # stretches of 3, 3 and 1
    np.testing.assert_array_equal(curve.steps, [900, 1800, 2100])
    np.testing.assert_array_equal(curve.values, [[401, 404, 406], [201, 204, 206]])
    whole = logged(columns(40), "kl")
    np.testing.assert_array_equal(thinned(whole).values, whole.values)  # short enough already
    assert len(thinned(logged(columns(1000), "kl")).steps) == 50


def test_a_curve_survives_json():
    curve = Curve(np.array([10, 20]), np.array([[1.23456, math.nan]]))
    again = Curve.from_dict(json.loads(json.dumps(curve.as_dict(), allow_nan=False)))
    np.testing.assert_array_equal(again.steps, curve.steps)
    np.testing.assert_array_equal(again.values, [[1.235, math.nan]])


def test_unsafe_epochs_are_counted_over_the_whole_run():
    found = columns(4)
    here, there = np.array([1.0, 3, 2, 2.1]), np.array([0.0, 0, 5, 0])
    found["cost/here"] = np.repeat(here, 2)
    found["cost/there"] = np.where(found["seed"] == 2, np.repeat(there, 2), 0.0)
    found["eval_cost/here"] = np.repeat(np.array([3.0, math.nan, 3, 1]), 2)
    found["eval_cost/there"] = np.zeros(8)
    names = ("unsafe_epochs", "eval_unsafe_epochs")
    trained = training_metrics.of(found, names, (2.0, 4.0))
    assert trained.per_seed["unsafe_epochs"] == [0.5, 0.75]  # 2 is not above 2; the other cost breaks in one
    assert trained.per_seed["eval_unsafe_epochs"] == pytest.approx([2 / 3] * 2)  # of the epochs evaluated
    np.testing.assert_array_equal(trained.curves["unsafe_epochs"].values, [[0, 1, 0, 1], [0, 1, 1, 1]])
    with pytest.raises(SurefootError, match="unsafe_epochs"):
        training_metrics.of(found, names)  # no limits


def test_a_metric_that_is_not_there_is_named():
    with pytest.raises(SurefootError, match="Did you mean 'kl'"):
        training_metrics.of(columns(3), ("kll",))
    bad = columns(3) | {"kl": np.full(6, math.nan)}
    with pytest.raises(SurefootError, match="finite"):
        training_metrics.of(bad, ("kl",))
    assert training_metrics.of({}, ()).metrics == {}  # a cell that asks for nothing needs nothing
