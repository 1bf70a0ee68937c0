"""The expert's sets: clean, from the starts that they name, and what the maze's physics really does."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache, partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracles.marble_maze import Ball, decide
from surefoot.data import demonstrations
from surefoot.envs import marble_maze_board as geometry
from surefoot.envs.marble_maze import MarbleMaze, State
from surefoot.envs.marble_maze_expert import Expert
from surefoot.errors import SurefootError
from surefoot.experiments.bundled_demos import FAMILY, RECIPES, Recipe, bundled_set, collect, groups, play

REGENERATE = "the maze or its expert changed; run `surefoot demos collect --bundled all`"
ALL = ("zone", "speed", "tilt", "contact")
SETTINGS = [
    ("gap", ("zone",)),
    ("gap", ("speed",)),
    ("gap", ("zone", "speed")),
    ("gap", ALL),
    ("island", ("zone",)),
]


@cache
def load(name):
    return demonstrations.load(f"{FAMILY}/{name}")


def first_positions(demos):
    """Where each episode starts, ``[episodes, 2]`` px."""
    return (demos.observations[demos.offsets[:-1], :2] + 1) * (geometry.SIZE / 2)


def test_every_recipe_has_its_set():
    ours = [name for name in demonstrations.bundled() if name.startswith(f"{FAMILY}/")]
    assert ours == sorted(f"{FAMILY}/{name}" for name in RECIPES)


@pytest.mark.parametrize("board, constraints", SETTINGS)
def test_the_expert_is_clean_and_successful_from_almost_every_training_start(board, constraints):
    maze = MarbleMaze(board, ALL)  # all costs, of which only the constrained ones count
    expert = Expert.create(MarbleMaze(board, constraints))
    batch = jax.tree.map(np.asarray, play(maze, expert, geometry.starts("train")))
    columns = [ALL.index(name) for name in constraints]
    broken = (batch.cost[..., columns] > 0).any(axis=-1) & batch.valid
    solved = (batch.success & batch.valid).any(axis=0)
    assert (solved & ~broken.any(axis=0)).mean() >= 0.95


@pytest.mark.parametrize("name", RECIPES)
class TestEverySet:
    def test_fits_its_environment(self, name):
        demos, recipe = load(name), RECIPES[name]
        maze = MarbleMaze(recipe.board, recipe.constraints)
        demos.check(maze.task, {"board": recipe.board})
        other = "island" if recipe.board == "gap" else "gap"
        with pytest.raises(SurefootError, match=f"board = '{recipe.board}'"):
            demos.check(maze.task, {"board": other})
        assert demos.constraints == recipe.constraints
        made_with = demos.metadata["environment"]["options"]
        assert made_with == {**asdict(maze), "constraints": list(recipe.constraints)}, REGENERATE
        assert demos.episodes == 120

    def test_succeeds_and_is_as_clean_as_it_says(self, name):
        demos = load(name)
        ends = demos.offsets[1:] - 1
        assert demos.terminations[ends].all()
        assert demos.terminations.sum() == demos.episodes
        assert not demos.truncations.any()
        violating = int((demos.any_violating_steps > 0).sum())
        assert violating == round(RECIPES[name].violating * demos.episodes)

    def test_starts_where_it_says_and_never_twice(self, name):
        demos, recipe = load(name), RECIPES[name]
        found = first_positions(demos)
        known = {group: geometry.starts(group) for group in recipe.starts}
        distance = {
            group: np.abs(found[:, None] - points[None]).max(axis=-1) for group, points in known.items()
        }
        used = {group: np.flatnonzero((d < 1e-2).any(axis=0)) for group, d in distance.items()}
        # Each start that is used belongs to one episode, and each episode to a start.
        assert sum(len(indices) for indices in used.values()) == demos.episodes
        assert {len(indices) for indices in used.values()} == {120 // len(recipe.starts)}

    def test_is_small_and_says_how_it_was_made(self, name):
        demos = load(name)
        folder = demonstrations.BUNDLED / FAMILY / name
        assert sum(file.stat().st_size for file in folder.iterdir()) < 500_000
        summary = demonstrations.summary(f"{FAMILY}/{name}")
        assert summary["metadata"]["played"] == demos.metadata["played"]
        described = demonstrations.describe(demos)
        assert {key: summary[key] for key in described} == described
        assert demos.metadata["command"] == f"surefoot demos collect --bundled {name}"
        assert demos.metadata["played"]["dropped_share"] <= 0.05
        assert {"surefoot", "jax", "numpy"} <= set(demos.metadata["versions"])

    def test_is_what_the_mazes_physics_does(self, name):
        """From each recorded observation, which holds the whole state, one step leads to the next one."""
        demos, recipe = load(name), RECIPES[name]
        after = np.concatenate([demos.episode(i)["observations"][1:] for i in range(demos.episodes)])
        reached, rewards, costs = _one_step(recipe.board, demos.observations, demos.actions)
        # A contact on the verge of rounding may come or not come.
        assert (np.abs(reached - after).max(axis=1) < 1e-4).mean() > 0.999, REGENERATE
        assert np.allclose(rewards, demos.rewards, atol=1e-6), REGENERATE
        columns = [ALL.index(constraint) for constraint in recipe.constraints]
        assert (costs[:, columns] == demos.costs).mean() > 0.999, REGENERATE


def _one_step(board, observations, actions):
    """Next observations, rewards and costs of all constraints."""
    room = 15_000  # one shape for all sets, so that the step is compiled once a board
    padded = [np.pad(a, [(0, room - len(a))] + [(0, 0)] * (a.ndim - 1)) for a in (observations, actions)]
    return [np.asarray(values)[: len(actions)] for values in _steps(MarbleMaze(board, ALL), *padded)]


@partial(jax.jit, static_argnums=0)
def _steps(maze, observations, actions):
    def step(o, action):
        state = State(240 * (o[:2] + 1), 4 * o[2:4], o[4:6] / 2, o[6:8], jnp.zeros((), jnp.int32))
        state, result = maze.step(state, action)
        return maze.observe(state), result.reward, result.cost

    return jax.vmap(step)(observations, actions)


def test_a_slow_plain_integrator_sees_the_same_paths_and_no_violation():
    demos = load("zone+speed+tilt+contact")
    board, maze = geometry.board("gap"), MarbleMaze()
    for index in (0, 50, 119):
        episode = demos.episode(index)
        x, y = (episode["observations"][0, :2].astype(float) + 1) * 240
        ball = Ball(x, y)
        for step, action in enumerate(episode["actions"]):
            seen = decide(ball, int(action) // 3 - 1, int(action) % 3 - 1)
            assert max(seen.speeds) < maze.speed_limit
            assert max(seen.tilts) < maze.tilt_limit + 0.005
            assert all(hit < maze.contact_limit for hit in seen.impacts)
            for px, py in seen.places:
                assert all((px - z.x) ** 2 + (py - z.y) ** 2 > z.radius**2 for z in board.zones)
            expected = (episode["observations"][step + 1, :2] + 1) * 240
            assert np.allclose([ball.x, ball.y], expected, atol=0.5)
        assert np.hypot(ball.x - 80, ball.y - 80) < 40  # it came within 24 px during the last decision


def test_the_demonstrator_is_a_function_of_the_observation():
    for name in ("zone+speed", "two-modes"):
        demos, recipe = load(name), RECIPES[name]
        expert = Expert.create(MarbleMaze(recipe.board, recipe.constraints))
        again = jax.jit(jax.vmap(expert.mode))(jnp.asarray(demos.observations))
        assert (np.asarray(again) == demos.actions).mean() > 0.995, REGENERATE


def test_two_modes_takes_both_ways_from_every_corner():
    demos = load("two-modes")
    island = geometry.board("island").zones[0]
    ways = []
    for index in range(demos.episodes):
        x, y = ((demos.episode(index)["observations"][:, :2] + 1) * 240).T
        level = np.argmax(x + y <= island.x + island.y)
        ways.append(np.sign(x[level] - y[level]))
    starts = first_positions(demos)
    corner = np.array(
        [min(geometry.CORNERS, key=lambda c: np.hypot(*(p - geometry.CORNERS[c]))) for p in starts]
    )
    for name in geometry.CORNERS:
        assert 0.3 <= np.mean(np.array(ways)[corner == name] > 0) <= 0.7
    assert 0.45 <= np.mean(np.array(ways) > 0) <= 0.55


def test_partial_suboptimal_and_noisy_are_what_their_names_say():
    best = load("zone+speed")
    assert load("suboptimal").lengths.mean() > 1.3 * best.lengths.mean()
    assert load("suboptimal").returns.mean() < best.returns.mean() - 1
    bottom = np.array(geometry.CORNERS["bottom"])
    away = np.abs(first_positions(load("partial")) - bottom).max(axis=1)
    assert away.min() > 2 * geometry.START_SPREAD
    noisy = load("noisy")
    harm = noisy.any_violating_steps > 0
    assert harm.mean() == 0.1
    assert (noisy.violating_steps[harm] > 0).any(axis=0).all()  # both constraints are broken by some
    assert 20 < np.flatnonzero(harm).mean() < 100  # not all at one end


def test_a_bundled_set_is_made_again_by_its_command():
    again, shipped = bundled_set("zone"), load("zone")
    assert again.name == shipped.name
    assert again.metadata["starts"] == shipped.metadata["starts"]
    assert np.allclose(first_positions(again), first_positions(shipped), atol=1e-3), REGENERATE
    # Rounding differs between processors and may tip a decision now and then, so not to the bit.
    same = [
        np.array_equal(again.episode(i)["actions"], shipped.episode(i)["actions"])
        for i in range(again.episodes)
    ]
    assert np.mean(same) > 0.9, REGENERATE
    assert bundled_set("zone").digest() == again.digest()


def test_an_unknown_set_gets_the_nearest():
    with pytest.raises(SurefootError, match="Did you mean 'two-modes'"):
        bundled_set("two-mods")


class Lazy(eqx.Module):
    """The expert, but from one start in ``n`` (told by the place) it never moves the tray."""

    expert: Expert
    n: jax.Array

    def act(self, observation, key=None):
        lazy = (jnp.floor(observation[0] * 1000) % self.n == 0) & (jnp.abs(observation[2:]).sum() == 0)
        return jnp.where(lazy, 4, self.expert.act(observation))


def test_an_expert_that_never_succeeds_leaves_nothing():
    with pytest.raises(SurefootError, match=r"Of 100 episodes .* none was clean and successful \(100 missed"):
        collect(Recipe(starts=("train/right",)), expert=Lazy(Expert.create(MarbleMaze()), jnp.array(1)))


def test_what_is_dropped_is_counted_and_repetitions_too():
    maze = MarbleMaze()
    recipe = Recipe(starts=("train/right",), episodes=90, seed=3)
    demos = collect(recipe, expert=Lazy(Expert.create(maze), jnp.array(4)))
    played = demos.metadata["played"]
    lazy = np.floor((geometry.starts("train/right")[:, 0] / 240 - 1) * 1000) % 4 == 0
    assert played["starts"] == 100
    assert abs(played["dropped"] - lazy.sum()) <= 1  # one may lie on the edge of rounding
    assert played["unsuccessful"] == played["dropped"]
    assert played["dropped_share"] == played["dropped"] / 100
    assert demos.episodes == 90
    assert played["repeated"] == max(0, 90 - (100 - played["dropped"]))
    assert (demos.any_violating_steps == 0).all()


def test_groups_of_starts():
    assert groups("train") == ("train/right", "train/bottom", "train/corner")
    assert groups("test/corner") == ("test/corner",)
    with pytest.raises(SurefootError, match="set of starts"):
        groups("trian")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"episodes": 0}, "episodes = 0"),
        ({"violating": 1.0}, "violating = 1.0"),
        ({"seed": -1}, "seed = -1"),
        ({"style": "carefull"}, "Did you mean 'careful'"),
        ({"board": "gab"}, "Did you mean 'gap'"),
        ({"constraints": ("zones",)}, "Did you mean 'zone'"),
    ],
)
def test_wrong_recipes_are_refused(changes, words):
    with pytest.raises(SurefootError) as caught:
        collect(Recipe(**changes))
    assert words in str(caught.value)
