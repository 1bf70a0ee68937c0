import json

import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.errors import SurefootError
from surefoot.numerics.density import (
    Function,
    Gaussian,
    Kde,
    Mixture,
    OutsideBox,
    OutsideDisc,
    Product,
    Scaled,
    Sum,
    UniformBox,
)
from surefoot.numerics.density_text import NAMED, density_of, text_of

POINTS = jnp.array([(0.0, 0.0), (1.0, -0.5), (2.0, 3.0)])
HILL = Gaussian((1, 2), 0.5)


@pytest.mark.parametrize(
    "density",
    [
        HILL,
        Gaussian((1, 2), (0.5, 1)),
        Gaussian((1, 2), covariance=((1, 0.5), (0.5, 1))),
        UniformBox((0, 0), (1, 5)),
        Mixture((HILL, UniformBox((0, -1), (1, 1))), (1, 2)),
        Product((Sum((HILL, HILL), (2, 3)), OutsideDisc((0, 0), 0.1), OutsideBox((1, 1), (2, 4)))),
        Scaled(HILL, -0.25),
        Kde(POINTS, 4.0, "gaussian"),
        Function("python:jax.numpy.linalg.norm", normalised=True, size=2),
    ],
    ids=lambda density: type(density).__name__,
)
def test_text_leads_back_to_the_density(density):
    text = text_of(density)
    json.loads(text)
    again = density_of(text)
    assert type(again) is type(density)
    if not isinstance(density, Function):
        np.testing.assert_array_equal(again.log_prob(POINTS), density.log_prob(POINTS))
    assert text_of(again) == text == text_of(text)


def test_names():
    for name, density in NAMED.items():
        assert density_of(name) is density
        assert text_of(density) == name
    assert text_of(Gaussian((2, 2), 0.5)) == "point-mass/gaussian"


def test_a_function_is_its_path():
    text = text_of(jnp.linalg.det)
    assert text == text_of(Function(jnp.linalg.det)) and text.startswith("python:jax.")
    assert density_of(text) == Function(text)
    assert density_of("python:jax.numpy.sum") == Function("python:jax.numpy.sum")


def test_nothing_is_the_empty_text():
    assert text_of(None) == text_of("") == ""


@pytest.mark.parametrize(
    "given, words",
    [
        ("reacher/gausian", "Did you mean 'reacher/gaussian'"),
        ("{gaussian}", "is not JSON"),
        ('{"gausian": {}}', "Did you mean 'gaussian'"),
        ('{"gaussian": {"mean": [1]}}', "needs a std or a covariance"),
        ('{"gaussian": {"std": 1}}', "needs mean"),
        ('{"gaussian": {"mean": [1], "sd": 1}}', "Unknown option of gaussian 'sd'"),
        ('{"gaussian": [1, 2]}', "a table in braces"),
        ("python:no_such_module.f", "there is no module 'no_such_module'"),
        ("python:jax.numpy.no_such", "module 'jax.numpy' has no 'no_such'"),
        ('{"mixture": {"parts": 3}}', "No mixture can be made of {'parts': 3}"),
        ('{"gaussian": {"mean": [1], "std": null}}', "needs a std or a covariance"),
        ('{"gaussian": {"mean": [1], "covariance": 2}}', "is not a matrix"),
        ('{"gaussian": {"mean": [1], "std": "a"}}', "No gaussian can be made of"),
        ('{"kde": {"points": "abc", "bandwidth": 1}}', "No kde can be made of"),
        ('{"kde": {"points": [[1, 1]], "bandwidth": "x"}}', "No kde can be made of"),
        ('{"uniform-box": {"low": [0], "high": [Infinity]}}', "no bound on some side"),
        ("python:math.pi", "is not a function"),
        (lambda points: points, "cannot be imported, so a run could not be resumed"),
        (Kde(jnp.zeros((5_001, 2)), 1.0), "KDE of 5001 points is too long"),
        (7, "is not a density"),
    ],
    ids=lambda value: "a function" if callable(value) else str(value),
)
def test_clear_errors(given, words):
    with pytest.raises(SurefootError, match=words):
        text_of(given)
