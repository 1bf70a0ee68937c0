"""Cells that use the run of another cell."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from surefoot.data import demonstrations as sets
from surefoot.errors import SurefootError
from surefoot.experiments import POLICY, UNTRAINED, Cell, Experiment, sources
from surefoot.experiments.identity import digests
from surefoot.experiments.pools import Job, pack, run_remotely
from surefoot.experiments.results import read_json, read_summary, versions
from surefoot.experiments.runner import look, run, with_sources, work_of
from surefoot.experiments.worker import Place, run_cell

RUNS = Path("runs/reproduce/stub/smoke")


def cell(name: str, source: Cell | None = None, **options) -> Cell:
    takes = {"reward": {"seed": 0}} if source else {}
    return Cell(name, "sac", "s", options=options, steps=100, episodes=10, source=source, takes=takes)


def of(*cells: Cell, name: str = "stub") -> Experiment:
    return Experiment(name, "", lambda scale: cells, claims="", page="")


def tries(name: str) -> list[str]:
    path = RUNS / ".cells/s" / f"{name}.tries"
    return path.read_text().split() if path.exists() else []


# Identity -------------------------------------------------------------------------------------------


def test_a_cell_with_a_source_survives_json():
    first = dataclasses.replace(cell("first"), seeds=(0, 1), training_metrics=("return",))
    last = cell("last", cell("second", first))
    again = Cell.from_dict(json.loads(json.dumps(last.as_dict())))
    assert again == last
    assert again.source is not None and again.source.source == first


def test_a_cell_without_a_source_keeps_its_digest():
    # Of 0.1.0, before there were sources; {} stands for what is outside the cell.
    old = Cell("BC", "bc", "zone", steps=150, seeds=(0, 3), episodes=3)
    assert old.training_digest({}) == "25e134d8c7d1514d68967bb7ced851651b94ab30a668b4b16357321a79ad1548"
    assert old.digest({}) == "7b32935c0f3e18e69ca758ead7a7f6b782995e34e76c71ebdef90fa5c5e0e753"


def test_a_source_is_part_of_the_training_but_its_evaluation_is_not():
    source = cell("source")
    user = cell("user", source)

    def differs(other: Cell) -> bool:
        return digests(other)[0] != digests(user)[0]

    assert differs(dataclasses.replace(user, source=None))
    assert differs(dataclasses.replace(user, source=dataclasses.replace(source, steps=200)))
    assert differs(dataclasses.replace(user, takes={"reward": {"seed": 1}}))
    assert not differs(dataclasses.replace(user, source=dataclasses.replace(source, episodes=99)))
    demos = dataclasses.replace(source, demonstrations="marble-maze/zone")
    assert digests(demos) != digests(dataclasses.replace(demos, first=2))


# Order ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 3])
def test_sources_run_first(program, jobs):
    # With three jobs the first cell ends only when the last one has begun, which it does beside it.
    a = cell("a", **({"beside": "d"} if jobs == 3 else {}))
    b = cell("b", a)
    c = cell("c", b)
    outcome = run(of(c, b, a, cell("d")), "smoke", progress=False, jobs=jobs)
    assert not outcome.failed
    order = [name for name in outcome.done if name != "s/d"]
    assert order == ["s/a", "s/b", "s/c"]
    assert "s/d" in outcome.done and (jobs == 3 or outcome.done[-1] == "s/d")
    records = {record["cell"]: record for record in read_summary(outcome.summary)}
    assert records["s/c"]["source"] == "s/b" and records["s/c"]["takes"] == {"reward": {"seed": 0}}
    assert "source" not in records["s/a"]


def test_only_brings_sources_along_but_not_again(program):
    a = cell("a")
    made = of(a, cell("b", a), cell("c"))
    assert [c.name for c in with_sources(made.at("smoke", ("*/b",)))] == ["s/a", "s/b"]
    assert run(made, "smoke", progress=False, only=["*/b"]).done == ("s/a", "s/b")
    again = run(made, "smoke", progress=False, only=["*/b"], fresh=True)
    assert again.done == ("s/b",) and again.skipped == ("s/a",)
    assert len(tries("a")) == 1 and len(tries("b")) == 2
    assert work_of(made.cells("smoke")[1]) == "sac, 100 steps, 1 seed, reward of s/a"


def test_a_source_that_fails_takes_its_users_with_it(program):
    a = cell("a", mistake=1)
    b = cell("b", a)
    outcome = run(of(a, b, cell("c", b), cell("d")), "smoke", progress=False, jobs=2)
    assert outcome.done == ("s/d",)
    assert outcome.failed == {
        "s/a": "the option does not fit",
        "s/b": "s/a, whose run it uses, failed",
        "s/c": "s/b, whose run it uses, failed",
    }
    assert not tries("b") and not tries("c")


def test_a_user_is_run_again_when_its_source_is_another(program):
    a = cell("a")
    run(of(a, cell("b", a)), "smoke", progress=False)
    judged_more = dataclasses.replace(a, episodes=20)
    assert run(of(judged_more, cell("b", judged_more)), "smoke", progress=False).done == ("s/a",)
    longer = dataclasses.replace(a, steps=200)
    words = [state.word for state in look((longer, cell("b", longer)), RUNS)]
    assert words == ["to do", "to do"]


def test_cells_with_the_same_problem_share_a_line(program, capfd):
    a = dataclasses.replace(cell("a"), environment="FixedHopper-v0", demonstrations="mujoco/no-such-body")
    outcome = run(of(a, cell("b", a), cell("c")), "smoke")
    lines = [line for line in capfd.readouterr().err.splitlines() if "FAILED" in line]
    assert len(lines) == 1 and "s/a and 1 more" in lines[0]
    assert "surefoot expert train --env FixedHopper-v0 --run runs/no-such-body" in lines[0]
    assert "surefoot demos collect --from runs/no-such-body --episodes 16 --best" in lines[0]
    assert set(outcome.failed) == {"s/a", "s/b"} and outcome.done == ("s/c",)


def test_a_source_that_is_not_finished_is_named(tmp_path):
    with pytest.raises(SurefootError, match=r"s/b uses the run of s/a, which is not finished"):
        sources.finished(cell("b", cell("a")), Place(tmp_path, "s/b"))


# Elsewhere ------------------------------------------------------------------------------------------


def test_a_machine_without_the_folder_is_given_the_source(program, tmp_path):
    a = cell("a")
    run(of(a), "smoke", progress=False)
    b = cell("b", a)
    plan = Job(b, Place(tmp_path / "not-shared/stub/smoke", b.name), "").plan()
    arguments = (plan, "token", {}, versions()["surefoot"], (str(program),))
    assert "s/a, which is not finished" in run_remotely(*arguments)["message"]
    assert run_remotely(*arguments, pack(Place(RUNS, "s/a")))["code"] == 0


def test_the_same_training_in_another_experiment_is_taken_over(program):
    run(of(cell("a")), "smoke", progress=False)
    other = of(cell("a"), name="other")
    assert run(other, "smoke", progress=False, only=["*/a"]).done == ("s/a",)
    there = Path("runs/reproduce/other/smoke")
    assert (there / ".cells/s/a.tries").read_text() == "usable=True\n"
    assert (there / "s/a/metrics.csv").read_bytes() == (RUNS / "s/a/metrics.csv").read_bytes()
    assert not list(there.rglob("*.copy"))
    # Not with another setting, nor where everything is wanted anew.
    run(of(cell("a", sleep=0.01), name="third"), "smoke", progress=False)
    run(other, "smoke", progress=False, fresh=True)
    assert Path("runs/reproduce/third/smoke/.cells/s/a.tries").read_text() == "usable=False\n"
    assert (there / ".cells/s/a.tries").read_text() == "usable=True\nusable=False\n"


# What is taken --------------------------------------------------------------------------------------


def test_reordered_actions():
    from surefoot.training.policy_io import DeployedPolicy

    rng = np.random.default_rng(0)
    policy = DeployedPolicy(
        kind="squashed-gaussian",
        activation="relu",
        weights=(rng.normal(size=(5, 8)), rng.normal(size=(8, 6))),
        biases=(rng.normal(size=8), rng.normal(size=6)),
        log_std=None,
        low=np.array([-1.0, -2.0, -3.0]),
        high=np.array([1.0, 2.0, 4.0]),
        description={},
        seed=0,
    )
    seen = rng.normal(size=5)
    order = [2, 0, 1]
    np.testing.assert_allclose(sources.reordered(policy, order).mode(seen), policy.mode(seen)[order])

    def drawn(chosen: DeployedPolicy) -> np.ndarray:
        noise = np.random.default_rng(1)
        return np.array([chosen.act(seen, noise) for _ in range(5_000)])

    spread, mixed = drawn(policy).std(axis=0), drawn(sources.reordered(policy, order)).std(axis=0)
    np.testing.assert_allclose(mixed, spread[order], rtol=0.05)


@pytest.mark.timeout(300)
def test_a_controller_makes_the_start_of_other_cells(tmp_path):
    from safetensors.numpy import load_file

    small: dict = {"hidden": [8], "critic_hidden": [8], "batch_steps": 20, "exploration": 0.05}
    walk: dict = {"environment": "NoisyWalk-v0", "steps": 20, "episodes": 4, "log_every": 20}
    begin = Cell(
        "walk back", "safe-start", "s", options=small | {"cloning_steps": 300, "target_cost": 2.0},
        takes={"controller": {"name": "noisy_walk:WalkBack", "episodes": 50}}, **walk,
    )  # fmt: skip
    still = small | {"radius": 1e-12}  # so that what it ends with is what it began with
    made = {
        critics: Cell(
            f"from {critics}", "backtrack", "s", options=still, source=begin, seeds=(3,),
            takes={"start": {"critics": critics}}, **walk,
        )
        for critics in (True, False)
    }  # fmt: skip
    record = run_cell(begin, Place(tmp_path, begin.name), "")
    assert record["takes"] == begin.takes and "source" not in record
    shown = sets.load(str(tmp_path / begin.name / "demonstrations"))
    np.testing.assert_allclose(shown.actions, np.clip(-shown.observations, -0.2, 0.2), atol=1e-6)
    assert shown.episodes == 50
    for critics, each in made.items():
        run_cell(each, Place(tmp_path, each.name), "")
        config = read_json(tmp_path / each.name / "config.json")
        assert config["start"].endswith("walk-back" if critics else "walk-back/policy")
    theirs = load_file(tmp_path / begin.name / "policy/seed-0.safetensors")
    ours = load_file(tmp_path / made[True].name / "policy/seed-3.safetensors")
    np.testing.assert_allclose(ours["weights.0"], theirs["weights.0"], atol=1e-4)


SAC = {
    "hidden": [8],
    "steps_per_iteration": 40,
    "warm_up": 40,
    "batch_size": 16,
    "replay_capacity": 400,
}
ROOM = {"size": 6.0, "reward": "goals", "envs": 4}


@pytest.mark.timeout(300)
def test_real_cells_use_each_others_runs(tmp_path):
    from surefoot.data import demonstrations as sets

    room: dict = {"environment": "PointMass-v0", "world": ROOM, "steps": 80, "episodes": 4}
    expert = Cell("expert", "sac", "s", options=SAC, seeds=(3,), **room)
    learner = SAC | {"trajectories": 4, "ratio_updates": 2, "ratio_hidden": 8, "reward_hidden": 8}
    shown = Cell(
        "shown", "firl", "s", options=learner | {"steps_per_round": 20}, source=expert, first=1,
        takes={"demonstrations": {"played": 6, "kept": 3}}, **room,
    )  # fmt: skip
    paid = Cell("paid", "sac", "s", options=SAC, source=shown, takes={"reward": {"seed": 0}}, **room)
    how = {"seed": 0, "weight": 0.5, "discount": 0.99}
    helped = Cell("helped", "sac", "s", options=SAC, source=shown, takes={"prior": how}, **room)
    same = Cell("same", POLICY, "s", seeds=(3,), source=expert, takes={"policy": {}}, **room)
    fresh = Cell("fresh", UNTRAINED, "s", seeds=(0, 1, 2), options={"hidden": [8]}, **room)

    records = {
        each.method: run_cell(each, Place(tmp_path, each.name), "")
        for each in (expert, shown, paid, helped, same, fresh)
    }
    kept = sets.load(str(tmp_path / "s/shown/demonstrations"))
    assert kept.episodes == 1 and kept.name == "first 1 of best of s/expert"
    config = {name: read_json(tmp_path / "s" / name / "config.json") for name in ("paid", "helped")}
    assert config["paid"]["reward"]["prior_weight"] is None
    assert config["helped"]["reward"]["prior_weight"] == 0.5
    assert (tmp_path / "s/paid/given_reward/seed-0.safetensors").read_bytes() == (
        tmp_path / "s/shown/reward/seed-0.safetensors"
    ).read_bytes()
    # The same policies, starts and chances: the same numbers as in the evaluation of their own run.
    assert records["same"]["metrics"] == records["expert"]["metrics"]
    assert records["same"]["steps"] == 0 and records["fresh"]["metrics"]["return"]["n"] == 12
