"""Exported policies: the same decisions as in JAX, without JAX; damaged folders are told apart."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.errors import SurefootError
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import (
    BoundedGaussianPolicy,
    CategoricalPolicy,
    GaussianPolicy,
    SquashedGaussianPolicy,
    WarmUp,
)
from surefoot.task import Box, Discrete, Task
from surefoot.training import policy_io
from surefoot.training.policy_io import load_policy, save_policy

BOX = Box((3,), (-1.0, -np.inf, 0.0), (1.0, np.inf, 0.5))
DISCRETE = Task("Toy-v0", BOX, Discrete(4), ("zone",), (0.0,))
CONTINUOUS = Task("Toy-v0", BOX, Box((2,), (-0.3, -np.inf), (0.3, np.inf)))
OBSERVATIONS = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


def categorical(seed, activation="relu", hidden=(7, 5)):
    return CategoricalPolicy(Mlp.create((3, *hidden, 4), jax.random.key(seed), activation=activation))


def gaussian(seed):
    network = Mlp.create((3, 6, 2), jax.random.key(seed), activation="tanh")
    return GaussianPolicy(network, jnp.array([-1.0, 0.5]))


def export(folder, policies, task, seeds=(3, 8)):
    save_policy(folder, policies, task, seeds)
    return folder


@pytest.fixture
def folder(tmp_path):
    return export(tmp_path / "policy", [categorical(0), categorical(1)], DISCRETE)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (Discrete(5), "4 discrete actions, but 'Toy-v0' takes 5 discrete actions"),
        (Box((4,), (-1.0,) * 4, (1.0,) * 4), "4 discrete actions, but 'Toy-v0' takes 4 real numbers"),
    ],
)
def test_a_policy_is_not_played_where_actions_are_others(folder, action, said):
    policy_io.check_action(load_policy(folder), DISCRETE, "run")
    with pytest.raises(SurefootError, match=f"The policy of run chooses among or gives {said}"):
        policy_io.check_action(load_policy(folder), Task("Toy-v0", BOX, action), "run")


def test_an_environment_may_count_its_actions_from_elsewhere(tmp_path):
    """Decisions are in its own numbers; chances are in their order."""
    plain = load_policy(export(tmp_path / "plain", [categorical(0), categorical(1)], DISCRETE))
    task = Task("Toy-v0", BOX, Discrete(4, start=-2), ("zone",), (0.0,))
    moved = load_policy(export(tmp_path / "moved", [categorical(0), categorical(1)], task))
    assert (plain.start, moved.start) == (0, -2)
    np.testing.assert_array_equal(moved.mode(OBSERVATIONS), np.asarray(plain.mode(OBSERVATIONS)) - 2)
    drawn = [policy.act(OBSERVATIONS, np.random.default_rng(1)) for policy in (plain, moved)]
    np.testing.assert_array_equal(drawn[1], np.asarray(drawn[0]) - 2)
    np.testing.assert_array_equal(moved.probabilities(OBSERVATIONS), plain.probabilities(OBSERVATIONS))
    again = policy_io.revive(moved)  # as learners count
    np.testing.assert_array_equal(again.mode(jnp.asarray(OBSERVATIONS)), plain.mode(OBSERVATIONS))


# The same decisions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("hidden", [(7, 5), (3,), ()])
def test_probabilities_and_modes_are_those_of_jax(tmp_path, activation, hidden):
    theirs = categorical(0, activation, hidden)
    mine = load_policy(export(tmp_path, [theirs], DISCRETE, (0,)))
    expected = np.exp(theirs.log_probabilities(jnp.asarray(OBSERVATIONS)))
    np.testing.assert_allclose(mine.probabilities(OBSERVATIONS), expected, rtol=1e-5)
    np.testing.assert_array_equal(mine.mode(OBSERVATIONS), theirs.mode(jnp.asarray(OBSERVATIONS)))
    one = mine.mode(OBSERVATIONS[0])
    assert type(one) is int
    assert one == int(theirs.mode(jnp.asarray(OBSERVATIONS[0])))
    np.testing.assert_allclose(mine.probabilities(OBSERVATIONS[0]), expected[0], rtol=1e-5)


def test_actions_have_the_probabilities_of_the_policy(folder):
    policy = load_policy(folder)
    rng = np.random.default_rng(0)
    draws = policy.act(np.tile(OBSERVATIONS[0], (40_000, 1)), rng)
    frequencies = np.bincount(draws, minlength=4) / 40_000
    np.testing.assert_allclose(frequencies, policy.probabilities(OBSERVATIONS[0]), atol=0.012)  # 5 sigma
    assert type(policy.act(OBSERVATIONS[0])) is int
    first = [policy.act(OBSERVATIONS[0], np.random.default_rng(5)) for _ in range(3)]
    assert len(set(first)) == 1


def test_gaussian_actions_are_those_of_jax_within_bounds(tmp_path):
    theirs = gaussian(0)
    mine = load_policy(export(tmp_path, [theirs], CONTINUOUS, (0,)))
    mean = np.asarray(theirs.mode(jnp.asarray(OBSERVATIONS)))
    expected = np.stack([np.clip(mean[:, 0], -0.3, 0.3), mean[:, 1]], axis=1)
    np.testing.assert_allclose(mine.mode(OBSERVATIONS), expected, rtol=1e-5, atol=1e-6)
    assert mine.mode(OBSERVATIONS[0]).shape == (2,)
    draws = mine.act(np.tile(OBSERVATIONS[0], (40_000, 1)), np.random.default_rng(0))
    assert np.abs(draws[:, 0]).max() <= np.float32(0.3)
    assert draws[:, 1].mean() == pytest.approx(mean[0, 1], abs=5 * np.exp(0.5) / 200)
    assert draws[:, 1].std() == pytest.approx(np.exp(0.5), rel=0.02)
    with pytest.raises(SurefootError, match="no probabilities"):
        mine.probabilities(OBSERVATIONS[0])


def squashed(seed):
    network = Mlp.create((3, 6, 4), jax.random.key(seed))
    last = network.weights[-1].at[:, 2:].mul(20.0)  # spreads that differ, some beyond what is allowed
    network = eqx.tree_at(lambda n: n.weights[-1], network, last)
    return SquashedGaussianPolicy(network, (-0.5, 1.0), (0.5, 4.0))


BOUNDED = Task("Toy-v0", BOX, Box((2,), (-0.5, 1.0), (0.5, 4.0)))


def test_actions_around_a_bounded_mean_are_those_of_jax(tmp_path):
    network = Mlp.create((3, 6, 2), jax.random.key(0), activation="relu")
    theirs = BoundedGaussianPolicy(network, jnp.array([-1.0, 0.5]), (-0.5, 1.0), (0.5, 4.0))
    mine, seen = load_policy(export(tmp_path, [theirs], BOUNDED, (0,))), jnp.asarray(OBSERVATIONS)
    assert mine.kind == "bounded-gaussian"
    mean = np.array([0.0, 2.5]) + np.array([0.5, 1.5]) * np.tanh(network(seen))
    np.testing.assert_allclose(theirs.mode(seen), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mine.mode(OBSERVATIONS), mean, rtol=1e-5, atol=1e-6)
    noise = np.random.default_rng(3).standard_normal((50, 2), dtype=np.float32)
    wanted = np.clip(mean + np.exp([-1.0, 0.5]) * noise, [-0.5, 1.0], [0.5, 4.0])
    np.testing.assert_allclose(mine.act(OBSERVATIONS, np.random.default_rng(3)), wanted, rtol=1e-4, atol=1e-5)
    again = policy_io.revive(mine)
    np.testing.assert_array_equal(again.mode(seen), theirs.mode(seen))
    np.testing.assert_array_equal(again.log_std, theirs.log_std)


def test_squashed_gaussian_actions_are_those_of_jax(tmp_path):
    theirs, seen = squashed(0), jnp.asarray(OBSERVATIONS)
    mine = load_policy(export(tmp_path, [theirs, squashed(1)], BOUNDED, (0, 1)))
    assert mine.kind == "squashed-gaussian"
    _, log_std = theirs.gaussian(seen)
    assert np.asarray(log_std).max() == 2.0  # the clamp is at work
    np.testing.assert_allclose(mine.mode(OBSERVATIONS), theirs.mode(seen), rtol=1e-5, atol=1e-6)
    noise = np.random.default_rng(3).standard_normal((50, 2), dtype=np.float32)
    expected, _ = theirs.reparameterised(seen, jnp.asarray(noise))
    drawn = mine.act(OBSERVATIONS, np.random.default_rng(3))
    np.testing.assert_allclose(drawn, expected, rtol=1e-4, atol=1e-4)
    assert drawn.dtype == np.float32 and mine.act(OBSERVATIONS[0]).shape == (2,)
    again = policy_io.revive(mine)
    assert (again.low, again.high) == (theirs.low, theirs.high)
    np.testing.assert_array_equal(again.mode(seen), theirs.mode(seen))
    with pytest.raises(SurefootError, match="no probabilities"):
        mine.probabilities(OBSERVATIONS[0])


def test_each_seed_has_its_own_policy_and_the_random_phase_is_left_out(tmp_path):
    warming = WarmUp(categorical(1), jnp.array(True))
    folder = export(tmp_path / "r" / "policy", [categorical(0), warming], DISCRETE)
    for where in (folder, tmp_path / "r"):  # the run folder will do as well
        assert load_policy(where).seed == 3
        second = load_policy(where, seed=8)
        expected = np.exp(categorical(1).log_probabilities(jnp.asarray(OBSERVATIONS)))
        np.testing.assert_allclose(second.probabilities(OBSERVATIONS), expected, rtol=1e-5)
    with pytest.raises(SurefootError, match="no policy of seed 5; it has 3, 8"):
        load_policy(folder, seed=5)


def test_the_description_says_what_the_numbers_mean(folder):
    described = json.loads(
        (folder / "policy.json").read_text(), parse_constant=lambda name: pytest.fail(name)
    )
    assert described == {
        "format": 1,
        "kind": "categorical",
        "activation": "relu",
        "sizes": [3, 7, 5, 4],
        "observation": {"shape": [3], "low": [-1.0, None, 0.0], "high": [1.0, None, 0.5]},
        "action": {"n": 4},
        "environment": "Toy-v0",
        "constraints": ["zone"],
        "seeds": [3, 8],
    }


def test_loading_and_acting_need_neither_jax_nor_gymnasium(folder):
    code = f"""
