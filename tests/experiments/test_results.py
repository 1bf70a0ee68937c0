import json

import pytest

from surefoot.errors import SurefootError
from surefoot.evaluation.statistics import Estimate
from surefoot.experiments.results import (
    UNKNOWN,
    Claim,
    Verdict,
    at_least,
    at_most,
    below,
    between,
    markdown_table,
    merge,
    metric,
    overlap,
    read_summary,
    show,
    tally,
    verdict_lines,
)

YES, NO = Verdict(True, True), Verdict(False, True)
PERHAPS_YES, PERHAPS_NO = Verdict(True), Verdict(False)


def estimate(middle: float, lower: float, upper: float) -> Estimate:
    return Estimate(float(middle), float(lower), float(upper), 100)


@pytest.mark.parametrize(
    ("value", "bound", "expected"),
    [
        (estimate(1, 0.5, 2), estimate(30, 25, 35), YES),  # even 2 <= 0.1 * 25
        (estimate(1, 0.5, 4), estimate(30, 25, 35), PERHAPS_YES),  # 1 <= 3, but 4 > 2.5
        (estimate(4, 3, 5), estimate(30, 25, 35), PERHAPS_NO),  # 4 > 3, but 3 <= 3.5
        (estimate(5, 4, 6), estimate(30, 25, 35), NO),  # even 4 > 3.5
        (estimate(3, 3, 3), estimate(30, 30, 30), YES),  # equal is at most
        (None, estimate(1, 1, 1), UNKNOWN),
        (estimate(1, 1, 1), None, UNKNOWN),
    ],
)
def test_at_most_a_tenth(value, bound, expected):
    assert at_most(value, bound, 0.1) == expected


def test_at_least_mirrors_at_most():
    assert at_least(estimate(0.97, 0.96, 0.98), 0.95) == YES
    assert at_least(estimate(0.96, 0.94, 0.98), 0.95) == PERHAPS_YES
    assert at_least(estimate(0.94, 0.9, 0.96), 0.95) == PERHAPS_NO
    assert at_least(estimate(0.9, 0.88, 0.94), 0.95) == NO
    # A negative return: 10 % worse than -10 is -11.
    assert at_least(estimate(-10.5, -10.6, -10.4), estimate(-10, -10, -10), 1.1) == YES
    assert at_least(estimate(-11.5, -11.6, -11.4), estimate(-10, -10, -10), 1.1) == NO


def test_below_is_strict():
    zero = estimate(0, 0, 0)
    assert below(zero, zero) == NO
    assert below(estimate(1, 0.9, 1.1), estimate(2, 1.9, 2.1)) == YES
    assert below(estimate(1, 0, 3), estimate(2, 1, 3)) == PERHAPS_YES


def test_between():
    assert between(estimate(0.5, 0.4, 0.6), 0.25, 0.75) == YES
    assert between(estimate(0.3, 0.2, 0.4), 0.25, 0.75) == PERHAPS_YES
    assert between(estimate(0.1, 0.0, 0.2), 0.25, 0.75) == NO
    assert between(estimate(0.8, 0.7, 0.9), 0.25, 0.75) == PERHAPS_NO


def test_overlap():
    assert overlap(estimate(1, 0, 2), estimate(3, 2, 4)).holds
    assert not overlap(estimate(1, 0, 2), estimate(3, 2.5, 4)).holds


@pytest.mark.parametrize(
    ("a", "b", "both"),
    [
        (YES, YES, YES),
        (YES, PERHAPS_YES, PERHAPS_YES),
        (YES, NO, NO),
        (PERHAPS_NO, NO, NO),
        (YES, PERHAPS_NO, PERHAPS_NO),
        (PERHAPS_YES, PERHAPS_NO, PERHAPS_NO),
        (UNKNOWN, NO, NO),  # a certain no needs nothing else
        (UNKNOWN, PERHAPS_NO, UNKNOWN),
        (UNKNOWN, YES, UNKNOWN),
    ],
)
def test_and_or_by_de_morgan(a, b, both):
    assert a & b == both and b & a == both
    assert ~a | ~b == ~both


def test_words_of_verdicts():
    assert str(YES) == "met" and str(NO) == "not met"
    assert str(PERHAPS_NO) == "not met (intervals leave it open)"
    assert str(UNKNOWN) == "not measured"


def test_merge_keeps_order_and_drops_strangers():
    old = [{"cell": "b", "v": 1}, {"cell": "gone", "v": 1}, {"cell": "a", "v": 1}]
    merged = merge(old, [{"cell": "b", "v": 2}], ["a", "b", "c"])
    assert merged == [{"cell": "a", "v": 1}, {"cell": "b", "v": 2}]


def test_summary_that_is_missing_or_not_one(tmp_path):
    with pytest.raises(SurefootError, match="does not exist"):
        read_summary(tmp_path / "summary.json")
    for content in ("{", "{}", json.dumps([{"method": "SAC"}])):
        (tmp_path / "summary.json").write_text(content)
        with pytest.raises(SurefootError, match="not a summary"):
            read_summary(tmp_path / "summary.json")


def test_metric_that_does_not_exist_is_none():
    record = {"metrics": {"return": {"estimate": None, "lower": None, "upper": None, "n": 0}}}
    assert (
        metric(record, "return") is None and metric(record, "success") is None and metric(None, "x") is None
    )


def test_tally_and_lines():
    claims = [Claim("a", "", "", YES), Claim("b", "", "", UNKNOWN), Claim("a", "", "", PERHAPS_NO)]
    assert tally(claims) == [("a", 1, 1, 0), ("b", 0, 0, 1)]
    lines = verdict_lines(claims)
    assert "met in 1 of 2" in lines[1] and "not measured yet" in lines[2]


def test_markdown_table_escapes_bars():
    assert markdown_table(("a", "b"), [("1|2", "3")]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| 1\\|2 | 3 |",
    ]


def test_show():
    assert show("return", estimate(4.756, 4.7, 4.8)) == "4.76 [4.70, 4.80]"
    assert show("greedy_test_violating_episodes/zone", estimate(0.5, 0.25, 1)) == "50.0 % [25.0, 100.0]"
    assert show("test_violating_steps_per_episode", estimate(0, 0, 1)) == "0.00 [0.00, 1.00]"
    assert show("success", None) == "-"
    alone = Estimate(0.5, 0.5, 0.5, 1)  # of one value nothing is known but itself
    assert (show("success", alone), show("return", alone)) == ("50.0 %", "0.50")
