"""Training that starts from another run: policy, critics, resume, and what cannot be a start."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import surefoot as sf
from surefoot.errors import SurefootError
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import BoundedGaussianPolicy
from surefoot.training.engine import engine_for
from surefoot.training.fit import restore, starting_point
from surefoot.training.policy_io import load_policy, save_policy
from surefoot.training.run import Run

TINY = {"batch_steps": 40, "hidden": (4,), "critic_hidden": (4,), "critic_steps": 1}
SEEN = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def world():
    return sf.make("NoisyWalk-v0", envs=4)


@pytest.fixture(scope="module")
def controller(world, tmp_path_factory):
    """A folder with a policy made by hand."""
    network = Mlp.create((2, 5, 2), jax.random.key(3), activation="relu")
    policy = BoundedGaussianPolicy(network, jnp.full(2, -3.0), (-0.2, -0.2), (0.2, 0.2))
    folder = tmp_path_factory.mktemp("start") / "controller"
    save_policy(folder, [policy], world.task, (0,))
    return folder


def test_a_safe_start_is_handed_on_with_its_critics(world, tmp_path):
    learner = sf.SafeStart(**TINY, target_cost=2.0)
    run = sf.fit(learner, world, steps=40, seeds=(3, 5), run=tmp_path / "start", progress=False)
    assert run.config["start"] is None
    other = sf.Lbpo(**TINY, exploration=0.02)
    given = starting_point(other, run.path)
    state = engine_for(other, world, None, (0, 1), 1, given).start()["state"]
    saved = restore(run.path).state
    for seed in range(2):  # both from the first seed of the start
        np.testing.assert_array_equal(
            state.critics.costs[0].weights[0][seed], saved.critics.costs[0].weights[0][0]
        )
        np.testing.assert_array_equal(
            state.policy.network.weights[0][seed], saved.policy.network.weights[0][0]
        )
        np.testing.assert_allclose(jnp.exp(state.policy.log_std[seed]), 0.02, rtol=1e-5)
    assert (np.asarray(state.epoch) == 0).all()


def test_a_safe_start_stops_at_its_target_or_learns_on(tmp_path):
    world = sf.make("NoisyWalk-v0", envs=4, limit=100.0)
    learner = sf.SafeStart(**TINY, target_cost=100.0)  # which every policy keeps
    run = sf.fit(learner, world, steps=240, run=tmp_path / "stops", progress=False)
    assert run.finished and (run.steps, run.config["steps"]) == (120, 240)
    assert run.metrics()["step_fraction"].tolist() == [0.0] * 3
    assert run.metrics()["calm_epochs"].tolist() == [1, 2, 3]
    further = sf.SafeStart(**TINY, target_cost=100.0, stop_at_target=False)
    run = sf.fit(further, world, steps=120, run=tmp_path / "goes on", progress=False)
    assert run.steps == 120 and len(set(run.metrics()["critic_loss"])) == 3 and not run.warnings()
    run = sf.fit(learner, world, steps=80, run=tmp_path / "too short", progress=False)
    assert "target 100, kept for 2 of 3 epochs; give more --steps" in run.warnings()[0]
    missed = sf.SafeStart(**TINY, target_cost=0.1)
    run = sf.fit(missed, world, steps=80, run=tmp_path / "missed", progress=False)
    cost = run.metrics()["cost/distance"][-1]
    (line,) = run.warnings()
    assert f"not reached in 80 steps: distance costs {cost:.3g} an episode, target 0.1; give more" in line


@pytest.mark.parametrize("kind", ["lbpo", "ppo-lagrangian"])
def test_a_run_needs_nothing_of_its_start_once_it_has_begun(world, tmp_path, monkeypatch, kind):
    start = sf.fit(
        sf.SafeStart(**TINY, target_cost=2.0), world, steps=40, run=tmp_path / "start", progress=False
    )
    learner = {
        "lbpo": sf.Lbpo(**TINY),
        "ppo-lagrangian": sf.PpoLagrangian(batch_steps=40, minibatch=20, passes=1, hidden=(3,)),
    }[kind]

    def train(name):
        return sf.fit(learner, world, steps=80, run=tmp_path / name, start=start.path, progress=False)

    whole = train("whole").metrics()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("surefoot.training.engine.Compiled.run", killed)
        with pytest.raises(KeyboardInterrupt):
            train("killed")
    run = Run(tmp_path / "killed")
    assert [path.stem for path in run.checkpoints()] == ["0"] and not run.finished
    np.testing.assert_allclose(
        load_policy(run.path).mode(SEEN), load_policy(start.path).mode(SEEN), atol=1e-6
    )
    shutil.rmtree(start.path)
    resumed = sf.resume(run.path, progress=False)
    for name, values in whole.items():
        np.testing.assert_array_equal(resumed.metrics()[name], values, err_msg=name)
    assert sf.resume(run.path, steps=120, progress=False).steps == 120
    assert restore(run.path).iteration == 3


def test_a_run_whose_critics_are_lost_is_no_start(world, tmp_path):
    start = sf.fit(
        sf.SafeStart(**TINY, target_cost=2.0), world, steps=40, run=tmp_path / "start", progress=False
    )
    shutil.rmtree(start.path / "checkpoints")
    with pytest.raises(SurefootError, match=r"critics are lost; start from its policy alone: .*policy"):
        sf.fit(sf.Lbpo(**TINY), world, steps=40, run=tmp_path / "a", start=start.path, progress=False)
    policy = start.path / "policy"
    assert sf.fit(sf.Lbpo(**TINY), world, steps=40, run=tmp_path / "b", start=policy, progress=False).finished


def test_ppo_starts_from_a_policy_of_any_size_and_resumes(world, controller, tmp_path):
    learner = sf.PpoLagrangian(batch_steps=40, minibatch=20, passes=1, hidden=(3,), learning_rate=1e-9)
    run = sf.fit(learner, world, steps=40, run=tmp_path / "run", start=controller, progress=False)
    assert run.config["start"] == str(controller)
    mine, theirs = load_policy(run.path), load_policy(controller)
    assert mine.kind == "bounded-gaussian"
    np.testing.assert_allclose(mine.mode(SEEN), theirs.mode(SEEN), atol=1e-5)
    np.testing.assert_allclose(np.exp(mine.log_std), 0.2, rtol=1e-4)  # a whole half width, as PPO begins
    assert restore(Run(run.path)).iteration == 1


def test_what_cannot_be_a_start_is_said_before_anything_is_written(world, controller, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(SurefootError, match="--hidden 5"):
        sf.fit(sf.Lbpo(**TINY), world, steps=40, run=folder, start=controller, progress=False)
    with pytest.raises(SurefootError, match="sac cannot start"):
        sf.fit(sf.Sac(), world, steps=10_000, run=folder, start=controller, progress=False)
    with pytest.raises(SurefootError, match=r"policy\.json is missing"):
        sf.fit(sf.Lbpo(**TINY), world, steps=40, run=folder, start=tmp_path, progress=False)
    assert not folder.exists()
