"""The driver: what it refuses, that it resumes to the bit, that it compiles once and copies nothing."""

from __future__ import annotations

import dis
import inspect
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import equinox as eqx
import gymnasium
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import surefoot as sf
from surefoot.algorithms import ALGORITHMS, algorithm
from surefoot.data import demonstrations as sets
from surefoot.errors import SurefootError
from surefoot.training import checkpoint, log
from surefoot.training.engine import engine_for
from surefoot.training.fit import _target, check_kept, fit, restore, resume
from surefoot.training.plan import _WITHOUT_DEMONSTRATIONS, Plan, make_plan
from surefoot.training.run import Run, options_of
from training import killed, tiny
from training.tiny import Aiming, Tiny, Walk, WalkGym

TESTS = Path(__file__).parent.parent


@pytest.fixture
def world():
    return sf.make(Walk(), envs=4)


def quick(world, folder, learner=None, **options):
    """Ten blocks of one iteration, two seeds."""
    settings = {"steps": 80, "log_every": 8, "seeds": (0, 7), "progress": False, "run": folder, **options}
    return fit(learner or Tiny(), world, **settings)


def same_files(a: Path, b: Path, *names: str) -> None:
    for name in names:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


EVERYTHING = ("metrics.csv", "policy/policy.json", "policy/seed-0.safetensors", "policy/seed-7.safetensors")


# Lengths -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("iterations", [1, 2, 99, 150, 200, 201, 399, 1000, 3125, 99_991])
def test_blocks_are_100_to_200_of_equal_length_and_reach_the_steps(iterations):
    plan = make_plan(Tiny(), iterations * 8, None, None)
    blocks, rest = divmod(plan.iterations, plan.block)
    assert rest == 0
    assert plan.steps >= iterations * 8
    assert plan.iterations - iterations < plan.block
    assert blocks == iterations if iterations <= 200 else 100 <= blocks <= 200


def test_a_common_length_is_reached_exactly():
    assert make_plan(Tiny(steps_per_iteration=64), 200_000, None, None).steps == 200_000


def test_log_every_and_evaluate_every_are_rounded_to_iterations_and_blocks():
    plan = make_plan(Tiny(), 1000, 30, 100)
    assert (plan.block, plan.iterations, plan.evaluate_blocks) == (4, 128, 3)
    assert make_plan(Tiny(), 16, 1000, None).block == 2  # not longer than the run


def test_actual_number_of_steps_is_recorded(world, tmp_path):
    run = quick(world, tmp_path / "r", steps=81, log_every=24)
    assert run.steps == run.progress == run.metrics()["steps"][-1] == 96
    assert run.finished
    assert run.seeds == (0, 7)
    assert Plan.of(run.config) == make_plan(Tiny(), 81, 24, None)


# What is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": ()}, "seeds is empty"),
        ({"seeds": 0}, "seeds = 0 is out of range"),
        ({"seeds": True}, "say how many"),
        ({"seeds": (1, 1)}, "twice"),
        ({"seeds": (-1,)}, "Seed -1"),
        ({"seeds": (2**31,)}, "Seed 2147483648"),
        ({"steps": 7}, "one iteration of training.tiny:Tiny, which takes 8 steps"),
        ({"steps": 0}, "steps = 0"),
        ({"log_every": 0}, "log_every = 0"),
        ({"evaluate_every": -5}, "evaluate_every = -5"),
        ({"checkpoint_every": -1.0}, "checkpoint_every"),
        ({"learner": Tiny(steps_per_iteration=10)}, "10 steps do not divide evenly over 4 .*multiple of 4"),
        ({"learner": sf.Bc(steps_per_iteration=8)}, "learns from demonstrations"),
        ({"demonstrations": "marble-maze/zon"}, "marble-maze/zone"),
        ({"learner": Tiny}, "The learner is 'Tiny'; give an instance"),
        ({"learner": "bc"}, "The learner is 'bc'"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else "",
)
def test_bad_input_fails_before_anything_is_written(world, tmp_path, options, message):
    with pytest.raises(SurefootError, match=message):
        quick(world, tmp_path / "r", **options)
    assert not (tmp_path / "r").exists()


