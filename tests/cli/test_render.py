"""``surefoot render``: pictures of the maze from an evaluation, of other environments from new episodes."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import gymnasium
import numpy as np
import pytest
from PIL import Image

import surefoot as sf
from reports.conftest import make_run
from surefoot.training.run import Run
from surefoot.worlds import describe
from training.tiny import Walk

SMALL = "--steps 256 --envs 4 --no-progress --warm-up 64 --hidden 4 --batch-size 8".split()


@pytest.fixture
def maze_run(surefoot, tmp_path):
    assert surefoot("train", "discrete-sac", *SMALL, "--seeds", "2", "--run", "runs/maze").code == 0
    assert surefoot("evaluate", "maze", "--episodes", "3").code == 0
    return tmp_path / "runs" / "maze"


def frames(path):
    with Image.open(path) as image:
        return image.size, image.n_frames


def test_draws_the_episodes_of_the_evaluation(surefoot, maze_run, tmp_path, monkeypatch):
    done = surefoot("render", "maze", "--episodes", "1", "--size", "80")
    assert (done.code, done.err) == (0, "")
    size, count = frames(maze_run / "rollouts.gif")
    assert size == (80, 80)
    with np.load(maze_run / "rollouts.npz") as saved:
        drawn = saved["test_lengths"][0, 0] + 1
    assert done.out == f"runs/maze/rollouts.gif: 1 episode, {drawn} pictures\n"
    assert 1 < count <= drawn  # equal pictures become one that stays longer
    words = "--episodes 9 --seed 1 --starts train --from-above --out x.gif --size 64".split()
    done = surefoot("render", "maze", *words)
    assert done.out.startswith("x.gif: 3 episodes, ")
    assert frames(tmp_path / "x.gif")[0] == (64, 64)

    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    done = surefoot("render", "maze", "--out", "x.mp4")
    assert done.code == 2
    assert 'pip install "surefoot[video]"' in done.err
    assert not (tmp_path / "x.mp4").exists()


@pytest.mark.skipif(find_spec("imageio_ffmpeg") is None, reason="the extra is not installed")
def test_writes_mp4_with_the_extra(surefoot, maze_run, tmp_path):
    done = surefoot("render", "maze", "--episodes", "1", "--size", "81", "--out", "film.mp4")
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []


def test_environments_in_jax_are_drawn_by_their_form_for_gymnasium(surefoot, tmp_path):
    words = "sac --env PointMass-v0 --size 6 --steps 128 --envs 4 --no-progress --warm-up 64 --hidden 4"
    assert surefoot("train", *words.split(), "--steps-per-iteration", "64", "--run", "runs/dot").code == 0
    done = surefoot("render", "dot", "--episodes", "2")
    assert (done.code, done.err) == (0, "")
    assert done.out == "runs/dot/rollouts.gif: 2 episodes, 60 pictures\n"  # 29 steps and the start
    assert frames(tmp_path / "runs/dot/rollouts.gif")[0] == (480, 480)


def test_an_environment_of_ones_own_in_jax_cannot_be_drawn(surefoot, tmp_path):
    config = {"learner": {"name": "discrete-sac", "options": {}}, "seeds": [0], "steps": 8, "iterations": 1}
    Run.create(tmp_path / "own", config | {"world": describe(sf.make(Walk(), envs=2))})
    done = surefoot("render", "own")
    assert done.code == 2 and "training.tiny.Walk, is written in JAX and cannot be drawn" in done.err


def test_a_world_without_a_name_cannot_be_drawn(surefoot, tmp_path):
    config = {"learner": {"name": "sac", "options": {}}, "seeds": [0], "steps": 8, "iterations": 1}
    world = {"id": None, "envs": 1, "options": {}}
    Run.create(tmp_path / "own", config | {"world": world})
    done = surefoot("render", "own")
    assert done.code == 2 and "was made by a function that cannot be found again" in done.err


class Blink(gymnasium.Env):
    """Black and white in turn, for five steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(0, 1, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.time = 0

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.zeros(1, np.float32), 0.0, self.time == 5, False, {"cost": 0.0}

    def render(self):
        return np.full((20, 30, 3), 255 * (self.time % 2), np.uint8)


def test_draws_environments_of_gymnasium(surefoot, tmp_path, monkeypatch):
    monkeypatch.setitem(
        gymnasium.registry, "Blink-v0", gymnasium.envs.registration.EnvSpec("Blink-v0", entry_point=Blink)
    )
    words = ("--env", "gymnasium:Blink-v0", "--horizon", "20", "--run", "blink")
    assert surefoot("train", "discrete-sac", *SMALL, *words).code == 0
    done = surefoot("render", "blink", "--episodes", "2")
    assert (done.code, done.err) == (0, "")
    assert done.out == "blink/rollouts.gif: 2 episodes, 12 pictures\n"
    assert frames(tmp_path / "blink" / "rollouts.gif") == ((30, 20), 12)

    monkeypatch.setattr(Blink, "render", lambda self: None)
    done = surefoot("render", "blink")
    assert done.code == 2
    assert "draws no pictures" in done.err
    monkeypatch.setattr(Blink, "render", lambda self: np.zeros((20, 30, 3)))
    done = surefoot("render", "blink")
    assert done.code == 2 and "draws arrays (20, 30, 3) of type float64" in done.err
    monkeypatch.setattr(Blink, "render", lambda self: np.zeros((20, 30, 4), np.uint8))
    assert surefoot("render", "blink", "--episodes", "1").code == 0
    monkeypatch.setattr(Blink, "__init__", lambda self: setattr(self, "time", 0))
    done = surefoot("render", "blink")
    assert done.code == 2 and "takes no render_mode, so it cannot be drawn" in done.err, done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "See `surefoot render --help`."),
        (["nowhere"], "There is no run folder nowhere."),
        (["nowhere", "--episodes", "0"], "episodes = 0"),
        (["nowhere", "--size", "5000"], "size = 5000"),
        (["nowhere", "--starts", "tests"], "Expected one of"),
    ],
)
def test_bad_input_is_one_line(surefoot, words, said):
    done = surefoot("render", *words)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_what_a_run_must_have(surefoot, tmp_path):
    make_run(tmp_path / "maze", "discrete-sac", seeds=1, evaluated=False)
    for words, said in {
        (): "surefoot evaluate",
        ("--out", "x.mov"): "must end in .gif or .mp4",
        ("--seed", "5"): "this run has the seeds 0",
    }.items():
        done = surefoot("render", "maze", *words)
        assert done.code == 2
        assert said in done.err
        assert done.err.count("\n") == 1
