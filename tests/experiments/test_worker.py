"""Real cells, trained and evaluated in processes of their own."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

from surefoot.evaluation.episodes import EpisodeTable
from surefoot.experiments import EXPERT, Cell, Experiment, pools
from surefoot.experiments.pools import Job, launch
from surefoot.experiments.results import read_json, read_summary
from surefoot.experiments.runner import run, steps_done
from surefoot.experiments.worker import Place, each_seed

WORLD = {"board": "gap", "constraints": ["zone"], "envs": 4}
BC = Cell(
    "BC",
    "bc",
    "zone",
    world=WORLD,
    demonstrations="marble-maze/zone",
    steps=150,
    seeds=(0, 3),
    episodes=3,
    options={"hidden": [8], "steps_per_iteration": 50},
)
EXPERT_CELL = Cell("Expert", EXPERT, "zone", world=WORLD, steps=0, episodes=3)


def of(*cells: Cell) -> Experiment:
    return Experiment("real", "", lambda scale: cells, claims="", page="")


@pytest.mark.timeout(300)
def test_a_real_cell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = run(of(BC), "smoke", progress=False)
    assert not outcome.failed
    (record,) = read_summary(outcome.summary)
    assert record["steps"] == 150 and record["seeds"] == [0, 3] and record["algorithm"] == "bc"
    starts = ("", "test_", "greedy_", "greedy_test_")
    for name in ("return", "success", "violating_steps_per_episode", "violating_episodes/zone"):
        for prefix in starts:
            assert record["metrics"][prefix + name]["n"] == 6  # two seeds, three episodes each
    # Means of the seeds and of all episodes are one thing said twice.
    assert np.mean(record["per_seed"]["test_success"]) == pytest.approx(
        record["metrics"]["test_success"]["estimate"], abs=1e-6
    )
    folder = Path("runs/reproduce/real/smoke/zone/BC")
    assert steps_done(folder) == 150
    for name in ("config.json", "policy/policy.json", "evaluation.json", "summary.json"):
        assert (folder / name).exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_jobs_do_not_change_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = dataclasses.replace(BC, method="BC-2", steps=300)
    summaries = [
        run(
            of(EXPERT_CELL, BC, other), "smoke", progress=False, jobs=jobs, out=out, runs=f"runs-{out}"
        ).summary
        for jobs, out in ((1, "one"), (2, "two"))
    ]
    one, two = (read_summary(path) for path in summaries)
    assert one == two
    assert one[0]["metrics"]["violating_episodes"]["estimate"] == 0.0  # the demonstrator is clean


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_cell_that_is_killed_ends_where_it_would_have(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = dataclasses.replace(BC, steps=20_000)
    place = Place(Path("runs/reproduce/real/smoke"), long.name)
    process = launch(Job(long, place, "").plan(), place, pools.environment(1), pools.PROGRAM)
    deadline = time.monotonic() + 200
    while steps_done(place.run) < 2_000:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    if process.stdin:
        process.stdin.close()
    assert steps_done(place.run) < 20_000
    killed = read_summary(run(of(long), "smoke", progress=False).summary)
    whole = read_summary(run(of(long), "smoke", progress=False, out="whole", runs="whole").summary)
    assert killed[0]["metrics"] == whole[0]["metrics"]


def test_command_of_the_worker_names_its_mistakes(tmp_path):
    wrong = dataclasses.replace(BC, options={"hiden": [8]})
    place = Place(tmp_path, wrong.name)
    process = launch(Job(wrong, place, "").plan(), place, pools.environment(1), pools.PROGRAM)
    process.wait(100)
    result = pools.result_of(process, place)
    assert result.code != 0 and "hiden" in result.message
    assert read_json(place.state).keys() == {"training"}


def test_each_seed():
    zeros = np.zeros((2, 2, 1))
    table = EpisodeTable(
        returns=np.array([[1.0, 3.0], [5.0, 5.0]]),
        lengths=np.ones((2, 2), int),
        success=np.array([[True, False], [True, True]]),
        violating_steps_any=np.array([[0, 4], [0, 0]]),
        costs=zeros,
        violating_steps=zeros.astype(int),
        paths=np.zeros((2, 2, 2, 8)),
        path_violations=np.zeros((2, 2, 1, 1), bool),
    )
    assert each_seed(table) == {
        "return": [2.0, 5.0],
        "success": [0.5, 1.0],
        "violating_steps_per_episode": [2.0, 0.0],
        "violating_episodes": [0.5, 0.0],
    }
