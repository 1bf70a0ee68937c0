"""Pictures of densities: the numbers drawn against closed forms, and what is refused."""

from __future__ import annotations

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from scipy import stats

from surefoot.errors import SurefootError
from surefoot.numerics.density import (
    Function,
    Gaussian,
    InsideDisc,
    Kde,
    Mixture,
    OutsideDisc,
    Product,
    Sum,
    UniformBox,
    extent,
)
from surefoot.reports.densities import draw, look_at

HILL = Gaussian((1.0, -1.0), (0.5, 1.0))


def middles(low, high):
    return low + (np.arange(200) + 0.5) * (high - low) / 200


def test_values_are_the_density_with_the_first_entry_first():
    view = look_at(HILL, (-1, -4), (2, 1))
    expected = np.outer(stats.norm(1, 0.5).pdf(middles(-1, 2)), stats.norm(-1, 1).pdf(middles(-4, 1)))
    np.testing.assert_allclose(view.values, expected, rtol=1e-3, atol=1e-6)
    inside = np.diff(stats.norm(1, 0.5).cdf([-1, 2])) * np.diff(stats.norm(-1, 1).cdf([-4, 1]))
    assert view.mass == pytest.approx(inside[0], abs=1e-3)
    assert view.unit == "density"


def test_a_slice_stays_at_the_other_entries():
    cube = Gaussian((0.0, 1.0, 2.0), 1.0)
    view = look_at(cube, (-1, -1), (1, 1), dimensions=(2, 0), at=(9, 1.5, 9))
    expected = np.outer(stats.norm(2, 1).pdf(middles(-1, 1)), stats.norm(0, 1).pdf(middles(-1, 1)))
    np.testing.assert_allclose(view.values, expected * stats.norm(1, 1).pdf(1.5), rtol=1e-3)
    assert view.mass is None
    assert view.unit.endswith("where s1 = 1.5")
    # Without a place it is the middle of what the density extends over.
    np.testing.assert_allclose(look_at(cube).at, [0, 1, 2], atol=1e-6)


def test_an_energy_is_relative_to_its_largest_value_and_huge_ones_do_not_overflow():
    energy = Function(lambda x: 5_000 - 10 * jnp.abs(x[:, 0]), size=1)
    view = look_at(energy, (-1,), (1,))
    np.testing.assert_allclose(view.values, np.exp(-10 * (np.abs(middles(-1, 1)) - 0.005)), rtol=0.02)
    assert "not normalised" in view.unit and view.mass is None


@pytest.mark.parametrize(
    ("density", "low", "high"),
    [
        (HILL, (-1, -5), (3, 3)),
        (Mixture((HILL, UniformBox((-9, 0), (0, 1)))), (-9, -5), (3, 3)),
        (Product((HILL, OutsideDisc((0, 0), 1), InsideDisc((1, 0), 1.5))), (-0.5, -1.5), (2.5, 1.5)),
        (Kde(jnp.array([(0.0, 1.0), (2.0, 0.0)]), 0.5), (-0.5, -0.5), (2.5, 1.5)),
    ],
    ids=["gaussian", "mixture", "product", "kde"],
)
def test_a_density_lies_where_its_parts_do(density, low, high):
    np.testing.assert_allclose(extent(density), (low, high))


@pytest.mark.parametrize(
    "density",
    [
        OutsideDisc((0, 0), 1),
        Function(lambda x: x[:, 0]),
        Sum((HILL, OutsideDisc((0, 0), 1))),
        Product((UniformBox((0,), (1,)), UniformBox((2,), (3,)))),
    ],
    ids=["outside", "function", "sum", "nothing"],
)
def test_others_do_not_say_where(density):
    assert extent(density) is None


def dots(figure):
    return [line.get_xydata() for axes in figure.axes for line in axes.lines]


def test_one_panel_for_each_set_of_states_and_zero_is_left_white():
    states = {"few": np.array([[0.5, 0.5]]), "many": np.random.default_rng(0).uniform(size=(20, 400, 2))}
    never = Product((UniformBox((0, 0), (1, 1)), OutsideDisc((0.5, 0.5), 0.25)))
    figure = draw(never, states=states, title="all", labels=("x", "y"))
    assert [axes.get_title() for axes in figure.axes[:2]] == ["few", "many"]
    np.testing.assert_allclose(dots(figure)[0], [[0.5, 0.5]])
    assert 2_000 < len(dots(figure)[1]) <= 3_000
    picture = figure.axes[0].images[0].get_array()
    assert np.ma.getmaskarray(np.ma.masked_invalid(picture)).mean() == pytest.approx(np.pi / 16, abs=2e-3)
    assert picture.shape == (200, 200)
    assert figure.axes[0].get_xlabel() == "x"


def test_the_picture_has_the_second_entry_upwards():
    figure = draw(UniformBox((0, 2), (1, 3)), (0, 0), (4, 4))
    drawn = np.nan_to_num(np.asarray(figure.axes[0].images[0].get_array()))
    assert figure.axes[0].images[0].origin == "lower"
    rows, columns = np.nonzero(drawn)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (100, 149, 0, 49)


def test_one_entry_is_a_curve_with_histograms_in_its_scale():
    states = np.random.default_rng(0).normal(1, 0.5, (5_000, 1))
    figure = draw(Gaussian((1.0,), 0.5), states={"agent": states})
    (curve,) = dots(figure)
    np.testing.assert_allclose(curve[:, 1], stats.norm(1, 0.5).pdf(curve[:, 0]), rtol=1e-3)
    (steps,) = (p for p in figure.axes[0].patches if isinstance(p, matplotlib.patches.StepPatch))
    heights, edges, _ = steps.get_data()
    assert np.sum(heights * np.diff(edges)) == pytest.approx(1, abs=1e-3)
    assert np.max(heights) == pytest.approx(stats.norm(1, 0.5).pdf(1), rel=0.15)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"states": np.zeros((5, 3))}, r"over 2 numbers, but the states are of shape \(5, 3\)"),
        ({"dimensions": (0, 0)}, "one or two different entries"),
        ({"low": (0, 0)}, "both bounds"),
        ({"low": (0, 0), "high": (1, np.inf)}, "finite numbers"),
        ({"low": (90, 90), "high": (1e3, np.nan)}, "finite numbers"),
    ],
    ids=["states", "dimensions", "low", "inf", "nan"],
)
def test_what_does_not_fit_is_refused(options, words):
    with pytest.raises(SurefootError, match=words):
        draw(HILL, **options)