def test_a_world_by_its_name_and_a_reward_that_nobody_reads_are_refused(world, tmp_path):
    with pytest.raises(SurefootError, match="make one from its name"):
        quick("MarbleMaze-v0", tmp_path / "r")
    paid = sf.relabel(world, lambda s: 0.0 * s[..., 0])
    for learner in (sf.Bc(), sf.Firl(), sf.MaxEntIrl(), sf.Airl(), sf.Gail(), sf.Fmax(), sf.Smm()):
        with pytest.raises(SurefootError, match="learns from no reward of the environment"):
            quick(paid, tmp_path / "r", learner, steps=6400, demonstrations="marble-maze/zone")
    assert not (tmp_path / "r").exists()


def test_a_world_without_a_horizon_is_told_of(world, tmp_path, capfd):
    quick(sf.make(lambda: gymnasium.make("MountainCar-v0").unwrapped, envs=4), tmp_path / "r")
    assert capfd.readouterr().err.count("warning: horizon: nothing says how long an episode may be.") == 1
    quick(world, tmp_path / "s")
    assert "horizon" not in capfd.readouterr().err


def test_evaluation_needs_episodes_that_end(tmp_path):
    world = sf.make(Walk(horizon=None), envs=4)  # type: ignore[arg-type]
    with pytest.raises(SurefootError, match="no horizon"):
        quick(world, tmp_path / "r", evaluate_every=8)


