"""`surefoot density show`: numbers, pictures, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from surefoot.data.demonstrations import Demonstrations, save

GAUSSIAN = '{"gaussian": {"mean": [2, 2], "std": 0.5}}'


def show(surefoot, *words):
    return surefoot("density", "show", *words)


def test_a_named_density_finds_its_own_bounds(surefoot, tmp_path):
    found = show(surefoot, "point-mass/gaussian")
    assert found.code == 0, found.err
    assert "entries 0, 1 in 0 .. 4 x 0 .. 4" in found.out
    rows = dict(line.strip().split("  ", 1) for line in found.out.splitlines() if "  " in line.strip())
    assert rows["integral there"].strip() == "1.000" and rows["normalised"].strip() == "yes"
    with Image.open(tmp_path / "density.png") as picture:
        assert picture.width > 400
        # Yellow at the middle of the hill, dark at its edge (viridis).
        pixels = np.asarray(picture.convert("RGB"), int)
    yellow = (pixels[..., 0] > 240) & (pixels[..., 1] > 200) & (pixels[..., 2] < 80)
    assert yellow.any()


def test_what_is_truncated_and_not_made_larger_only_counts_as_normalised(surefoot):
    found = show(surefoot, "reacher/gaussian")
    assert found.code == 0, found.err
    assert "normalised      taken to be" in found.out


def test_the_integral_is_that_of_the_picture(surefoot):
    found = show(surefoot, GAUSSIAN, "--low", "2", "2", "--high", "4", "4", "--out", "part.svg")
    assert found.code == 0, found.err
    assert "integral there  0.250" in found.out


def test_one_entry_is_a_curve_and_an_energy_says_so(surefoot, tmp_path):
    energy = '{"sum": {"parts": [{"gaussian": {"mean": [-1], "std": 0.5}}], "weights": [7]}}'
    found = show(surefoot, energy, "--out", "curve.svg")
    assert found.code == 0, found.err
    assert "  1 number\n" in found.out
    assert "no: for rkl alone" in found.out and "integral" not in found.out
    assert "not normalised" in (tmp_path / "curve.svg").read_text()


def test_a_region_of_zero_and_a_function_in_this_folder(surefoot, tmp_path):
    (tmp_path / "hills.py").write_text("def ridge(x):\n    return -abs(x[:, 0])\n")
    words = ("--low", "-1", "-1", "--high", "1", "1")
    assert "zero there  0.0%" in show(surefoot, "python:hills.ridge", *words).out
    disc = '{"outside-disc": {"centre": [0, 0], "radius": 0.5}}'
    found = show(surefoot, disc, *words)
    assert found.code == 0, found.err
    zero = float(found.out.partition("zero there")[2].partition("%")[0])
    assert zero == pytest.approx(100 * np.pi / 16, abs=0.2)  # pi / 4 of an area of 4


def test_states_of_demonstrations_are_counted(surefoot, tmp_path):
    states = np.stack([np.zeros(4), np.linspace(0, 3, 4), np.full(4, 0.5)], axis=1).astype(np.float32)
    demos = Demonstrations(
        observations=states,
        actions=np.zeros(4, np.int32),
        rewards=np.zeros(4, np.float32),
        costs=np.zeros((4, 0), np.float32),
        terminations=np.zeros(4, bool),
        truncations=np.arange(4) == 3,
        lengths=np.array([4]),
        final_observations=np.zeros((1, 3), np.float32),
        constraints=(),
        metadata={"environment": {"id": "gymnasium:CartPole-v1", "options": {}}},
        name="some",
    )
    save(demos, tmp_path / "demos")
    box = '{"uniform-box": {"low": [-0.5, 0], "high": [1.5, 1]}}'
    words = ("--states", "demos", "--state-indices")
    found = show(surefoot, box, *words, "1", "2")
    assert found.code == 0, found.err
    assert "4, of which 50.0% where the density is zero" in found.out
    wrong = show(surefoot, box, *words, "1", "3")
    assert wrong.code == 2 and "--state-indices 1 3: give 2 of the entries 0 to 2" in wrong.err


def test_without_a_density_it_lists_them(surefoot):
    assert "reacher/mixture\n" in show(surefoot).out
    assert "usage: surefoot density show" in surefoot("density").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["point-mass/mixtur"], "Did you mean 'point-mass/mixture'"),
        (["{"], "is not JSON"),
        (['{"gaussian": {"mean": [2, NaN], "std": 1}}'], "all of them finite"),
        (['{"gausian": {}}'], "Did you mean 'gaussian'"),
        (['{"uniform-box": {"low": [0, 0], "high": [1, Infinity]}}'], "needs finite bounds"),
        (['{"outside-disc": {"centre": [0, 0], "radius": 1}}'], "does not say where it lies"),
        (["python:jax.numpy.sum"], "does not say where it lies"),
        (["python:nowhere.at_all"], "there is no module 'nowhere'"),
        (["python:wanting.log_density"], "cannot be imported: No module named 'a_missing_one'"),
        ([GAUSSIAN, "--low", "0", "0"], "both bounds"),
        ([GAUSSIAN, "--low", "0", "0", "--high", "4"], "so 2 in each"),
        ([GAUSSIAN, "--low", "0", "nan", "--high", "4", "4"], "finite numbers"),
        ([GAUSSIAN, "--low", "0", "5", "--high", "4", "4"], "each of low below"),
        ([GAUSSIAN, "--low", "50", "50", "--high", "60", "inf"], "finite numbers"),
        ([GAUSSIAN, "--dimensions", "0", "2"], "of 0 to 1"),
        ([GAUSSIAN, "--at", "0"], "a whole state, 2 finite numbers"),
        ([GAUSSIAN, "--out", "a.jpeg"], "must end in .png, .svg, .pdf"),
        ([GAUSSIAN, "--states", "nowhere"], "nowhere"),
        (["python:broken.nan", "--low", "0", "0", "--high", "1", "1"], "not a number (NaN) at"),
        (["python:broken.short", "--low", "0", "0", "--high", "1", "1"], "must return one number a point"),
        (["python:broken.mistaken", "--low", "0", "0", "--high", "1", "1"], "python:broken.mistaken failed"),
        (['{"uniform-box": {"low": [0], "high": [1]}}', "--low", "5", "--high", "6"], "zero at all"),
    ],
)
def test_bad_input_is_one_line(surefoot, tmp_path, words, message):
    (tmp_path / "broken.py").write_text(
        "def nan(x):\n    return 0 / (0 * x[:, 0])\n\n"
        "def short(x):\n    return x[:1, 0]\n\n"
        "def mistaken(x):\n    return x[:, 0].nothing\n"
    )
    (tmp_path / "wanting.py").write_text("import a_missing_one\n")
    found = show(surefoot, *words)
    assert found.code == 2
    assert message in found.err
    assert found.err.count("\n") == 1
    assert not (tmp_path / "density.png").exists()


def test_an_unknown_use(surefoot):
    found = surefoot("density", "shwo", "x")
    assert found.code == 2 and "Did you mean 'show'" in found.err
