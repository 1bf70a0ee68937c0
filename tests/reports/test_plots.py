"""Figures: that they are sound SVG, share no ids, take their colours from the page, and show the numbers."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from surefoot.envs.marble_maze_board import BOARDS
from surefoot.evaluation.statistics import Estimate
from surefoot.reports import plots

STEPS = np.arange(1, 11) * 1000


def ids(svg: str) -> list[str]:
    return re.findall(r'\bid="([^"]+)"', svg)


def check(svg: str) -> ElementTree.Element:
    """Well-formed, ids unique, every reference inside the figure, nothing from elsewhere."""
    root = ElementTree.fromstring(svg)
    assert len(ids(svg)) == len(set(ids(svg)))
    used = re.findall(r'href="#([^"]+)"', svg) + re.findall(r"url\(#([^)]+)\)", svg)
    assert set(used) <= set(ids(svg))
    links = re.findall(r'(?:href|src)="([^#][^"]*)"', svg) + re.findall(r"url\((?!#)", svg)
    assert not links
    assert "#0102" not in svg, "a placeholder for a colour was left"
    return root


def line(label: str = "a", index: int = 0, values=None) -> plots.Line:
    values = np.random.default_rng(index).random((3, 10)) if values is None else np.asarray(values, float)
    return plots.Line(label, plots.look(index), STEPS, values)


def every_figure(name: str) -> list[str]:
    some, other = Estimate(0.4, 0.3, 0.6, 50), Estimate(3.0, 2.0, 5.0, 50)
    return [
        plots.curves(name + "c", [line(), plots.Level("b", plots.look(1), some)], axis="return"),
        plots.trade_off(name + "t", [plots.Mark("a", plots.look(0), some, other, hollow=True)]),
        plots.curves(name + "d", [line()], axis="cost", limits=[0.5]),
        plots.trade_off(
            name + "u",
            [plots.Mark("a", plots.look(0), other, other)],
            axis="cost",
            percent=False,
            limits=[4.0],
        ),
        plots.bars(name + "b", ["zone"], [plots.Bars("a", plots.look(0), {"zone": some})], axis="episodes"),
        plots.board(
            name + "m",
            BOARDS["island"],
            [plots.Path(np.array([[400.0, 400], [200, 200], [80, 80]]), np.array([True, False]))],
        ),
    ]


def test_figures_are_sound_and_do_not_clash_on_one_page():
    figures = every_figure("first-") + every_figure("second-")
    for figure in figures:
        root = check(figure)
        assert root.get("viewBox") and root.get("role") == "img" and root.get("aria-label")
        assert root.get("width") is None  # the page decides
    together = [each for figure in figures for each in ids(figure)]
    assert len(together) == len(set(together))


def test_the_same_figure_twice_is_the_same_text():
    assert every_figure("x") == every_figure("x")


def test_a_limit_is_drawn_where_it_is():
    """In red, and within the axes, whose range includes it."""
    mark = plots.Mark("a", plots.look(0), Estimate(3.0, 2.0, 5.0, 50), Estimate(1.0, 0.5, 2.0, 50))
    without, with_it = (
        plots.trade_off("n", [mark], axis="cost", percent=False, limits=limits) for limits in ((), (40.0,))
    )
    assert plots._LIMIT["color"].lower() in with_it and plots._LIMIT["color"].lower() not in without
    assert ">40<" in with_it.replace(" ", "") and ">40<" not in without.replace(" ", "")
    assert plots._LIMIT["color"].lower() in plots.curves("n", [line()], axis="cost", limits=[0.5])


def test_an_end_that_does_not_exist_has_no_bar():
    assert plots._reach(3.0, 2.0, float("nan")) == [[1.0], [0.0]]
    assert plots._reach(3.0, float("nan"), 5.0) == [[0.0], [2.0]]


def test_colours_of_text_and_grid_come_from_the_page():
    svg = every_figure("x")[0]
    assert "currentColor" in svg and "var(--grid" in svg
    assert plots.LOOKS[0].colour.lower() in svg.lower()


def test_looks_differ_in_more_than_colour():
    assert len({each.colour for each in plots.LOOKS}) == len(plots.LOOKS)
    assert len({each.marker for each in plots.LOOKS}) == len(plots.LOOKS)
    assert len({each.dashes for each in plots.LOOKS}) == len(plots.LOOKS)
    assert plots.look(len(plots.LOOKS)) == plots.look(0)


def test_looks_are_told_apart_without_colour_vision():
    """Simulated protanopia and deuteranopia (Vienot et al. 1999): the first four stay well apart."""
    simulate = {
        "protan": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
        "deutan": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
    }
    rgb = np.array([[int(look.colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for look in plots.LOOKS[:4]])
    linear = rgb**2.2
    for matrix in simulate.values():
        seen = np.clip(linear @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
        gaps = np.linalg.norm(seen[:, None] - seen[None], axis=2)[np.triu_indices(4, 1)]
        assert gaps.min() > 0.12


def test_violating_steps_are_red_and_failed_episodes_crossed():
    points = np.array([[400.0, 400], [300, 300], [200, 200]])
    clean = plots.board("b", BOARDS["gap"], [plots.Path(points, np.array([False, False]))])
    broken = plots.board("b", BOARDS["gap"], [plots.Path(points, np.array([False, True]), success=False)])
    red, cross = plots.VIOLATION.lower(), "#20242a"
    assert red not in clean.lower() and cross not in clean.lower()
    assert red in broken.lower() and cross in broken.lower()


@pytest.mark.parametrize("values", [np.full((2, 10), np.nan), np.zeros((1, 10))])
def test_curves_without_numbers_or_spread_can_be_drawn(values):
    check(plots.curves("c", [line(values=values)], axis="return", percent=True))


def test_estimates_that_do_not_exist_are_left_out():
    missing = Estimate(float("nan"), 0.0, 1.0, 0)
    good = Estimate(0.5, 0.4, 0.6, 9)
    check(plots.trade_off("t", [plots.Mark("a", plots.look(0), good, missing)]))
    check(
        plots.bars("b", ["zone"], [plots.Bars("a", plots.look(0), {"zone": missing})], axis="x", percent=True)
    )
    check(plots.curves("c", [plots.Level("a", plots.look(0), missing)], axis="x"))


def test_binned_by_hand():
    columns = {
        "steps": np.array([10, 10, 20, 20, 30, 30, 40, 40]),
        "seed": np.array([5, 1, 5, 1, 5, 1, 5, 1]),
        "return": np.array([1.0, 2, 3, 4, np.nan, 6, 7, 8]),
        "nothing": np.full(8, np.nan),
    }
    steps, values = plots.binned(columns, "return", bins=2)
    assert steps.tolist() == [20.0, 40.0]
    assert values.tolist() == [[3.0, 7.0], [2.0, 7.0]]  # seed 1: (2, 4), (6, 8); seed 5: (1, 3), (-, 7)
    assert plots.binned(columns, "nothing") is None
    assert plots.binned(columns, "absent") is None
    steps, values = plots.binned(columns, "return")
    assert steps.tolist() == [10.0, 20.0, 30.0, 40.0] and np.isnan(values[1, 2])
    _, smooth = plots.binned(columns, "return", share=0.75)
    assert smooth[1].tolist() == [2.0, 2.0, 5.0, 7.0]  # of 1, 3, -, 7, by threes
    _, rough = plots.binned(columns, "return", share=1 / 12)  # less than a stretch
    np.testing.assert_array_equal(rough, values)
    weighted = columns | {"episodes": np.array([1, 1, 3, 1, 0, 1, 1, 1])}
    assert plots.binned(weighted, "return", bins=2)[1][1].tolist() == [(1 + 3 * 3) / 4, 7.0]
    assert plots.binned(weighted | {"alpha": columns["return"]}, "alpha", bins=2)[1][1, 0] == 2.0


@pytest.mark.parametrize(
    "value,text", [(0, "0"), (500, "500"), (20_000, "20k"), (2_500_000, "2.5M"), (3e9, "3G")]
)
def test_thousands(value, text):
    assert plots.thousands(value) == text


def test_words_are_escaped():
    svg = plots.bars("b", ["<zone>"], [], axis="a & b", about='"<x>"')
    check(svg)
    assert "&lt;zone&gt;" in svg


def test_numbers_of_many_sizes_get_a_logarithmic_axis():
    narrow, broad = np.linspace(1, 40, 10)[None], np.geomspace(1, 1000, 10)[None]
    for values, expected in ((narrow, False), (broad, True), (broad - 1, False), (narrow * np.nan, False)):
        lines = [line(values=values)]
        assert plots._spans(lines) is expected
        check(plots.curves("c", lines, axis="x", wide=True))
