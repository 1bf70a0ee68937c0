"""Statements about limits, and how safe a training was, on episodes and columns made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from surefoot.errors import SurefootError
from surefoot.evaluation.episodes import EpisodeTable
from surefoot.evaluation.safety import Evidence, evidence, limits_of, while_training
from surefoot.evaluation.statistics import betting_bound, mean_bounds


def table(costs: np.ndarray, *, indicator: bool = False) -> EpisodeTable:
    """Episodes ``[seeds, episodes, constraints]`` with these costs; 0 or 1 a step if ``indicator``."""
    shape = costs.shape[:2]
    steps = costs.astype(int) if indicator else (costs > 0).astype(int)
    return EpisodeTable(
        returns=np.zeros(shape),
        lengths=np.full(shape, 100),
        success=np.zeros(shape, bool),
        violating_steps_any=steps.max(axis=2),
        costs=costs.astype(float),
        violating_steps=steps,
        paths=np.zeros((shape[0], 1, 101, 2)),
        path_violations=np.zeros((shape[0], 1, 100, costs.shape[2]), bool),
    )


@pytest.fixture
def costs() -> np.ndarray:
    """Two seeds, means of about 20 and 30."""
    return np.random.default_rng(0).poisson([[[20.0]], [[30.0]]], (2, 200, 1))


def test_a_limit_is_shown_broken_or_neither(costs):
    mean = costs.mean()
    for limit, shown, broken, words in (
        (40.0, True, False, "is below the limit 40 with 95 % confidence"),
        (mean, False, False, "it is not shown that the expected cost"),
        (10.0, False, True, "is above the limit 10 with 95 % confidence"),
    ):
        (found,) = evidence(table(costs), ("harm",), (limit,))
        assert (found.shown, found.broken) == (shown, broken)
        assert words in found.sentence and found.sentence.startswith("harm: ")
        assert Evidence.from_dict(found.as_dict()) == found
    assert "lower bound" in found.sentence


def test_each_policy_has_its_own_bound(costs):
    (found,) = evidence(table(costs), ("harm",), (26.5,))
    assert found.cost == mean_bounds(costs[..., 0])
    assert found.policies == tuple(mean_bounds([seed]).upper for seed in costs[..., 0])
    assert found.shown and found.policies[0] < 26.5 < found.policies[1]
    assert found.sentence.endswith("Each policy by itself: shown for 1 of 2.")
    (alone,) = evidence(table(costs[:1]), ("harm",), (26.5,))
    assert "on average" not in alone.sentence and "by itself" not in alone.sentence


def test_without_assumptions_only_where_a_step_costs_0_or_1(costs):
    (found,) = evidence(table(costs, indicator=True), ("harm",), (60.0,), 1000)
    assert found.free == betting_bound(costs[..., 0].mean(axis=0), 1000) > found.cost.upper
    assert f", {found.free:.1f} whatever the distribution, if no step can cost more than 1)" in found.sentence
    for other in (
        evidence(table(costs), ("harm",), (60.0,), 1000),
        evidence(table(costs), ("harm",), (60.0,)),
    ):
        assert math.isnan(other[0].free) and "whatever" not in other[0].sentence


def test_no_cost_at_all_is_no_proof_but_a_bound():
    nothing = np.zeros((1, 200, 1))
    (found,) = evidence(table(nothing), ("harm",), (25.0,), 1000)
    assert found.shown and 0 < found.upper == found.free < 25
    assert found.policies == (found.free,)
    assert f"upper bound {found.free:.1f} whatever the distribution, if no step can" in found.sentence
    (few,) = evidence(table(nothing[:, :20]), ("harm",), (25.0,), 1000)
    assert not few.shown and few.upper > 25
    (unknown,) = evidence(table(nothing), ("harm",), (25.0,), None)
    assert not unknown.shown and "no bound" in unknown.sentence
    assert Evidence.from_dict(unknown.as_dict()) == unknown


def test_constraints_without_a_limit_are_left_out(costs):
    both = np.concatenate([costs, costs], axis=2)
    (found,) = evidence(table(both), ("free", "bound"), (0.0, 40.0), prefix="greedy_")
    assert found.constraint == "bound" and "without noise" in found.sentence


def test_limits_by_hand_come_before_those_of_the_run_and_the_task():
    names, task = ("a", "b"), (1.0, 2.0)
    assert limits_of(names, task, {}) == (1.0, 2.0)
    assert limits_of(names, task, {"cost_limits": None}) == (1.0, 2.0)
    assert limits_of(names, task, {"cost_limits": [5.0]}) == (5.0, 5.0)
    assert limits_of(names, task, {"cost_limits": [5.0, 6.0]}, (7.0,)) == (7.0, 7.0)
    assert limits_of((), (), {}) == ()
    assert limits_of(names, (math.inf, 2.0), {}) == (0.0, 2.0)
    with pytest.raises(SurefootError, match=r"3 numbers for 2 constraints \(a, b\)"):
        limits_of(names, task, {}, (1.0, 2.0, 3.0))
    with pytest.raises(SurefootError, match="cost_limits"):
        limits_of(names, task, {}, (-1.0,))
    with pytest.raises(SurefootError, match="reports no cost"):
        limits_of((), (), {}, (25.0,))


def columns(**values) -> dict[str, np.ndarray]:
    """Two seeds, three rows each."""
    index = {"iteration": [1, 1, 2, 2, 3, 3], "steps": [10, 10, 20, 20, 30, 30], "seed": [4, 7] * 3}
    return {name: np.array(column) for name, column in (index | values).items()}


def test_a_training_by_hand():
    """Seed 4 costs 30, 20, 26 and seed 7 costs 10, 10, 25, where 25 are allowed."""
    logged = columns(**{"cost/harm": [30.0, 10.0, 20.0, 10.0, 26.0, 25.0]})
    found = while_training(logged, ("harm",), (25.0,))
    assert found["training_unsafe_epochs"].estimate == pytest.approx((2 / 3 + 0) / 2)
    assert found["training_excess/harm"].estimate == pytest.approx(((5 + 1) / 3 + 0) / 2)
    assert found["training_unsafe_epochs"].n == 6
    assert found["training_unsafe_epochs"].lower == 0.0 and found["training_unsafe_epochs"].upper == 1.0


def test_rows_without_an_episode_do_not_count_and_any_constraint_does():
    logged = columns(
        **{
            "cost/a": [30.0, math.nan, 20.0, 10.0, 20.0, 30.0],
            "cost/b": [0.0, math.nan, 2.0, 0.0, 0.0, 0.0],
        }
    )
    found = while_training(logged, ("a", "b"), (25.0, 1.0))
    assert found["training_unsafe_epochs"].estimate == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["training_excess/b"].estimate == pytest.approx((1 / 3 + 0) / 2)
    assert found["training_excess/b"].n == 5


def test_a_learners_own_count_is_taken_for_its_own_limits():
    """A row may be the mean of several epochs, of which some were unsafe."""
    logged = columns(**{"cost/a": [20.0] * 6, "unsafe": [0.5, 0.0, 0.5, 0.0, 0.5, 0.0]})
    assert while_training(logged, ("a",), (25.0,))["training_unsafe_epochs"].estimate == 0.25
    assert while_training(logged, ("a",), (19.0,), exact=False)["training_unsafe_epochs"].estimate == 1.0


def test_a_limit_of_zero_counts_where_the_learner_was_given_it():
    logged = columns(**{"cost/a": [2.0, 0.0] * 3, "cost/b": [0.0] * 6, "unsafe": [1.0, 0.0] * 3})
    found = while_training(logged, ("a", "b"), (0.0, 1.0))
    assert found["training_unsafe_epochs"].estimate == 0.5
    assert found["training_excess/a"].estimate == 1.0 and found["training_excess/b"].estimate == 0.0
    assert set(while_training(logged, ("a", "b"), (0.0, 1.0), exact=False)) == {
        "training_unsafe_epochs",
        "training_excess/b",
    }


def test_nothing_is_said_of_a_training_without_costs_or_limits():
    assert while_training({}, (), ()) == {}
    assert while_training(columns(**{"return": [0.0] * 6}), ("a",), (25.0,)) == {}
    assert while_training(columns(**{"cost/a": [1.0] * 6}), ("a",), (0.0,)) == {}
    assert while_training(columns(**{"cost/a": [math.nan] * 6}), ("a",), (5.0,)) == {}