import sys
import numpy as np
import surefoot as sf
policy = sf.load_policy({str(folder)!r})
assert policy.mode(np.zeros(3)) in range(4)
assert policy.act(np.zeros(3), np.random.default_rng(0)) in range(4)
assert not {{"jax", "equinox", "optax", "gymnasium", "scipy"}} & set(sys.modules), sorted(sys.modules)
"""
    source = Path(policy_io.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(source)}, check=True)


# What is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("observation", [np.zeros(2), np.zeros((5, 4)), np.zeros(())])
def test_an_observation_of_another_size(folder, observation):
    with pytest.raises(SurefootError, match="takes observations of 3 numbers"):
        load_policy(folder).mode(observation)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_observation_that_is_not_finite_moves_nothing(folder, bad):
    policy = load_policy(folder)
    for act in (policy.mode, policy.act, policy.probabilities):
        with pytest.raises(SurefootError, match="not finite"):
            act(np.array([0.0, bad, 0.0]))


def test_a_policy_of_another_kind_is_not_exported(tmp_path):
    class Other(eqx.Module):
        pass

    assert policy_io.kind_of(Other()) is None
    with pytest.raises(SurefootError, match="A Other cannot be exported"):
        save_policy(tmp_path / "p", [Other()], DISCRETE, (0,))
    assert not (tmp_path / "p").exists()


def rewrite(folder, **changes):
    path = folder / "policy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def damage_weights(folder):
    path = folder / "seed-3.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def poison_weights(folder):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "seed-3.safetensors")
    tensors["biases.1"][0] = np.nan
    save_file(tensors, folder / "seed-3.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "policy.json").unlink(), r"holds no policy \(policy.json is missing\)"),
        (lambda f: (f / "policy.json").write_text("{"), "policy.json is damaged"),
        (lambda f: (f / "policy.json").write_text("[]"), "has format None"),
        (lambda f: rewrite(f, format=2), "has format 2, but this version of surefoot reads format 1"),
        (lambda f: rewrite(f, kind="spline"), "does not describe a policy"),
        (lambda f: rewrite(f, activation="gelu"), "does not describe a policy"),
        (lambda f: rewrite(f, seeds=[]), "does not describe a policy"),
        (lambda f: rewrite(f, kind="gaussian", action={}), "does not describe a policy"),
        (lambda f: rewrite(f, sizes=[3, 7, 9, 4]), r"'weights.1' should have shape \[7, 9\]"),
        (lambda f: (f / "seed-3.safetensors").unlink(), "seed-3.safetensors is missing"),
        (damage_weights, "cut short or damaged"),
        (poison_weights, "'biases.1' holds a number that is not finite"),
    ],
)
def test_a_damaged_folder_says_what_is_wrong(folder, damage, message):
    damage(folder)
    with pytest.raises(SurefootError, match=message):
        load_policy(folder)