def test_an_existing_run_is_refused_and_overwritten_on_demand(world, tmp_path):
    quick(world, tmp_path / "r")
    before = (tmp_path / "r" / "metrics.csv").read_bytes()
    with pytest.raises(SurefootError, match="exists"):
        quick(world, tmp_path / "r", seeds=(1, 2))
    assert (tmp_path / "r" / "metrics.csv").read_bytes() == before
    assert quick(world, tmp_path / "r", seeds=(1, 2), overwrite=True).seeds == (1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_training_that_fails_at_once_does_not_cost_the_run_that_it_was_to_replace(
    world, tmp_path, monkeypatch, error
):
    def fails(*_):
        raise error("no memory")

    quick(world, tmp_path / "r")
    before = (tmp_path / "r" / "metrics.csv").read_bytes()
    monkeypatch.setattr(Tiny, "iteration", fails)
    with pytest.raises(error):
        quick(world, tmp_path / "r", Tiny(capacity=73), seeds=(1, 2), overwrite=True)
    assert (tmp_path / "r" / "metrics.csv").read_bytes() == before
    assert Run(tmp_path / "r").finished
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_without_costs_it_trains_but_says_so(tmp_path, capfd):
    run = quick(sf.make(Walk(costs=False), envs=4), tmp_path / "r")
    assert run.finished
    assert "violations cannot be measured" in capfd.readouterr().err


def test_a_name_is_found_for_the_run(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = quick(world, None), quick(world, None)
    assert first.path != second.path
    assert first.path.parent == Path("runs")
    assert first.path.name.startswith("Tiny-python-training.tiny.Walk-")


# One program, no copies --------------------------------------------------------------------------------


def test_a_block_is_traced_once_for_the_whole_run_and_for_later_runs_of_the_same_form(world, tmp_path):
    tiny.traces = 0
    learner = Tiny(capacity=72)  # a form that no other test has
    run = quick(world, tmp_path / "a", learner)
    assert len(np.unique(run.metrics()["iteration"])) == 10
    assert tiny.traces == 1
    quick(world, tmp_path / "b", learner, seeds=(1, 2))
    assert tiny.traces == 1


def test_big_arrays_stay_where_they_are(world, tmp_path):
    engine = engine_for(Tiny(capacity=100_000), world, None, (0, 1), 3)
    tree = engine.start()

    def places():
        return [x.unsafe_buffer_pointer() for x in jax.tree.leaves(tree["state"].replay.data)]

    before = places()
    tree, _, _ = engine.run(tree, 0)
    assert places() == before
    checkpoint.save(tmp_path / "c.safetensors", engine.saved(tree), {})
    tree, _, _ = engine.run(tree, 3)
    assert places() == before
    engine.policies(tree), engine.evaluate(tree, 6)
    tree, _, _ = engine.run(tree, 6)
    assert places() == before


def test_no_second_replay_buffer_in_the_memory_of_a_block(world):
    from surefoot.training import engine as module

    engine = engine_for(Tiny(capacity=100_000), world, None, (0, 1), 3)
    fixed = (engine.learner, engine.keys, module._index(0), engine.block)
    tree = engine.start()
    memory = module._block.lower(fixed, **tree).compile().compiled.memory_analysis()
    replay = sum(x.nbytes for x in jax.tree.leaves(tree["state"].replay.data))
    assert memory.alias_size_in_bytes >= replay
    # On a CPU seeds take turns, so that one of them may lie beside the two.
    assert memory.temp_size_in_bytes <= 0.51 * replay


# Numbers -----------------------------------------------------------------------------------------------


def test_numbers_are_those_of_a_plain_loop(world, tmp_path):
    """The documented keys, without scan, vmap or blocks: the same up to rounding."""
    run = quick(world, tmp_path / "r", steps=6 * 8, log_every=16, seeds=(7,))
    base = jax.random.key(7)
    key_world, key_learner = jax.random.split(jax.random.fold_in(base, 0))
    learner = Tiny()
    state, place = learner.init(world.task, key_learner), world.fresh(key_world)
    rows = []
    for i in range(6):
        key = jax.random.fold_in(jax.random.fold_in(base, 1), i)
        state, place, metrics = eqx.filter_jit(learner.iteration)(state, place, key)
        rows.append({name: float(value) for name, value in metrics.items()})
    columns = run.metrics()
    for block in range(3):
        pair = rows[2 * block : 2 * block + 2]
        assert columns["loss"][block] == pytest.approx(np.mean([row["loss"] for row in pair]), rel=1e-5)
        count = sum(row["episodes"] for row in pair)
        assert columns["episodes"][block] == count
        total = sum(np.nan_to_num(row["return"]) * row["episodes"] for row in pair)
        assert columns["return"][block] == pytest.approx(total / count if count else np.nan, nan_ok=True)
    exported = load_file(run.path / "policy" / "seed-7.safetensors")
    np.testing.assert_allclose(exported["weights.0"], state.policy.network.weights[0], rtol=1e-4)


def test_evaluation_changes_nothing_else(world, tmp_path):
    plain = quick(world, tmp_path / "a")
    evaluated = quick(world, tmp_path / "b", evaluate_every=32)
    for name, values in plain.metrics().items():
        np.testing.assert_array_equal(evaluated.metrics()[name], values)
    same_files(plain.path, evaluated.path, *EVERYTHING[1:])
    columns = evaluated.metrics()
    assert {"eval_return", "eval_success", "eval_violating_episodes/left", "eval_cost/left"} <= set(columns)
    due = np.unique(columns["steps"][np.isfinite(columns["eval_return"])])
    np.testing.assert_array_equal(due, [32, 64, 80])
    rates = columns["eval_violating_episodes"][np.isfinite(columns["eval_return"])]
    np.testing.assert_allclose(rates * 20, np.round(rates * 20), atol=1e-5)  # of 20 episodes


def test_evaluations_of_another_number_of_episodes_survive_a_stop(world, tmp_path, monkeypatch):
    whole = quick(world, tmp_path / "whole", evaluate_every=8, evaluate_episodes=7)
    rates = whole.metrics()["eval_violating_episodes"]
    assert np.isfinite(rates).all() and (np.abs(20 * rates - np.round(20 * rates)) > 1e-3).any()
    np.testing.assert_allclose(rates * 7, np.round(rates * 7), atol=1e-5)
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            quick(world, tmp_path / "part", evaluate_every=8, evaluate_episodes=7)
    same_files(whole.path, resume(tmp_path / "part", progress=False).path, "metrics.csv")
    with pytest.raises(SurefootError, match="evaluate_episodes = 0"):
        quick(world, tmp_path / "none", evaluate_every=8, evaluate_episodes=0)


# Stopping and going on ---------------------------------------------------------------------------------


def test_a_finished_run_can_be_made_longer(world, tmp_path):
    whole = quick(world, tmp_path / "whole")
    half = quick(world, tmp_path / "half", steps=whole.config["steps"] // 2)
    assert half.finished
    (half.path / "evaluation.json").write_text("of the policy so far")
    longer = resume(half, steps=whole.config["steps"], progress=False)
    assert longer.finished and Run(half.path).steps == whole.steps
    assert not (half.path / "evaluation.json").exists()
    assert (half.path / "after-40" / "evaluation.json").read_text() == "of the policy so far"
    same_files(whole.path, half.path, *EVERYTHING)
    before = (half.path / "config.json").read_bytes()
    for steps in (whole.config["steps"] - 1, 0, True):
        with pytest.raises(SurefootError, match="planned for"):
            resume(half.path, steps=steps, progress=False)
    assert (half.path / "config.json").read_bytes() == before


def test_a_run_that_cannot_go_on_keeps_its_length(world, tmp_path):
    half = quick(world, tmp_path / "half", steps=40)
    before = (half.path / "config.json").read_bytes()
    (half.path / "evaluation.json").write_text("of the policy so far")
    with pytest.raises(SurefootError, match="was trained in"):
        resume(half.path, sf.make("PointMass-v0", envs=4), steps=80, progress=False)
    assert (half.path / "config.json").read_bytes() == before
    assert (half.path / "evaluation.json").exists()


def also_record(monkeypatch, **options):
    """A run records further options of its learner, which trains no differently: nothing new is compiled."""
    monkeypatch.setattr("surefoot.training.fit.options_of", lambda learner: options_of(learner) | options)


def test_a_run_that_is_all_warm_up_says_so(world, tmp_path, capfd, monkeypatch):
    also_record(monkeypatch, warm_up=40)
    quick(world, tmp_path / "short", steps=40)
    assert "the 40 steps of this run are all warm-up (40), so nothing is learned" in capfd.readouterr().err
    also_record(monkeypatch, learning_starts=47)
    quick(world, tmp_path / "longer", steps=48)
    assert "warm-up" not in capfd.readouterr().err
    also_record(monkeypatch, learning_starts=48)
    quick(world, tmp_path / "later", steps=48)
    assert "all warm-up (48), so nothing is learned; give more --steps, or a smaller --learning-starts" in (
        capfd.readouterr().err
    )


def stop_after(monkeypatch, blocks, number=signal.SIGINT, times=1):
    """A signal arrives while a block is being logged."""
    write, seen = log.Log.write, []

    def counted(self, *arguments):
        write(self, *arguments)
        seen.append(1)
        if len(seen) == blocks:
            for _ in range(times):
                signal.raise_signal(number)

    monkeypatch.setattr(log.Log, "write", counted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_rest_is_the_same_to_the_bit(world, tmp_path, monkeypatch, number):
    whole = quick(world, tmp_path / "whole", evaluate_every=16)
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        stop_after(patch, 4, number)
        with pytest.raises(KeyboardInterrupt, match=f"surefoot resume {tmp_path / 'part'}"):
            quick(world, tmp_path / "part", evaluate_every=16)
    assert signal.getsignal(number) is before
    stopped = Run(tmp_path / "part")
    assert (stopped.progress, stopped.finished) == (32, False)
    run = resume(stopped, progress=False)
    assert run.finished
    same_files(whole.path, run.path, *EVERYTHING, "checkpoints/10.safetensors")


def test_a_second_signal_stops_at_once(world, tmp_path, monkeypatch):
    stop_after(monkeypatch, 4, times=2)
    with pytest.raises(KeyboardInterrupt, match="last checkpoint stands"):
        quick(world, tmp_path / "r")
    assert not Run(tmp_path / "r").checkpoints()


def test_rows_after_the_checkpoint_are_written_again(world, tmp_path):
    whole = quick(world, tmp_path / "whole")
    shutil.copytree(whole.path, tmp_path / "part")
    part = Run(tmp_path / "part")
    (part.path / "checkpoints" / "10.safetensors").unlink()
    with open(part.metrics_path, "ab") as file:
        file.write(b"11,88,0,1.0,2.")
    assert not part.finished
    resume(part, progress=False)
    same_files(whole.path, part.path, *EVERYTHING, "checkpoints/10.safetensors")


@pytest.mark.parametrize("length", [0, 5, 300, -1])
def test_a_checkpoint_cut_short_falls_back_on_the_one_before(world, tmp_path, monkeypatch, capfd, length):
    whole = quick(world, tmp_path / "whole", checkpoint_every=0.0)
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            quick(world, tmp_path / "part", checkpoint_every=0.0)
    newest, previous = Run(tmp_path / "part").checkpoints()  # the last two are kept
    assert (newest.stem, previous.stem) == ("4", "3")
    newest.write_bytes(newest.read_bytes()[:length])
    run = resume(tmp_path / "part", progress=False)
    error = capfd.readouterr().err
    assert "4.safetensors is cut short" in error
    assert "Going back to the one before" in error
    same_files(whole.path, run.path, *EVERYTHING, "checkpoints/10.safetensors")


def test_a_damaged_checkpoint_without_another_is_kept_and_told(world, tmp_path):
    run = quick(world, tmp_path / "part")
    found = list(run.checkpoints())
    for path in found:
        path.write_bytes(path.read_bytes()[:300])
    before = run.metrics_path.read_bytes()
    with pytest.raises(SurefootError, match=r"is cut short or damaged, and .* has no other"):
        resume(run, steps=160, progress=False)
    assert list(run.checkpoints()) == found and run.metrics_path.read_bytes() == before


def test_overwriting_what_a_training_needs_is_refused(world, tmp_path):
    run = quick(world, tmp_path / "r")
    for needed in (run.path, run.path / "policy"):
        with pytest.raises(SurefootError, match="would be deleted"):
            check_kept(run.path, {"start": needed})
    check_kept(run.path, {"start": tmp_path / "other", "reward": None})
    check_kept(tmp_path / "new", {"start": run.path})


def test_without_a_sound_checkpoint_it_begins_again(world, tmp_path):
    whole = quick(world, tmp_path / "whole")
    shutil.copytree(whole.path, tmp_path / "part")
    shutil.rmtree(tmp_path / "part" / "checkpoints")
    shutil.rmtree(tmp_path / "part" / "policy")
    same_files(whole.path, resume(tmp_path / "part", progress=False).path, *EVERYTHING)


def test_a_finished_run_is_left_as_it_is(world, tmp_path):
    run = quick(world, tmp_path / "r")
    times = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    resume(run.path, progress=False)
    assert times == {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}


@pytest.mark.parametrize("damage", ["all", "weights"])
def test_policies_of_a_finished_run_are_exported_again(world, tmp_path, damage):
    run = quick(world, tmp_path / "r")
    before = {path.name: path.read_bytes() for path in (run.path / "policy").iterdir()}
    if damage == "all":
        shutil.rmtree(run.path / "policy")
    else:
        (run.path / "policy" / "seed-7.safetensors").write_bytes(b"cut")
    resume(run.path, progress=False)
    assert {path.name: path.read_bytes() for path in (run.path / "policy").iterdir()} == before


def test_a_learner_ends_where_it_reaches_its_target(world, tmp_path, capfd):
    run = quick(world, tmp_path / "r", Aiming(), progress=True, evaluate_every=24)
    end = "Aiming on Walk reached its target after 40 steps: scale 0.9950, target 0.9955 (seed 0); scale"
    assert end in capfd.readouterr().err
    assert run.finished and (run.progress, run.steps, run.config["steps"]) == (40, 40, 80)
    assert (
        np.isfinite(run.metrics()["eval_return"]).tolist()
        == [False] * 4 + [True] * 2 + [False] * 2 + [True] * 2
    )  # after iterations 3 and 5, two seeds each
    times = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    assert resume(run.path, progress=False).steps == 40
    assert times == {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    plain = quick(world, tmp_path / "plain", steps=40, evaluate_every=24)
    same_files(plain.path, run.path, "metrics.csv", "policy/seed-7.safetensors")


def test_an_end_without_its_checkpoint_is_reached_again(world, tmp_path):
    whole = quick(world, tmp_path / "whole", Aiming(), checkpoint_every=0.0)
    shutil.copytree(whole.path, tmp_path / "part")
    part = Run(tmp_path / "part")
    (part.path / "checkpoints" / "5.safetensors").unlink()
    assert not part.finished and part.steps == 80
    assert resume(part, progress=False).finished
    same_files(whole.path, part.path, *EVERYTHING, "end.json", "checkpoints/5.safetensors")


def test_a_target_that_is_missed_is_said_and_kept(world, tmp_path, capfd):
    run = quick(world, tmp_path / "r", Aiming(low_enough=0.9), seeds=(0,))
    missed = "target: the target was not reached in 80 steps: scale 0.9900, target 0.9; give more --steps."
    assert f"warning: {missed}\n" in capfd.readouterr().err
    assert run.warnings() == [missed] and run.finished and not (run.path / "end.json").exists()


def test_a_target_may_be_reached_in_a_run_that_is_made_longer(world, tmp_path):
    run = quick(world, tmp_path / "r", Aiming(low_enough=0.9875), seeds=(0,))  # in the thirteenth iteration
    assert len(run.warnings()) == 1
    assert resume(run, steps=160, progress=False).steps == 104
    assert not run.warnings()
    with pytest.raises(SurefootError, match="reached its target after 104 steps, so it is not made longer"):
        resume(run, steps=320, progress=False)


def test_all_seeds_must_reach_the_target():
    block = {"scale": np.array([[0.1, 0.1], [0.999, 0.99]])}  # only the last iteration counts
    learner = Aiming(low_enough=0.991)
    assert _target(learner, block, (0, 7)) == (False, "scale 0.9990, target 0.991 (seed 0)")
    assert _target(learner, {"scale": block["scale"][:, 1:]}, (7,)) == (True, "scale 0.9900, target 0.991")
    assert _target(Tiny(), block, (0, 7)) == (False, "")


def unfinished(run: Run) -> Run:
    shutil.rmtree(run.path / "checkpoints")
    return Run(run.path)


def test_resume_refuses_another_learner_world_or_config(world, tmp_path):
    run = quick(world, tmp_path / "r")
    saved = run.path / "checkpoints" / "10.safetensors"
    config = json.loads((run.path / "config.json").read_text())
    config["iterations"] = 20
    (run.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SurefootError, match="same learner"):
        resume(run.path, learner=Tiny(rate=0.5))
    with pytest.raises(SurefootError, match="same world"):
        resume(run.path, sf.make(Walk(length=4), envs=4))
    config["learner"]["options"]["rate"] = 0.5
    (run.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SurefootError, match="other settings"):
        resume(run.path)
    config["learner"]["options"]["capacity"] = 100
    (run.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SurefootError, match=r"does not fit this run: 'state/replay"):
        resume(run.path)
    assert saved.exists()


def test_a_learner_and_a_world_that_cannot_be_imported_can_be_given(tmp_path):
    class Mine(Tiny):
        pass

    world = sf.make(lambda: WalkGym(), envs=2)
    settings = {"steps": 16, "log_every": 8, "seeds": (0, 7), "progress": False}
    run = unfinished(fit(Mine(), world, run=tmp_path / "r", **settings))
    with pytest.raises(SurefootError, match="learner="):
        resume(run.path, world, progress=False)
    with pytest.raises(SurefootError, match="world="):
        resume(run.path, learner=Mine(), progress=False)
    assert resume(run.path, world, learner=Mine(), progress=False).finished


def test_restore_gives_the_newest_state(world, tmp_path):
    run = quick(world, tmp_path / "r", checkpoint_every=0.0)
    found = restore(run)
    assert found.iteration == 10
    np.testing.assert_array_equal(found.state.iteration, [10, 10])
    assert found.state.name == "tiny"
    exported = load_file(run.path / "policy" / "seed-7.safetensors")
    np.testing.assert_array_equal(found.state.policy.network.weights[0][1], exported["weights.0"])
    newest, _ = kept = run.checkpoints()
    newest.write_bytes(newest.read_bytes()[:300])
    assert restore(run).iteration == 9
    assert run.checkpoints() == kept  # a damaged one is removed only when the run goes on


@pytest.mark.timeout(400)
def test_killed_at_random_moments_it_ends_where_an_undisturbed_run_ends(tmp_path):
    whole = killed.train(tmp_path / "whole")
    folder = tmp_path / "part"
    path = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    moments, codes = [], []
    for kill in range(2):
        process = subprocess.Popen(
            [sys.executable, killed.__file__, str(folder)],
            env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        last = Run(folder).progress if folder.exists() else 0
        # Wait until it trains, or for the first time only until it has begun; then any moment will do.
        while process.poll() is None and not (folder.exists() and (kill == 0 or Run(folder).progress > last)):
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        _, error = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0), error
        codes.append(process.returncode)
        moments.append(Run(folder).progress)
    print("killed after", moments, "steps")
    assert -signal.SIGKILL in codes and moments[-1] <= 8 * 120
    run = resume(folder, progress=False)
    assert run.finished
    names = ("metrics.csv", "policy/policy.json", "policy/seed-3.safetensors", "policy/seed-5.safetensors")
    same_files(whole.path, run.path, *names, "checkpoints/120.safetensors")
    assert not list(folder.rglob(".*.tmp"))


# Numbers that are not finite ---------------------------------------------------------------------------


def test_a_metric_that_is_not_finite_is_named_and_the_last_checkpoint_kept(world, tmp_path):
    learner = Tiny(bad_metric_at=5)
    with pytest.raises(SurefootError, match=r"loss became nan \(seed 0, iteration 6, 48 steps\)") as caught:
        quick(world, tmp_path / "r", learner, log_every=16, checkpoint_every=0.0)
    run = Run(tmp_path / "r")
    assert str(run.path / "checkpoints" / "4.safetensors") in str(caught.value)
    assert [path.stem for path in run.checkpoints()] == ["4", "2"]
    assert run.progress == 32


def test_a_weight_that_is_not_finite_is_named(world, tmp_path):
    learner = Tiny(bad_weight_at=5)
    with pytest.raises(SurefootError, match=r"policy/network/biases/0 holds .* \(seed 0, iteration 6,"):
        quick(world, tmp_path / "r", learner)


@pytest.mark.parametrize("density, told", [("python:mine.hill", True), ("", False)])
def test_the_density_is_named_as_a_cause_where_there_is_one(world, tmp_path, monkeypatch, density, told):
    also_record(monkeypatch, density=density)
    with pytest.raises(SurefootError, match="smaller learning rate") as caught:
        quick(world, tmp_path / "r", Tiny(bad_weight_at=5))
    assert ("The likely cause is the density" in str(caught.value)) == told


def test_a_metric_may_begin_late_but_not_vanish_again(world, tmp_path):
    run = quick(world, tmp_path / "a", Tiny(quiet_until=3), log_every=16)
    loss = run.metrics()["loss"].reshape(5, 2)
    np.testing.assert_array_equal(np.isnan(loss).all(axis=1), [True, False, False, False, False])
    with pytest.raises(SurefootError, match="iteration 8,"):
        quick(world, tmp_path / "b", Tiny(quiet_until=3, bad_metric_at=7), log_every=16)
    # Also when the blocks in which it was a number lie before an interrupt.
    part = Run(tmp_path / "b")
    shutil.rmtree(part.path / "checkpoints", ignore_errors=True)
    with pytest.raises(SurefootError, match="iteration 8,"):
        resume(part, progress=False)


# Full disk ---------------------------------------------------------------------------------------------


def test_a_full_disk_costs_nothing_that_was_saved(world, tmp_path, monkeypatch):
    whole = quick(world, tmp_path / "whole")
    fsync, calls = os.fsync, []

    def full(handle):
        calls.append(1)
        if len(calls) > 30:
            raise OSError(28, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SurefootError, match=r"Could not write .*: No space left on device"):
            quick(world, tmp_path / "part", checkpoint_every=0.0)
    part = Run(tmp_path / "part")
    assert part.checkpoints()
    assert not part.finished
    same_files(whole.path, resume(part, progress=False).path, *EVERYTHING)


# Demonstrations ----------------------------------------------------------------------------------------


def walk_demos(episodes=4):
    one = {"observations": np.array([[0, 0], [1, 0.2], [2, 0.4]]), "last": np.array([[3, 0.6]])}
    return sets.Demonstrations(
        observations=np.tile(one["observations"], (episodes, 1)),
        actions=np.ones(3 * episodes, np.int32),
        rewards=np.full(3 * episodes, 0.1),
        costs=np.zeros((3 * episodes, 1)),
        terminations=np.tile([False, False, True], episodes),
        truncations=np.zeros(3 * episodes, bool),
        lengths=np.full(episodes, 3),
        final_observations=np.tile(one["last"], (episodes, 1)),
        constraints=("left",),
    )


def clone(world, folder, demos, **options):
    settings = {"steps": 40, "log_every": 10, "seeds": (0, 7), "progress": False, "run": folder, **options}
    return fit(sf.Bc(steps_per_iteration=10, hidden=(4,)), world, demonstrations=demos, **settings)


def test_demonstrations_from_memory_are_kept_in_the_run(world, tmp_path):
    demos = walk_demos()
    whole = clone(world, tmp_path / "r", demos)
    assert whole.config["demonstrations"] == {"source": None, "digest": demos.digest()}
    files = {name: (whole.path / name).read_bytes() for name in EVERYTHING}
    run = resume(unfinished(whole), progress=False)
    assert files == {name: (run.path / name).read_bytes() for name in EVERYTHING}


def test_demonstrations_are_loaded_again_from_their_folder_and_must_be_the_same(world, tmp_path):
    sets.save(walk_demos(), tmp_path / "demos")
    run = unfinished(clone(world, tmp_path / "r", str(tmp_path / "demos")))
    assert run.config["demonstrations"]["source"] == str(tmp_path / "demos")
    shutil.rmtree(tmp_path / "demos")
    sets.save(walk_demos(3), tmp_path / "demos")
    with pytest.raises(SurefootError, match="have changed since this run began"):
        resume(run, progress=False)


def test_those_that_refuse_demonstrations_are_those_that_ignore_them():
    def read(name: str) -> bool:
        steps = dis.get_instructions(inspect.unwrap(algorithm(name).init))
        loaded = [step.argval for step in steps if step.opname.startswith("LOAD")]
        return any("demonstrations" in (x if isinstance(x, tuple) else (x,)) for x in loaded)

    assert {name for name in ALGORITHMS if not read(name)} == _WITHOUT_DEMONSTRATIONS


def test_demonstrations_that_do_not_fit_are_refused(world, tmp_path):
    with pytest.raises(SurefootError, match="The set 'marble-maze/zone'"):
        clone(world, tmp_path / "r", "marble-maze/zone")
    sets.save(walk_demos(3), tmp_path / "demos")
    with pytest.raises(SurefootError, match="other demonstrations"):
        clone(world, tmp_path / "r", walk_demos(4), source=str(tmp_path / "demos"))
    assert not (tmp_path / "r").exists()


# Worlds on the host ------------------------------------------------------------------------------------


def test_a_world_on_the_host_trains_evaluates_and_resumes(tmp_path, monkeypatch, capfd):
    world = sf.make("python:training.tiny.WalkGym", envs=2)
    settings = {"steps": 32, "evaluate_every": 16}
    whole = quick(world, tmp_path / "whole", **settings)
    assert len(whole.metrics()["steps"]) == 8
    assert np.isfinite(whole.metrics()["eval_return"]).sum() == 4
    again = quick(world, tmp_path / "again", **settings)
    same_files(whole.path, again.path, *EVERYTHING)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            quick(world, tmp_path / "part", **settings)
    run = resume(tmp_path / "part")
    assert "goes on from fresh episodes" in capfd.readouterr().err
    a, b = whole.metrics(), run.metrics()
    np.testing.assert_array_equal(a["loss"][:4], b["loss"][:4])  # two blocks of two seeds
    assert run.finished


def test_cloning_on_the_host_resumes_to_the_bit(tmp_path, monkeypatch):
    world = sf.make("python:training.tiny.WalkGym", envs=2)
    whole = clone(world, tmp_path / "whole", walk_demos())
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            clone(world, tmp_path / "part", walk_demos())
    same_files(whole.path, resume(tmp_path / "part", progress=False).path, *EVERYTHING)


# What is shown -----------------------------------------------------------------------------------------


def test_plain_lines_about_every_tenth(world, tmp_path, capfd):
    quick(world, tmp_path / "r", progress=True, steps=800)
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("warning")]
    assert lines[0] == "training.tiny:Tiny on Walk: 800 steps, 2 seeds; compiling ..."
    assert len(lines) == 11
    assert "800 of 800 steps (100 %)" in lines[-1]
    assert "violating episodes" in lines[-1]


def test_warnings_of_the_detectors_are_printed_once_and_kept(world, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(log.metrics, "signatures", lambda columns: {"runaway lambda, seed 0": "It grew."})
    run = quick(world, tmp_path / "r")
    assert capfd.readouterr().err.count("warning: runaway lambda, seed 0: It grew.") == 1
    assert run.warnings() == ["runaway lambda, seed 0: It grew."]


def test_what_a_learner_cautions_of_is_printed_once_and_kept(world, tmp_path, monkeypatch, capfd):
    def cautions(self, task, iterations):
        return {"ends": f"not in {task.name}, {iterations}."}

    monkeypatch.setattr(Tiny, "cautions", cautions, raising=False)
    run = quick(world, tmp_path / "r")
    assert capfd.readouterr().err.count(f"warning: ends: not in Walk, {run.config['iterations']}.") == 1
    assert run.warnings() == [f"ends: not in Walk, {run.config['iterations']}."]


def test_tensorboard_gets_every_row_and_hides_what_was_logged_twice(world, tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            quick(world, tmp_path / "r")
    run = resume(tmp_path / "r", progress=False)
    columns = run.metrics()
    for seed in (0, 7):
        files = sorted(
            (run.path / "tensorboard" / f"seed-{seed}").iterdir(), key=lambda p: p.stat().st_mtime_ns
        )
        first, second = (list(events(path)) for path in files)
        assert second[1].step == 33  # begins anew here: what the first wrote at later steps is hidden
        assert second[1].HasField("session_log")
        seen = [(e.step, {v.tag: v.simple_value for v in e.summary.value}) for e in first[2:] + second[2:]]
        assert [step for step, _ in seen] == list(range(8, 88, 8))
        loss = columns["loss"][columns["seed"] == seed]
        np.testing.assert_array_equal([values["loss"] for _, values in seen], loss.astype(np.float32))


def events(path):
    """The records of an event file: length, its checksum, event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content = path.read_bytes()
    while content:
        size = int.from_bytes(content[:8], "little")
        yield Event.FromString(content[12 : 12 + size])
        content = content[16 + size :]
