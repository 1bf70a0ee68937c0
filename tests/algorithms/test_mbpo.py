"""MBPO: where its rollouts begin, what they keep, how long they are, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import side_by_side as both
from algorithms.test_loop import PROBLEM, Exact, Line
from surefoot.algorithms.planning import mbpo
from surefoot.algorithms.planning.mbpo import Mbpo, State
from surefoot.data.replay import Replay
from surefoot.errors import SurefootError
from surefoot.task import Box, Discrete, Task
from surefoot.training import checkpoint
from surefoot.training.engine import engine_for
from surefoot.worlds import make
from surefoot.worlds.jax_world import JaxWorld

TINY = Mbpo(
    updates_per_step=2.0,
    rollouts_per_step=2,
    epoch_steps=20,
    members=3,
    model_elites=2,
    model_hidden=(16, 16),
    model_every=20,
    model_epochs=20,
    model_batch_size=32,
    model_learning_rate=3e-3,
    hidden=(16,),
    discount=0.8,
    learning_rate=5e-3,
    alpha=0.05,
    automatic_alpha=False,
    batch_size=40,
    replay_capacity=512,
    warm_up=60,
    steps_per_iteration=20,
)


def filled(state: State, n: int) -> Replay:
    """Real states 0, 1/n, 2/n, ..."""
    rows = jnp.arange(state.replay.capacity)[:, None] / n
    return eqx.tree_at(
        lambda r: (r.data.observation, r.size), state.replay, (rows, jnp.asarray(n, jnp.int32))
    )


def rolled(length: int, *, n: int = 8, broken: float = 9.0, schedule: int = 3) -> tuple[Any, Any, float]:
    """Transitions of 40 rollouts in the exact model, with their next place in the buffer."""
    settings = replace(TINY, rollout_schedule=(1.0, float(schedule), 1.0, 2.0))
    state = settings.init(Line().task, jax.random.key(0))
    model = Exact.create(1, 1, key=jax.random.key(1), members=3, hidden=(4,))
    model = eqx.tree_at(lambda m: m.broken, model, broken)
    simulated, dropped = mbpo.roll(
        settings, model, state.agent, filled(state, n), state.simulated, jnp.asarray(length), state.task,
        jax.random.key(2),
    )  # fmt: skip
    kept = jax.tree.map(lambda x: np.asarray(x)[: int(simulated.size)], simulated.data)
    return kept, simulated, float(dropped)


def test_rollouts_branch_from_real_states_and_go_on_from_there() -> None:
    kept, simulated, dropped = rolled(3)
    assert simulated.capacity == 40 * 3 and len(kept.reward) == 120 and dropped == 0
    state, action, after = (x.reshape(3, 40) for x in (kept.observation, kept.action, kept.next_observation))
    assert set(np.round(state[0] * 8).astype(int)) == set(range(8))
    np.testing.assert_allclose(state[0] * 8, np.round(state[0] * 8), atol=1e-6)
    np.testing.assert_array_equal(state[1:], after[:-1])
    np.testing.assert_allclose(after, PROBLEM.a * state + PROBLEM.b * action, atol=1e-5)
    np.testing.assert_allclose(kept.reward.reshape(3, 40), PROBLEM.reward(state, action), atol=1e-5)
    assert np.abs(action).max() < 1 and action.std() > 0.2  # the stochastic policy acts


def test_rows_that_are_no_numbers_are_left_out_and_end_their_rollout() -> None:
    kept, _, dropped = rolled(2, broken=0.5)
    assert np.isfinite(kept.next_observation).all() and kept.action.max() <= 0.5
    assert 0 < dropped < 80
    # The first step keeps 40 - d rows; of these the second keeps what does not break either.
    assert 80 - 2 * dropped <= len(kept.reward) <= 80 - dropped


@pytest.mark.parametrize("reward", ["learned", "known"])
def test_a_rollout_ends_where_the_task_does(reward: str) -> None:
    """The pendulum has fallen beyond an angle of 0.2, for which it pays 0; the model says 0 of every step."""
    task = Task("InvertedPendulum-v5", Box((4,), (-9.0,) * 4, (9.0,) * 4), Box((1,), (-3.0,), (3.0,)))
    settings = replace(TINY, rollout_schedule=(1.0, 3.0, 1.0, 2.0), reward_model=reward)
    state = settings.init(task, jax.random.key(0))
    drawn = 4 + (reward == "learned")
    angles = jnp.where(jnp.arange(512) % 2 == 0, 0.0, 0.5)  # every other state is one of after the fall
    replay = eqx.tree_at(
        lambda r: (r.data.observation, r.size),
        state.replay,
        (jnp.zeros((512, 4)).at[:, 1].set(angles), jnp.asarray(512, jnp.int32)),
    )
    still = eqx.tree_at(  # a model in which nothing moves
        lambda e: (e.members.weights[-1], e.members.biases[-1]),
        state.model.ensemble,
        (
            jnp.zeros_like(state.model.ensemble.members.weights[-1]),
            jnp.zeros_like(state.model.ensemble.members.biases[-1]).at[:, drawn:].set(-50.0),
        ),
    )
    still = eqx.tree_at(lambda e: e.members.min_log_variance, still, jnp.full((3, drawn), -50.0))
    simulated, _ = mbpo.roll(
        settings, still, state.agent, replay, state.simulated, jnp.asarray(3), task, jax.random.key(2)
    )
    size = int(simulated.size)
    terminated = np.asarray(simulated.data.terminated)[:size]
    fallen = np.asarray(simulated.data.observation)[:size, 1] > 0.2
    np.testing.assert_array_equal(terminated == 1, fallen)
    assert size == 3 * (40 - fallen.sum()) + fallen.sum() and 5 < fallen.sum() < 35
    paid = np.asarray(simulated.data.reward)[:size]
    np.testing.assert_allclose(paid, np.where(fallen, 0.0, 1.0) if reward == "known" else 0.0, atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "lengths"),
    [
        ((1.0, 15.0, 20.0, 150.0), {0: 1, 20: 1, 29: 1, 30: 2, 85: 8, 150: 15, 500: 15}),
        ((1.0, 1.0, 20.0, 150.0), {0: 1, 99: 1}),
    ],
    ids=["hopper", "constant"],
)
def test_rollouts_grow_as_the_published_schedule_says(schedule: Any, lengths: dict[int, int]) -> None:
    """floor(clip((epoch - e0) / (e1 - e0), 0, 1) (l1 - l0) + l0)."""
    settings = Mbpo(rollout_schedule=schedule)
    begun = settings.warm_up  # the random steps are no epochs
    found = {
        epoch: int(mbpo.rollout_length(settings, jnp.asarray(begun + 1000 * epoch))) for epoch in lengths
    }
    assert found == lengths
    assert int(mbpo.rollout_length(settings, jnp.asarray(0))) == lengths[0]
    for length in found.values():  # what is kept is that of one epoch, and there is room for the longest
        assert settings.kept(length) == 400_000 * length <= settings.simulated_capacity
    assert settings.simulated_capacity == 400_000 * int(schedule[1])
    assert replace(settings, simulated_epochs=3).kept(2) == 3 * 800_000


def test_batches_are_mostly_of_the_model() -> None:
    def buffer(reward: float) -> Replay:
        replay = Replay.create(Line().task, 64)
        return eqx.tree_at(
            lambda r: (r.data.reward, r.size), replay, (jnp.full(64, reward), jnp.asarray(64, jnp.int32))
        )

    batch = mbpo.mixed(buffer(0.0), buffer(1.0), jax.random.key(0), 256, 0.05)
    assert batch.reward.shape == (256,) and float(batch.reward.sum()) == 244


def test_a_buffer_gives_its_newest_rows_alone_if_asked() -> None:
    numbered = eqx.tree_at(
        lambda r: (r.data.reward, r.size, r.position),
        Replay.create(Line().task, 64),
        (jnp.arange(64.0), jnp.asarray(64, jnp.int32), jnp.asarray(10, jnp.int32)),
    )
    found = numbered.sample(jax.random.key(0), 1000, 20).reward
    assert set(np.asarray(found).astype(int)) == {*range(54, 64), *range(10)}
    for enough in (64, 100):  # what is not left out changes nothing
        all_of_them = numbered.sample(jax.random.key(0), 1000, enough)
        assert both.same_bits(all_of_them, numbered.sample(jax.random.key(0), 1000))
    part = eqx.tree_at(lambda r: r.size, numbered, jnp.asarray(10, jnp.int32))
    assert set(np.asarray(part.sample(jax.random.key(0), 1000, 4).reward).astype(int)) == {6, 7, 8, 9}


def test_stale_rollouts_are_not_learned_from() -> None:
    """There is room for rollouts of 3 steps; while they have 1 step, what an epoch of these fills is used.
    Old rows whose reward is no number would tell."""
    settings = replace(TINY, rollout_schedule=(1.0, 3.0, 9.0, 10.0), warm_up=20, model_epochs=2)
    world = JaxWorld.create(Line(), 2, jax.random.key(0))
    state = settings.init(world.task, jax.random.key(1))
    room = settings.simulated_capacity
    assert room == 120
    stale = eqx.tree_at(
        lambda r: (r.data.reward, r.size),
        state.simulated,
        (jnp.full(room, jnp.nan), jnp.asarray(room, jnp.int32)),
    )
    state = eqx.tree_at(lambda s: s.simulated, state, stale)
    state, world, metrics = settings.iteration(state, world, jax.random.key(2))
    assert float(metrics["simulated"]) == 40 and int(state.simulated.size) == room
    assert np.isnan(np.asarray(state.simulated.data.reward)).sum() == 80
    assert np.isfinite(float(metrics["critic_loss"]))


def test_trains_in_mujoco() -> None:
    pytest.importorskip("mujoco")
    world: Any = make("gymnasium:InvertedPendulum-v5", envs=1)
    settings = replace(TINY, reward_model="known", model_epochs=2, warm_up=40)
    state = settings.init(world.task, jax.random.key(0))
    for i in range(4):
        state, world, metrics = settings.iteration(state, world, jax.random.key(i))
    assert np.isfinite(float(metrics["critic_loss"])) and int(state.steps) == 80
    # Three fits, each with 40 rollouts of a step; the buffer has room for one round of them.
    assert int(state.simulated.size) == 40 and float(metrics["rollout_length"]) == 1
    np.testing.assert_array_equal(state.simulated.data.reward, 1 - state.simulated.data.terminated)


def test_it_learns_and_resumes_to_the_bit(tmp_path: Any) -> None:
    """Random actions return about -5 an episode, the best ones about -0.6."""
    world = JaxWorld.create(Line(), 2, jax.random.key(0))
    engine = engine_for(TINY, world, None, (0,), 10)
    tree, early, _ = engine.run(engine.start(), 0)
    checkpoint.save(tmp_path / "a", engine.saved(tree), {})
    again = engine.revive(checkpoint.load(tmp_path / "a", engine.template())[0], 10)
    (tree, late, finite), other = (engine.run(each, 10) for each in (tree, again))
    assert both.same_bits(tree, other[0]) and both.same_bits(late, other[1]) and finite.all()
    random, learned = early["return"][:3].mean(), late["return"][-5:].mean()
    assert random < -2.0 and learned > -1.5
    # Nothing is learned of random steps alone; fits begin with the last of them.
    assert np.isnan(early["critic_loss"][:2]).all() and np.isfinite(early["critic_loss"][2:]).all()
    assert np.isnan(early["model_loss"][:2]).all() and np.isfinite(early["model_holdout_error"][2:]).all()
    assert late["model_holdout_error"][-1] < 0.2
    assert (early["simulated"][2:] == 40).all() and (late["rollout_length"] == 1).all()


@pytest.mark.parametrize(
    "options",
    [
        {"real_share": 1.5},
        {"rollouts_per_step": 0},
        {"rollout_schedule": (0.0, 1.0, 20.0, 150.0)},
        {"rollout_schedule": (1.0, 5.0, 150.0, 20.0)},
        {"members": 0},
        {"model_elites": 8},
        {"model_holdout": 0.0},
        {"reward_model": "leaned"},
        {"updates_per_step": 0.01},
        {"hidden": ()},
    ],
)
def test_settings_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(SurefootError, match=next(iter(options))):
        Mbpo(**options)


def test_actions_must_be_real_and_a_reward_known_if_it_is_asked_for() -> None:
    space, settings = Box((1,), (-1.0,), (1.0,)), replace(TINY, reward_model="known")
    with pytest.raises(SurefootError, match="discrete actions"):
        TINY.init(Task("A-v0", space, Discrete(2)), jax.random.key(0))
    with pytest.raises(SurefootError, match="No reward is known for 'A-v0'"):
        settings.init(Task("A-v0", space, space), jax.random.key(0))
