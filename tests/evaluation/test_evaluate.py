"""From a run folder to estimates and files; what a user gets wrong is named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import surefoot as sf
from surefoot.errors import SurefootError
from surefoot.evaluation import rollouts
from surefoot.evaluation.episodes import EpisodeTable, read_tables, summarise
from surefoot.evaluation.evaluate import (
    Evaluation,
    evaluate,
    evaluate_policy,
    read,
    setting_of,
    steps_behind,
    summary_cell,
    table,
    texts,
)
from surefoot.evaluation.statistics import Estimate
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import BoundedGaussianPolicy, CategoricalPolicy, GaussianPolicy
from surefoot.task import Box, Task
from surefoot.training.policy_io import load_policy, save_policy
from surefoot.training.run import Run
from surefoot.worlds import describe

SEEDS = (0, 3)


def policies(observations: int, actions: int) -> list[CategoricalPolicy]:
    keys = jax.random.split(jax.random.key(0), len(SEEDS))
    return [CategoricalPolicy(Mlp.create((observations, 4, actions), key)) for key in keys]


def run_of(path: Path, world, **config) -> Run:
    """A run folder with untrained policies, as training leaves it."""
    task = world.task
    run = Run.create(
        path,
        {
            "learner": {"name": "discrete-sac", "options": {}},
            "world": describe(world),
            "demonstrations": None,
            "seeds": list(SEEDS),
            "steps": 64,
            "iterations": 4,
            "command": "surefoot train discrete-sac",
            "versions": {"surefoot": "0.1.0"},
            **config,
        },
    )
    save_policy(path / "policy", policies(task.observation.size, task.discrete_actions), task, SEEDS)
    (path / "metrics.csv").write_text("iteration,steps,seed,return\n4,64,0,1.0\n4,64,3,nan\n")
    return run


@pytest.fixture(scope="module")
def maze(tmp_path_factory) -> tuple[Run, Evaluation]:
    world = sf.make("MarbleMaze-v0", constraints=("zone", "speed"), envs=2)
    run = run_of(tmp_path_factory.mktemp("runs") / "maze", world)
    return run, evaluate(run, episodes=8)


def test_metrics_are_those_of_the_episodes(maze):
    run, found = maze
    tables = read_tables(run.path / "rollouts.npz")
    assert set(tables) == set(found.tables) == {"", "test_"}
    for prefix, each in tables.items():
        assert each.returns.shape == (2, 8)
        for name, value in summarise(each, ("zone", "speed"), True, prefix, (0.0, 0.0)).items():
            assert found.metrics[name] == value
    assert found.violation_rate == found.metrics["violating_episodes"]
    assert found.violation_rate.n == 16
    assert found.table is found.tables[""]
    assert (found.steps, found.seeds, found.method) == (64, SEEDS, "discrete-sac")


def test_the_steps_are_those_behind_the_policy(maze, tmp_path):
    """A run that was killed has metrics of later blocks."""
    world = sf.make("MarbleMaze-v0", envs=2)
    run = run_of(tmp_path / "killed", world, steps_per_iteration=16)
    assert steps_behind(maze[0]) == 64  # of an earlier version: its export says nothing
    save_policy(run.path / "policy", policies(8, 9), world.task, SEEDS, notes={"iteration": 3})
    assert run.progress == 64 and steps_behind(run) == 48
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / "2.safetensors").touch()
    assert steps_behind(run) == 48 and steps_behind(run, planner=True) == 32


def test_train_and_test_episodes_begin_at_their_own_starts(maze):
    from surefoot.envs.marble_maze_board import starts
    from surefoot.evaluation.evaluate import maze_positions

    for prefix, name in {"": "train", "test_": "test"}.items():
        begun = maze_positions(maze[1].tables[prefix].paths[:, :, 0]).reshape(-1, 2)
        gaps = np.linalg.norm(begun[:, None] - starts(name)[None], axis=2).min(axis=1)
        assert gaps.max() < 1e-3


def test_the_file_says_the_same(maze):
    run, found = maze
    again = read(run.path)
    assert again.metrics == found.metrics
    assert again == replace(found, tables={})
    (cell,) = json.loads((run.path / "summary.json").read_text())
    assert cell == summary_cell(run.config, found)
    assert cell["metrics"]["test_violating_episodes/zone"].keys() == {"estimate", "lower", "upper", "n"}
    assert (cell["method"], cell["setting"], cell["steps"], cell["seeds"]) == (
        "discrete-sac",
        "zone+speed",
        64,
        [0, 3],
    )
    assert cell["command"] == "surefoot train discrete-sac" and cell["published"] == {}


def test_the_same_seed_gives_the_same_numbers_and_no_file_if_not_asked(maze, tmp_path):
    run, found = maze
    before = (run.path / "evaluation.json").read_bytes()
    assert evaluate(str(run.path), episodes=8, out=False).metrics == found.metrics
    other = evaluate(run, episodes=8, seed=1, out=False)
    assert other.metrics["return"] != found.metrics["return"]
    assert (run.path / "evaluation.json").read_bytes() == before


def test_policies_at_hand_are_judged_like_exported_ones(maze):
    found = maze[1]
    world = sf.make("MarbleMaze-v0", constraints=("zone", "speed"), envs=2)
    stacked = rollouts.stack(policies(8, 9))
    assert evaluate_policy(stacked, world, episodes=8) == found.metrics


def test_the_table_names_everything(maze):
    text = table(maze[1])
    assert "train starts" in text and "test starts" in text and "n = 16" in text
    assert "violating_episodes/zone" in text
    assert texts("test_success", Estimate(0.123, 0.1, 0.2, 5)) == ("12.3 %", "[10.0, 20.0]")
    assert texts("return", Estimate(float("nan"), 0.0, 1.0, 0)) == ("-", "")


def test_exported_policies_act_as_the_numpy_ones(tmp_path):
    network = Mlp.create((3, 5, 2), jax.random.key(1), activation="tanh")
    task = Task("t", Box((3,), (-1.0,) * 3, (1.0,) * 3), Box((2,), (-9.0,) * 2, (9.0,) * 2))
    save_policy(tmp_path, [GaussianPolicy(network, jax.numpy.zeros(2))], task, [0])
    deployed = load_policy(tmp_path)
    x = np.array([0.2, -0.4, 0.9], np.float32)
    assert np.allclose(rollouts.revive(deployed).mode(jax.numpy.asarray(x)), deployed.mode(x), atol=1e-6)


def test_without_costs_it_says_that_violations_cannot_be_measured(tmp_path):
    run = run_of(tmp_path / "cart", sf.make("gymnasium:CartPole-v1", envs=1))
    found = evaluate(run, episodes=3, mode="both")
    assert found.limits == () and not found.evidence
    assert "cannot be measured" in found.notes[0] and "cannot be measured" in table(found)
    assert not [name for name in found.metrics if "violating" in name]
    assert {"return", "greedy_return"} <= set(found.metrics)
    assert set(read_tables(run.path / "rollouts.npz")) == {"", "greedy_"}
    assert found.table.lengths.min() >= 1
    # One a step: return and length of an episode are the same number.
    assert np.array_equal(found.table.returns, found.table.lengths)
    with pytest.raises(SurefootError, match="cannot be measured"):
        _ = found.violation_rate


def test_episodes_end_at_the_horizon_that_is_asked_for(tmp_path, maze):
    run = run_of(tmp_path / "cart", sf.make("gymnasium:CartPole-v1", envs=1))
    found = evaluate(run, episodes=4, horizon=5, out=False)  # a pole needs nine steps to fall
    assert (found.table.lengths == 5).all() and "after 5 steps" in found.notes[-1]
    assert (evaluate(run, episodes=4, out=False).table.lengths > 5).all()
    with pytest.raises(SurefootError, match="horizon = 0"):
        evaluate(run, horizon=0)
    with pytest.raises(SurefootError, match="leave out horizon"):
        evaluate(run, horizon=5, world=sf.make("gymnasium:CartPole-v1", envs=1))
    with pytest.raises(SurefootError, match="'horizon'"):
        evaluate(maze[0], horizon=5)


def test_collapse_of_one_seed_is_a_warning(monkeypatch):
    """Seed 0 takes both ways, seed 1 only the left one; play is replaced by drawn paths."""
    left = np.array([[100.0, 300.0], [100.0, 200.0], [80.0, 80.0]])
    paths = np.array([[left, left[:, ::-1]] * 5, [left] * 10])
    shape = (2, 10)
    found = EpisodeTable(
        returns=np.zeros(shape),
        lengths=np.full(shape, 2),
        success=np.ones(shape, bool),
        violating_steps_any=np.zeros(shape, int),
        costs=np.zeros((*shape, 1)),
        violating_steps=np.zeros((*shape, 1), int),
        paths=np.pad(paths / 240 - 1, ((0, 0),) * 3 + ((0, 6),)),
        path_violations=np.zeros((*shape, 2, 1), bool),
    )
    monkeypatch.setattr(rollouts, "rollout", lambda *_: (found, {}))
    from surefoot.evaluation import evaluate as module

    world = sf.make("MarbleMaze-v0", board="island", constraints=("zone",))
    metrics, _, warnings, _ = module._measure(world, None, episodes=10, mode="sample", seed=0, seeds=(4, 7))
    assert metrics["way_left"].estimate == metrics["test_way_left"].estimate == 15 / 20
    assert len(warnings) == 2 and all("mode collapse" in w and "seed 7 " in w for w in warnings)


def test_what_is_missing_or_damaged_is_named(maze, tmp_path):
    run, _ = maze
    with pytest.raises(SurefootError, match="nowhere"):
        evaluate(tmp_path / "nowhere")
    with pytest.raises(SurefootError, match="episodes"):
        evaluate(run, episodes=0)
    with pytest.raises(SurefootError, match="sample"):
        evaluate(run, mode="simple")
    with pytest.raises(SurefootError, match="Seed 1180591620717411303424 is not"):
        evaluate(run, seed=2**70)
    with pytest.raises(SurefootError, match="surefoot evaluate"):
        read(tmp_path)
    whole = (run.path / "evaluation.json").read_text()
    damaged = (whole[: len(whole) // 2], "[]", "{}", whole.replace('"estimate"', '"estimated"'))
    for text in damaged:
        (tmp_path / "evaluation.json").write_text(text)
        with pytest.raises(SurefootError, match=r"evaluation\.json"):
            read(tmp_path)
    (tmp_path / "evaluation.json").write_text(whole.replace('"format": 1', '"format": 9'))
    with pytest.raises(SurefootError, match="format 9"):
        read(tmp_path)


def test_a_run_without_a_policy_is_to_be_resumed(tmp_path):
    world = sf.make("gymnasium:CartPole-v1", envs=1)
    run = run_of(tmp_path / "cart", world)
    (run.path / "policy" / "policy.json").unlink()
    with pytest.raises(SurefootError, match="resume"):
        evaluate(run, episodes=1)


def test_a_world_of_another_size_is_refused(maze):
    with pytest.raises(SurefootError, match="see 8 numbers"):
        evaluate(maze[0], episodes=1, world=sf.make("gymnasium:CartPole-v1", envs=1))


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> Run:
    """Two policies that stand still but for their noise, which costs 2.8 an episode, 4 with the noise."""
    world = sf.make("NoisyWalk-v0", envs=2)
    path = tmp_path_factory.mktemp("runs") / "walk"
    run = Run.create(
        path,
        {
            "learner": {"name": "lbpo", "options": {"cost_limits": [3.5]}},
            "world": describe(world),
            "demonstrations": None,
            "seeds": [0, 1],
            "steps": 40,
            "iterations": 4,
            "block": 1,
            "versions": {},
        },
    )
    network = Mlp.create((2, 3, 2), jax.random.key(0), last_scale=0.0)
    policy = BoundedGaussianPolicy(network, jax.numpy.full(2, np.log(0.1)), (-0.2,) * 2, (0.2,) * 2)
    save_policy(path / "policy", [policy, policy], world.task, (0, 1))
    rows = [
        f"{row},{10 * row},{seed},{cost}"
        for row, cost in enumerate((5.0, 3.0, 4.5, 1.0), 1)
        for seed in (0, 1)
    ]
    (path / "metrics.csv").write_text("\n".join(["iteration,steps,seed,cost/distance", *rows, ""]))
    return run


def test_exploration_noise_has_its_price_and_the_limit_is_the_runs(walk):
    found = evaluate(walk, episodes=150)
    assert found.mode == "both" and set(found.tables) == {"", "greedy_"}
    assert found.limits == (3.5,)
    still = found.metrics["greedy_expected_cost/distance"]
    assert still.lower - 0.05 < 2.81 < still.upper + 0.05  # known, see the environment
    assert found.metrics["expected_cost/distance"].lower > still.upper
    with_noise, without = found.evidence
    assert with_noise.broken and without.shown and without.prefix == "greedy_"
    worst = np.sort(found.tables[""].costs[..., 0], axis=1)[:, -15:].mean()
    assert found.metrics["cvar/distance"].estimate == pytest.approx(worst)
    assert found.metrics["training_unsafe_epochs"].estimate == 0.5
    assert found.metrics["training_excess/distance"].estimate == pytest.approx((1.5 + 1.0) / 4)
    assert found.metrics["violating_policies"].estimate == 1.0
    again = read(walk.path)
    assert again == replace(found, tables={})
    text = table(found)
    assert with_noise.sentence in text and without.sentence in text
    assert "training_unsafe_epochs" in text and "greedy" in text and "train starts" not in text


def test_an_infinite_limit_of_a_task_is_broken_by_no_policy(walk, monkeypatch):
    free = sf.make("NoisyWalk-v0", envs=2, limit=math.inf)
    monkeypatch.setitem(walk.config["learner"], "options", {})
    found = evaluate(walk, episodes=20, mode="greedy", world=free, out=False)
    assert found.metrics["expected_cost/distance"].estimate > 1
    assert found.metrics["violating_policies"].estimate == 0.0
    assert not found.evidence and "--cost-limits" in found.notes[0]
    found = evaluate(walk, episodes=20, mode="greedy", world=free, cost_limits=(0.0,), out=False)
    assert found.metrics["violating_policies"].estimate == 1.0


def test_limits_and_tail_by_hand(walk):
    found = evaluate(walk, episodes=40, mode="greedy", cost_limits=(0.5,), tail=0.5, out=False)
    assert found.limits == (0.5,) and found.evidence[0].broken
    assert any(note.startswith("40 episodes a policy are few") for note in found.notes)
    assert found.metrics["training_unsafe_epochs"].estimate == 1.0
    costs = np.sort(found.table.costs[..., 0], axis=1)
    assert found.metrics["cvar/distance"].estimate == pytest.approx(costs[:, 20:].mean())
    assert "the worst 50 %" in table(found)
    none = evaluate(walk, episodes=2, mode="greedy", cost_limits=(0.0,), out=False)
    assert not none.evidence and "--cost-limits" in none.notes[0] and "distance" in none.notes[0]
    for wrong in ({"cost_limits": (1.0, 2.0)}, {"cost_limits": (-1.0,)}, {"tail": 0.0}):
        with pytest.raises(SurefootError, match=next(iter(wrong))):
            evaluate(walk, episodes=2, out=False, **wrong)


def test_settings_in_words():
    def words(**options):
        return setting_of({"world": {"options": options}})

    assert words(board="island", constraints=["zone"]) == "island zone"
    assert words(board="gap", constraints=["zone", "tilt"]) == "zone+tilt"
    assert words(constraints=[]) == "no constraints"
    assert words() == "default"
