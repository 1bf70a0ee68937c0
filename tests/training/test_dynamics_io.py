"""Models of dynamics in files: what is read is what was written, and the wrong one is refused."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from surefoot.errors import SurefootError
from surefoot.networks.dynamics import Ensemble
from surefoot.training.dynamics_io import load_dynamics, save_dynamics


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    ensemble = Ensemble.create(3, 2, key=jax.random.key(0), members=3, hidden=(4, 5), costs=1, elites=2)
    ensemble = eqx.tree_at(lambda e: e.elites, ensemble, jnp.array([2, 0], jnp.int32))
    save_dynamics(path, ensemble, environment="gymnasium:Hopper-v5")
    return path, ensemble


def test_what_is_read_is_what_was_written(saved):
    path, ensemble = saved
    assert eqx.tree_equal(load_dynamics(path, observation_size=3, action_size=2, costs=1), ensemble)


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"observation_size": 4}, "made for 3 observations, but 4 are needed"),
        ({"action_size": 1}, "made for 2 actions, but 1 are needed"),
        ({"costs": 0}, "made for 1 costs, but 0 are needed"),
    ],
)
def test_a_model_for_other_sizes_is_refused(saved, sizes, message):
    with pytest.raises(SurefootError, match=message):
        load_dynamics(saved[0], **sizes)


def test_files_that_are_no_models(saved, tmp_path):
    with pytest.raises(SurefootError, match="There is no model in"):
        load_dynamics(tmp_path / "none.safetensors")
    path, ensemble = saved
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SurefootError, match="damaged"):
        load_dynamics(torn)
    broken = eqx.tree_at(lambda e: e.input_mean, ensemble, ensemble.input_mean * jnp.nan)
    save_dynamics(torn, broken)
    with pytest.raises(SurefootError, match="damaged"):
        load_dynamics(torn)
