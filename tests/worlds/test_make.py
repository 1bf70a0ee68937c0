"""Worlds by name, and back from their descriptions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import jax
import pytest

import surefoot as sf
from surefoot import worlds
from surefoot.envs.marble_maze import MarbleMaze
from surefoot.errors import SurefootError
from surefoot.worlds.gym_world import GymWorld
from surefoot.worlds.jax_world import JaxWorld
from surefoot.worlds.world import Steps


def pole(**options: Any) -> gymnasium.Env:
    """A factory that can be found by its name."""
    return gymnasium.make("CartPole-v1", **options)


class Poles:
    """A home for factories."""

    @staticmethod
    def upright() -> gymnasium.Env:
        return gymnasium.make("CartPole-v1")


class Uniform:
    """Any action, not a pytree."""

    def act(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        return jax.random.randint(key, (), 0, 2)


def test_our_environment_by_name() -> None:
    world = sf.make("MarbleMaze-v0", envs=3, board="island", constraints=["zone", "tilt"], starts="test")
    assert isinstance(world, JaxWorld)
    assert world.env == MarbleMaze(board="island", constraints=("zone", "tilt"), starts="test")
    assert world.envs == 3
    again = sf.make("MarbleMaze-v0", envs=3, seed=0, starts="test")
    other = sf.make("MarbleMaze-v0", envs=3, seed=1, starts="test")
    assert (again.states.position == world.states.position).all()
    assert not (other.states.position == world.states.position).all()


def test_our_environment_as_an_object() -> None:
    world = sf.make(MarbleMaze(board="island"), envs=2)
    assert isinstance(world, JaxWorld)
    assert worlds.describe(world)["id"] == "MarbleMaze-v0"
    assert isinstance(sf.make(MarbleMaze, envs=2, board="island"), JaxWorld)
    with pytest.raises(SurefootError, match="too late"):
        sf.make(MarbleMaze(), board="island")


def test_description_of_our_environment() -> None:
    world = sf.make("MarbleMaze-v0", envs=3, board="island", constraints=("zone", "tilt"), tilt_limit=0.2)
    text = json.dumps(worlds.describe(world))
    again = worlds.from_description(json.loads(text))
    assert isinstance(again, JaxWorld)
    assert (again.env, again.envs) == (world.env, 3)
    changed = worlds.from_description(json.loads(text), starts="test", envs=5)
    assert changed.env == MarbleMaze(  # type: ignore[union-attr]
        board="island", constraints=("zone", "tilt"), tilt_limit=0.2, starts="test"
    )
    assert changed.envs == 5


def test_description_of_a_gymnasium_world() -> None:
    world = sf.make("gymnasium:CartPole-v1", envs=2, sutton_barto_reward=True, limits=(), horizon=50)
    description = json.loads(json.dumps(worlds.describe(world)))
    assert description == {
        "id": "gymnasium:CartPole-v1",
        "envs": 2,
        "options": {"sutton_barto_reward": True, "limits": [], "horizon": 50},
    }
    again = worlds.from_description(description)
    assert isinstance(again, GymWorld)
    assert again.task == world.task


def test_description_names_functions_that_can_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own_poles.py").write_text(
        "import gymnasium\n"
        "def make(**options):\n    return gymnasium.make('CartPole-v1', **options)\n"
        "def leaning(obs, action, after, info):\n    return float(abs(after[2]) > 0.02)\n"
    )
    monkeypatch.chdir(tmp_path)  # found in the working folder, as the command line needs it
    world = sf.make("python:my_own_poles.make", envs=2, cost="my_own_poles:leaning", constraints=["leaning"])
    description = json.loads(json.dumps(worlds.describe(world)))
    assert description == {
        "id": "python:my_own_poles.make",
        "envs": 2,
        "options": {"cost": "my_own_poles:leaning", "constraints": ["leaning"]},
    }
    module = sys.modules["my_own_poles"]
    direct = sf.make(module.make, envs=2, cost=module.leaning, constraints=("leaning",))
    assert worlds.describe(direct) == description
    again = worlds.from_description(description)
    key = jax.random.key(0)
    batches = [w.fresh(key).collect(Uniform(), Steps(40), key)[1] for w in (world, again)]
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), *batches)))
    assert batches[0].cost.sum() > 0
    assert str(tmp_path) not in sys.path


def test_a_factory_inside_a_class_is_found_again() -> None:
    world = sf.make(Poles.upright, envs=2)
    assert worlds.describe(world)["id"] == f"python:{__name__}:Poles.upright"
    assert worlds.from_description(worlds.describe(world)).task.observation == world.task.observation


def test_what_a_factory_needs_is_named() -> None:
    def sized(size: int, *, wind: float, name: str = "") -> gymnasium.Env:
        assert (size, wind, name) == (3, 0.5, "")
        return pole()

    with pytest.raises(SurefootError, match=r"needs size, wind: give a value as an option"):
        sf.make(sized, envs=2)
    assert sf.make(sized, envs=2, size=3, wind=0.5).task.observation.size == 4


@pytest.mark.parametrize("seed", [-1, 2**31, 2**70])
def test_a_seed_that_cannot_be_used_is_refused(seed) -> None:
    with pytest.raises(SurefootError, match=f"Seed {seed}"):
        sf.make("MarbleMaze-v0", seed=seed)


def test_a_function_without_a_name_leaves_no_id() -> None:
    unnamed = sf.make("gymnasium:CartPole-v1", envs=2, cost=lambda o, a, n, i: 0.0)
    assert worlds.describe(unnamed)["id"] is None
    world = sf.make(lambda: pole(), envs=2)
    assert worlds.describe(world)["id"] is None
    with pytest.raises(SurefootError, match="give the world again"):
        worlds.from_description(worlds.describe(world))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("MarbelMaze-v0", {}, r"Did you mean 'MarbleMaze-v0'\?.*gymnasium:ID"),
        ("MarbleMaze-v0", {"bord": "gap"}, r"Unknown option of MarbleMaze-v0 'bord'. Did you mean 'board'"),
        ("MarbleMaze-v0", {"board": "gapp"}, r"Did you mean 'gap'"),
        ("MarbleMaze-v0", {"envs": 0}, "at least one"),
        ("gymnasium:CartPol-v1", {}, r"Did you mean 'gymnasium:CartPole-v1'"),
        ("gymnasium:FrozenLake-v1", {"is_slipery": True}, r"'is_slipery'. Did you mean 'is_slippery'"),
        ("gymnasium:CartPole-v1", {"cots": 1}, r"'cots'. Did you mean 'cost'"),
        ("gymnasium:CartPole-v1", {"constraints": "cost"}, "tuple of names"),
        ("gymnasium:CartPole-v1", {"cost": "no_such_module:f"}, "no module 'no_such_module'"),
        ("gymnasium:CartPole-v1", {"cost": "math:sinn"}, "Did you mean 'sin'"),
        ("gymnasium:CartPole-v1", {"cost": "sin"}, "MODULE:FUNCTION"),
        ("gymnasium:CartPole-v1", {"cost": "math:pi"}, "cost = 'math:pi' is a float, not a function"),
        ("gymnasium:CartPole-v1", {"success": "math:pi"}, "success = 'math:pi' is a float, not a function"),
        ("gymnasium:CartPole-v1", {"limits": 5.0}, "limits = 5.0: give a tuple"),
        ("gymnasium:no_such_package:Thing-v0", {}, "cannot be made"),
        ("gymnasium:Blackjack-v1", {}, "only Box and Discrete"),
        ("python:no_such_module.make", {}, "no module 'no_such_module'"),
        (3, {}, "not a int"),
    ],
)
def test_unknown_names_and_options(name: Any, options: dict, message: str) -> None:
    with pytest.raises(SurefootError, match=message):
        sf.make(name, **options)


def test_an_error_inside_the_users_module_is_shown_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_poles.py").write_text("import a_module_that_is_missing\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_missing"):
        sf.make("python:broken_poles.make")


def test_options_of_a_users_function() -> None:
    assert sf.make(pole, envs=1, max_episode_steps=7).task.horizon == 7
    with pytest.raises(SurefootError, match="Unknown option"):
        sf.make(pole, envs=1, sutton=True)


def test_an_environment_that_exists_already_is_refused() -> None:
    with pytest.raises(SurefootError, match="the function that made it"):
        sf.make(pole())


def test_naming_worlds_imports_neither_jax_nor_gymnasium() -> None:
    code = (
        "import sys, surefoot.worlds, surefoot.envs\n"
        "assert not {'jax', 'gymnasium', 'numpy'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        timeout=60,
    )


def test_names_of_the_options_inside_an_environment():
    assert worlds.option_names("gymnasium:CartPole-v1") == ["sutton_barto_reward", "render_mode"]
    assert worlds.option_names("gymnasium:CartPole-v99") == []
    assert worlds.option_names("python:nowhere.Mine") == []
    pytest.importorskip("mujoco")
    assert worlds.option_names("FixedHopper-v0") == ["absorbing", "render_mode"]
    inside = worlds.option_names("SafetyPointGoal1-v0")  # those of its task as well, not its name
    assert {"cost_form", "hazards"} <= set(inside) and not {"task", "changes"} & set(inside)
