"""LOOP: its planner against Riccati's equation, what it remembers and learns, what it refuses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import side_by_side as both
from oracles.deterministic_control import Lqr
from surefoot.algorithms.planning import loop
from surefoot.algorithms.planning.loop import Loop, State
from surefoot.algorithms.planning.mbpo import Mbpo
from surefoot.algorithms.planning.planner import Memory, Planner
from surefoot.algorithms.rl import td3
from surefoot.data.replay import Replay, Transition
from surefoot.envs.env import StepResult
from surefoot.errors import SurefootError
from surefoot.evaluation.evaluate import evaluate
from surefoot.networks.dynamics import Ensemble
from surefoot.task import Box, Discrete, Task
from surefoot.training import checkpoint
from surefoot.training.engine import engine_for
from surefoot.training.fit import fit, restore
from surefoot.training.metrics import faults
from surefoot.training.policy_io import load_policy
from surefoot.worlds import hosted, make
from surefoot.worlds.jax_world import JaxWorld
from surefoot.worlds.relabel import relabel

PROBLEM = Lqr()


@dataclass(frozen=True)
class Line:
    """The linear problem as an environment; if asked for, actions above 0 have a cost."""

    costs: bool = False
    steps: int = 10

    @property
    def task(self) -> Task:
        names = ("up",) if self.costs else ()
        space = Box((1,), (-9.0,), (9.0,))
        return Task("Line-v0", space, Box((1,), (-1.0,), (1.0,)), names, (0.0,) * len(names), self.steps)

    def reset(self, key: Any) -> Any:
        return jnp.stack([jax.random.uniform(key, minval=-1.0, maxval=1.0), 0.0])

    def step(self, state: Any, action: Any) -> Any:
        u = jnp.clip(action[0], -1.0, 1.0)
        reward = -(PROBLEM.weight * state[0] ** 2 + PROBLEM.price * u**2)
        cost = jnp.maximum(u, 0.0)[None] if self.costs else jnp.zeros(0)
        state = jnp.stack([PROBLEM.a * state[0] + PROBLEM.b * u, state[1] + 1])
        no = jnp.zeros((), bool)
        return state, StepResult(reward, cost, no, state[1] >= self.steps, no)

    def observe(self, state: Any) -> Any:
        return state[:1]


class Exact(Ensemble):
    """A model that knows :class:`Line`; actions above ``broken`` lead to no number."""

    broken: float = 9.0

    def predict(self, observation: Any, action: Any) -> Any:
        x, u = observation[..., 0], action[..., 0]
        after = jnp.where(u > self.broken, jnp.nan, PROBLEM.a * x + PROBLEM.b * u)
        columns = [after - x, -(PROBLEM.weight * x**2 + PROBLEM.price * u**2), u][: 2 + self.costs]
        mean = jnp.stack(columns, axis=-1)
        mean = jnp.broadcast_to(mean, (self.size, *mean.shape[-2:]))
        return mean, jnp.full((*mean.shape[:-1], 2), -60.0)


class Quadratic(eqx.Module):
    """The critic that knows it."""

    p: float

    def __call__(self, observation: Any, action: Any) -> Any:
        x, u = observation[..., 0], action[..., 0]
        after = PROBLEM.a * x + PROBLEM.b * u
        return -(PROBLEM.weight * x**2 + PROBLEM.price * u**2) - PROBLEM.discount * self.p * after**2


SEARCH = Loop(
    plan_horizon=3,
    population=150,
    elites=15,
    cem_iterations=8,
    particles=1,
    members=2,
    model_hidden=(4,),
    hidden=(4,),
    discount=PROBLEM.discount,
)


def knowing(settings: Loop, *, costs: bool = False, broken: float = 9.0) -> Planner:
    """The learner's planner, with the exact model and, where it has a critic, the exact one."""
    state = settings.init(Line(costs).task, jax.random.key(0))
    planner = settings.planner(state)
    model = Exact.create(1, 1, key=jax.random.key(1), members=2, hidden=(4,), costs=int(costs))
    model = eqx.tree_at(lambda m: m.broken, model, broken)
    objective = eqx.tree_at(lambda o: o.ensemble, planner.objective, model)
    if objective.value is not None:
        objective = eqx.tree_at(lambda o: o.value, objective, Quadratic(PROBLEM.p))
    return eqx.tree_at(lambda p: p.objective, planner, objective)


@eqx.filter_jit
def closed_loop(planner: Planner, start: Any, steps: int) -> tuple[Any, Any, Memory]:
    """States, actions and memories from one start in :class:`Line`."""

    def step(carry: Any, key: Any) -> Any:
        x, memory = carry
        action, memory = planner.act_with(memory, x[None], key)
        return (PROBLEM.a * x + PROBLEM.b * action[0], memory), (x, action[0], memory)

    keys = jax.random.split(jax.random.key(3), steps)
    return jax.lax.scan(step, (start, planner.memory()), keys)[1]


# Planning ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("horizon", [1, 5])
def test_with_the_exact_value_any_horizon_gives_the_optimal_action(horizon: int) -> None:
    planner = knowing(replace(SEARCH, plan_horizon=horizon))
    x, u, memory = closed_loop(planner, jnp.asarray(0.9), 5)
    np.testing.assert_allclose(u, -PROBLEM.gain(PROBLEM.p) * np.asarray(x), atol=0.05)
    assert np.all(np.asarray(memory.report["plan_dropped"]) == 0)
    assert np.all(np.isfinite(np.asarray(memory.report["actor_divergence"])))


def test_without_a_value_it_is_short_sighted_by_the_known_amount() -> None:
    settings = replace(SEARCH, plan_horizon=2, terminal="none")
    assert settings.sequences == 0
    x, u, _ = closed_loop(knowing(settings), jnp.asarray(0.9), 3)
    short, best = PROBLEM.gain(PROBLEM.backup(0.0)), PROBLEM.gain(PROBLEM.p)
    assert best - short > 0.15
    np.testing.assert_allclose(u, -short * np.asarray(x), atol=0.05)


def test_a_plan_is_followed_before_the_next_is_made() -> None:
    planner = knowing(replace(SEARCH, plan_every=3))
    x, u, memory = closed_loop(planner, jnp.asarray(0.9), 7)
    np.testing.assert_array_equal(memory.age, [0, 1, 2, 0, 1, 2, 0])
    actions = np.asarray(memory.actions)[..., 0]
    np.testing.assert_array_equal(u, actions[:, 0])
    for made in (0, 3):  # the next two actions are those of the plan
        np.testing.assert_array_equal(u[made : made + 3], actions[made])
    np.testing.assert_allclose(u[:3], -PROBLEM.gain(PROBLEM.p) * np.asarray(x[:3]), atol=0.08)
    # What is reported is that of the last plan, but the actor's divergence that of each step.
    assert memory.report["plan_elite_return"][1] == memory.report["plan_elite_return"][0]
    assert memory.report["actor_divergence"][1] != memory.report["actor_divergence"][0]


def test_candidates_that_are_no_numbers_are_dropped_counted_told_and_not_learned_from() -> None:
    """From x = -0.9 the best action is 0.71, but above 0.3 the model breaks."""
    settings = replace(SEARCH, plan_horizon=2, terminal_action="actor", replay_augmentation=True)
    _, u, memory = closed_loop(knowing(settings, broken=0.3), jnp.asarray(-0.9), 1)
    assert 0.2 < float(u[0]) <= 0.3
    dropped = float(memory.report["plan_dropped"][0])
    assert 50 < dropped < 8 * 155
    told = faults({"plan_dropped": np.array([0.0, dropped])}, (3, 4))
    assert (
        list(told) == ["plans dropped, seed 4"]
        and "candidates a step were dropped" in told["plans dropped, seed 4"]
    )
    met = memory.simulated
    broken = ~np.isfinite(np.asarray(met.next_observation)).all(axis=-1)
    assert 0 < broken.sum() < broken.size
    buffer = loop.augmented(Replay.create(Line().task, 200), met, jnp.asarray(True))
    assert buffer is not None and int(buffer.size) == (~broken).sum()
    kept = jax.tree.map(lambda x: np.asarray(x)[: int(buffer.size)], buffer.data)
    assert all(np.isfinite(values).all() for values in jax.tree.leaves(kept))
    assert kept.action.max() <= 0.3


def test_safe_plans_keep_the_limit_where_the_best_ones_do_not() -> None:
    """The cost is the action where it is above 0; the two steps of a plan may cost 0.5."""
    assert 0.9 * PROBLEM.gain(PROBLEM.p) > 0.6  # without limits the first action, as tested above
    safe = knowing(replace(SEARCH, plan_cost_limits=(0.5,)), costs=True)
    assert safe.limits == (0.5,) and knowing(SEARCH).limits is None
    _, u, memory = closed_loop(safe, jnp.asarray(-0.9), 1)
    assert 0.25 < float(u[0]) < 0.5 + 0.02
    plan = np.asarray(memory.actions)[0, :2, 0]
    assert np.maximum(plan, 0).sum() < 0.5 + 0.05
    assert 0 < float(memory.report["plan_feasible"][0]) < 1


def test_gains_are_measured_beside_the_plan() -> None:
    """With an actor that does nothing, a plan gains over it; over plain CEM it hardly does."""
    planner = knowing(replace(SEARCH, compare_planners=True))
    last = planner.actor.network
    still = jax.tree.map(jnp.zeros_like, last)
    planner = eqx.tree_at(lambda p: p.actor.network, planner, still)
    _, _, memory = closed_loop(planner, jnp.asarray(0.9), 1)
    p, x = PROBLEM.p, 0.9
    worth = (
        -p * x**2
    )  # of the best plan; the actor's own is that of u = 0 at each of three steps, then the best
    idle, y, discount = 0.0, x, 1.0
    for _ in range(3):
        idle -= discount * PROBLEM.weight * y**2
        y, discount = PROBLEM.a * y, discount * PROBLEM.discount
    idle -= discount * p * y**2
    assert float(memory.report["gain_over_actor"][0]) == pytest.approx(worth - idle, abs=0.03)
    assert abs(float(memory.report["gain_over_cem"][0])) < 0.02


# Learning ----------------------------------------------------------------------------------------------


TINY = Loop(
    plan_horizon=2,
    population=24,
    elites=6,
    cem_iterations=3,
    actor_sequences=2,
    particles=1,
    members=2,
    model_hidden=(16, 16),
    model_every=40,
    model_epochs=20,
    model_batch_size=32,
    model_learning_rate=3e-3,
    hidden=(16,),
    discount=0.8,
    learning_rate=3e-3,
    batch_size=32,
    replay_capacity=512,
    warm_up=80,
    steps_per_iteration=20,
)


def test_it_learns_in_a_compiled_world_and_is_exported_and_evaluated(tmp_path: Path) -> None:
    """Random actions return about -5 an episode, the best ones about -0.5."""
    world = JaxWorld.create(Line(), 2, jax.random.key(0))
    run = fit(
        TINY, world, steps=400, run=tmp_path / "run", log_every=20, evaluate_every=400, progress=False,
        evaluate_episodes=8,
    )  # fmt: skip
    rows = run.metrics()
    random, late = rows["return"][:4].mean(), rows["return"][-4:].mean()
    assert random < -2.0 and late > -1.2 and late > 0.5 * random
    for name in ("plan_usage", "plan_elite_return"):  # random actions come first, none of them planned
        assert np.isnan(rows[name][:4]).all() and np.isfinite(rows[name][4:]).all()
    taken = np.asarray(restore(run).state.replay.data.action)[0, :, 0]
    assert taken[:80].std() == pytest.approx(3**-0.5, abs=0.1)
    assert np.isnan(rows["model_loss"][0]) and np.isfinite(rows["model_loss"][1:]).all()
    assert rows["model_loss"][-1] < rows["model_loss"][1]
    assert np.isnan(rows["critic_loss"][:4]).all() and np.isfinite(rows["critic_loss"][4:]).all()
    assert rows["eval_return"][-1] > -1.2 and np.isfinite(rows["eval_actor_return"][-1])
    assert load_policy(run.path).kind == "bounded-gaussian"  # the actor, for NumPy
    planned, acted = (
        evaluate(run, episodes=8, actor=actor, out=False, world=world) for actor in (False, True)
    )
    assert planned.metrics["return"].estimate > -1.2
    assert planned.metrics["return"].estimate != acted.metrics["return"].estimate
    assert any("planner" in note for note in planned.notes) and any("actor" in note for note in acted.notes)
    with pytest.raises(SurefootError, match="acts by planning, which has no mode 'greedy'"):
        evaluate(run, mode="greedy", out=False, world=world)


def test_resuming_gives_the_same_bits_the_planners_memory_included(tmp_path: Path) -> None:
    settings = replace(
        TINY, warm_up=20, steps_per_iteration=4, model_every=20, model_epochs=2, replay_augmentation=True,
        off_policy="sac",
    )  # fmt: skip
    world = JaxWorld.create(Line(steps=7), 1, jax.random.key(0))
    engine = engine_for(settings, world, None, (0,), 8)
    tree, _, _ = engine.run(engine.start(), 0)
    state = jax.tree.map(lambda x: x[0], tree["state"])
    # 12 of the 32 steps were planned; each adds 3 iterations of 16 transitions
    assert int(state.simulated.size) == 12 * 48
    assert int(tree["world"].memory.age[0, 0]) == 0
    checkpoint.save(tmp_path / "a", engine.saved(tree), {})
    again = engine.revive(checkpoint.load(tmp_path / "a", engine.template())[0], 8)
    first, second = (engine.run(each, 8) for each in (tree, again))
    assert both.same_bits(first[0], second[0]) and both.same_bits(first[1], second[1])
    simulated = jax.tree.map(lambda x: np.asarray(x[0]), first[0]["state"].simulated.data)
    assert np.all(np.abs(simulated.action) <= 1) and np.isfinite(simulated.reward).all()


def test_steps_that_do_not_divide_over_the_environments_are_named() -> None:
    world: Any = JaxWorld.create(Line(), 16, jax.random.key(0))
    state = Loop(hidden=(4,), model_hidden=(4,)).init(world.task, jax.random.key(0))
    with pytest.raises(SurefootError, match="make it with envs=1"):
        Loop(hidden=(4,), model_hidden=(4,)).iteration(state, world, jax.random.key(0))


def test_batches_mix_real_and_simulated_transitions() -> None:
    def buffer(reward: float, size: int) -> Replay:
        replay = Replay.create(Line().task, 64)
        return eqx.tree_at(
            lambda r: (r.data.reward, r.size), replay, (jnp.full(64, reward), jnp.asarray(size, jnp.int32))
        )

    batch = loop.mixed(buffer(0.0, 64), buffer(1.0, 64), jax.random.key(0), 4000, 0.3)
    assert float(batch.reward.mean()) == pytest.approx(0.3, abs=0.03)
    empty = loop.mixed(buffer(0.0, 64), buffer(1.0, 0), jax.random.key(0), 100, 0.3)
    assert float(empty.reward.max()) == 0.0


def test_a_buffer_takes_those_rows_that_a_mask_holds_for() -> None:
    task = Line().task
    replay = Replay.create(task, 8)
    new = Transition(
        jnp.arange(5.0)[:, None], jnp.zeros((5, 1)), jnp.arange(5.0), jnp.zeros((5, 0)),
        jnp.ones((5, 1)), jnp.zeros(5),
    )  # fmt: skip
    replay = replay.add_some(new, jnp.array([True, False, True, True, False]))
    assert int(replay.size) == 3
    np.testing.assert_array_equal(replay.data.reward[:4], [0, 2, 3, 0])
    replay = replay.add_some(new, jnp.ones(5, bool)).add_some(new, jnp.arange(5) == 4)  # goes around
    np.testing.assert_array_equal(replay.data.reward, [4, 2, 3, 0, 1, 2, 3, 4])
    assert int(replay.position) == 1 and int(replay.size) == 8
    with pytest.raises(SurefootError, match="more than the 8 kept"):
        replay.add_some(jax.tree.map(lambda x: jnp.concatenate([x, x]), new), jnp.ones(10, bool))


def test_the_value_of_a_random_policy_leaves_the_policy_as_it_is() -> None:
    settings = replace(TINY, terminal="random", actor_sequences=None)
    before = td3.init_agent(settings.off_policy_settings, Line().task, jax.random.key(0))  # type: ignore[arg-type]
    moved = jax.tree.map(lambda x: x + 1, before)
    after = loop.held(moved, before)
    assert both.same_bits((after.actor, after.target_actor), (before.actor, before.target_actor))
    assert both.same_bits((after.critics, after.updates), (moved.critics, moved.updates))
    assert (
        settings.sequences == 0
        and settings.planner(settings.init(Line().task, jax.random.key(0))).actor is None
    )


def test_random_actions_come_first() -> None:
    """That nothing is planned for them is seen where it learns."""
    state = TINY.init(Line().task, jax.random.key(0))
    assert bool(TINY.policy(state).uniform)
    later = eqx.tree_at(lambda s: s.steps, state, jnp.asarray(80, jnp.int32))
    assert not bool(TINY.policy(later).uniform)


# What is taken for what -------------------------------------------------------------------------------


def remembering(reward: float) -> Replay:
    """64 real or simulated transitions of :class:`Line` with that reward."""
    rng = np.random.default_rng(0)
    x, u = (jnp.asarray(rng.uniform(-1, 1, (64, 1)), jnp.float32) for _ in range(2))
    after, none = PROBLEM.a * x + PROBLEM.b * u, jnp.zeros((64, 0))
    rows = Transition(x, u, jnp.full(64, reward), none, after, jnp.zeros(64))
    return Replay.create(Line().task, 64).add_some(rows, jnp.ones(64, bool))


def improved(settings: Loop, real: float, simulated: float | None = None) -> tuple[Any, Any, Any]:
    """Agent before and after some updates, and their metrics."""
    before = settings.init(Line().task, jax.random.key(0)).agent
    other = None if simulated is None else remembering(simulated)
    given = before, remembering(real), other, jax.random.key(1), jnp.asarray(True)
    after, metrics = loop.improve(settings, *given)
    return before, after, metrics


@pytest.mark.parametrize("method", ["td3", "sac"])
def test_updates_leave_a_random_policy_alone_and_move_a_learned_one(method: str) -> None:
    for terminal, moves in (("random", False), ("learned", True)):
        settings = replace(
            TINY, terminal=terminal, actor_sequences=None, off_policy=method, steps_per_iteration=4
        )
        before, after, _ = improved(settings, real=1.0)
        assert not both.same_bits(after.critics, before.critics)
        assert both.same_bits(after.actor, before.actor) != moves


def test_updates_learn_from_simulated_transitions_in_their_share() -> None:
    """Rewards that are no numbers tell which ones were met."""
    nothing = float("nan")
    for share, real, simulated in ((1.0, nothing, 1.0), (0.0, 1.0, nothing)):
        settings = replace(TINY, replay_augmentation=True, simulated_share=share, simulated_capacity=2000)
        _, _, metrics = improved(settings, real, simulated)
        assert np.isfinite(float(metrics["critic_loss"]))
    _, _, metrics = improved(replace(settings, simulated_share=0.3), 1.0, nothing)
    assert np.isnan(float(metrics["critic_loss"]))


def test_the_critic_at_the_end_is_the_one_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    x, u = (jnp.asarray(rng.uniform(-1, 1, (50, 1)), jnp.float32) for _ in range(2))
    expected = {"first": lambda q: q[0], "min": lambda q: q.min(axis=0), "mean": lambda q: q.mean(axis=0)}
    for which, of in expected.items():
        settings = replace(TINY, terminal_critic=which)
        state = settings.init(Line().task, jax.random.key(0))
        value = settings.planner(state).objective.value
        assert value is not None
        q = np.asarray(state.agent.critics(x, u))
        assert 0 < (q[0] < q[1]).sum() < 50  # neither is the smaller one everywhere
        np.testing.assert_allclose(value(x, u), of(q), rtol=1e-6)


def test_limits_are_kept_with_costs_that_were_learned() -> None:
    """The cost is the action where it is above 0. From x < 0 the best action is above 0, so that keeping to
    the limit of 0.1 in each step is against the reward."""
    settings = replace(TINY, plan_cost_limits=(0.1,), cost_hidden=(16,))
    world = JaxWorld.create(Line(costs=True), 2, jax.random.key(0))
    engine = engine_for(settings, world, None, (0,), 20)
    tree, metrics, _ = engine.run(engine.start(), 0)
    # Ten steps an episode; random actions cost 0.25 a step.
    assert metrics["cost/up"][:4].mean() > 1.8 and metrics["cost/up"][-4:].mean() < 1.0
    assert np.isnan(metrics["plan_feasible"][:4]).all() and (metrics["plan_feasible"][4:] < 1).all()
    planner = settings.planner(jax.tree.map(lambda x: x[0], tree["state"]))
    u = closed_loop(planner, jnp.asarray(-0.9), 3)[1]
    assert np.maximum(u, 0).max() < 0.25  # without a limit it would begin with 0.71


def test_trains_in_mujoco_and_the_planner_compiles_once() -> None:
    """Also where the model is fitted between two plans, and where random actions come first."""
    pytest.importorskip("mujoco")
    world: Any = make("gymnasium:InvertedPendulum-v5", envs=1)
    settings = replace(TINY, steps_per_iteration=10, warm_up=20, model_every=20, model_epochs=2)
    state = settings.init(world.task, jax.random.key(0))
    programs, losses, before = [], [], hosted._act_with._cache_size()
    for i in range(6):
        state, world, metrics = settings.iteration(state, world, jax.random.key(i))
        programs.append(hosted._act_with._cache_size())
        losses.append(float(metrics["model_loss"]))
    assert int(state.steps) == 60 and len(set(losses[1:])) == 3  # fitted after 20, 40 and 60 steps
    assert np.isfinite(float(metrics["critic_loss"])) and np.isfinite(float(metrics["plan_elite_return"]))
    assert set(programs) == {before + 1}


# What is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"plan_horizon": 0}, "plan_horizon"),
        ({"population": 0}, "population"),
        ({"elites": 0}, "elites"),
        ({"elites": 106}, "more than the 105 candidates"),
        ({"cem_iterations": 0}, "iterations"),
        ({"particles": 0}, "particles"),
        ({"plan_every": 6}, "plan_every"),
        ({"members": 0}, "members"),
        ({"actor_sequences": -1}, "actor_sequences"),
        ({"off_policy": "td4"}, "Did you mean 'td3'"),
        ({"terminal": "learnt"}, "Did you mean 'learned'"),
        ({"plan_precision": "float16"}, "Did you mean 'bfloat16'"),
        ({"terminal": "none", "actor_sequences": 5}, "actor_sequences must be 0"),
        ({"plan_horizon": 1, "plan_cost_limits": (1.0,)}, "no model step"),
        ({"plan_horizon": 1, "replay_augmentation": True, "plan_every": 1}, "no model step"),
        ({"replay_augmentation": True, "plan_every": 2}, "plan_every"),
        ({"plan_cost_limits": (-1.0,)}, "plan_cost_limits"),
        ({"compare_planners": True, "actor_sequences": 0}, "compare_planners"),
        ({"discount": 1.0}, "discount"),
        ({"hidden": ()}, "hidden"),
        ({"simulated_share": 1.5}, "simulated_share"),
        ({"updates_per_step": 0.01}, "updates_per_step"),
        ({"model_patience": 3}, "^model_patience needs .*; set model_holdout"),
        # 4 model steps x 5 members x 4 particles x 105 candidates x 5 iterations
        ({"replay_augmentation": True, "simulated_per_step": 42_001}, "more than the 42,000 transitions"),
        ({"replay_augmentation": True, "simulated_capacity": 49}, "49 is less than the 50 transitions"),
    ],
)
def test_settings_that_cannot_work_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SurefootError, match=said):
        Loop(**options)


def test_as_many_simulated_transitions_as_there_are_can_be_asked_for() -> None:
    """And as many kept as a step adds; where none are asked for neither number matters."""
    Loop(replay_augmentation=True, simulated_per_step=42_000, simulated_capacity=42_000)
    Loop(replay_augmentation=True, simulated_capacity=50)
    Loop(simulated_per_step=42_001, simulated_capacity=49)
    # 1 model step x 2 members x 26 candidates x 3 iterations; it is enough to trace a plan
    settings = replace(TINY, replay_augmentation=True, simulated_per_step=156, simulated_capacity=3120)
    planner = settings.planner(settings.init(Line().task, jax.random.key(0)))
    given = planner.memory(), jnp.zeros(1), jax.random.key(0)
    assert eqx.filter_eval_shape(planner.act_with, *given)[1].simulated.reward.shape == (156,)
    more = replace(planner, objective=replace(planner.objective, simulated=156 // 3 + 1))
    with pytest.raises(SurefootError, match="simulated = 53"):
        eqx.filter_eval_shape(more.act_with, *given)


SPACE = Box((1,), (-9.0,), (9.0,))
BOUNDED = Box((1,), (-1.0,), (1.0,))


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        (Task("A-v0", SPACE, Discrete(9)), {}, "discrete actions"),
        (Task("A-v0", SPACE, Box((1,), (-np.inf,), (np.inf,))), {}, "without bounds"),
        (Task("A-v0", SPACE, BOUNDED), {"reward_model": "known"}, "No reward is known for 'A-v0'"),
        (Task("A-v0", SPACE, BOUNDED), {"plan_cost_limits": (1.0,)}, "reports no cost"),
        (
            Task("A-v0", SPACE, BOUNDED, ("a", "b", "c"), (0.0,) * 3),
            {"plan_cost_limits": (1.0, 2.0)},
            "has 3 constraints",
        ),
    ],
    ids=["discrete", "unbounded", "unknown-reward", "no-cost", "three-costs"],
)
def test_tasks_that_do_not_fit_are_named(task: Task, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SurefootError, match=said):
        Loop(hidden=(4,), model_hidden=(4,), **options).init(task, jax.random.key(0))


def test_known_rewards_and_ends_are_taken_where_they_are_known() -> None:
    task = Task("InvertedPendulum-v5", Box((4,), (-9.0,) * 4, (9.0,) * 4), Box((1,), (-3.0,), (3.0,)))

    def planner(**options: Any) -> Planner:
        settings = Loop(hidden=(4,), model_hidden=(4,), **options)
        state: State = settings.init(task, jax.random.key(0))
        assert state.model.ensemble.rewards == ("reward_model" not in options)
        return settings.planner(state)

    usual, known, none = planner(), planner(reward_model="known"), planner(termination_model="none")
    fallen = jnp.array([0.0, 0.5, 0.0, 0.0])
    assert usual.objective.reward is None and none.objective.termination is None
    assert bool(usual.objective.termination(fallen, jnp.zeros(1), fallen))  # type: ignore[misc]
    assert float(known.objective.reward(fallen, jnp.zeros(1), fallen)) == 0.0  # type: ignore[misc]


OWN = """
import jax.numpy as jnp, numpy as np
def reward(s, a, after): return after[..., 0] - 0.5 * a[..., 0]
def ends(s, a, after): return after[..., 0] > 3.0
def plain(s, a, after): return np.asarray(after)[..., 0]
def whole(s, a, after): return after
"""


@pytest.mark.parametrize("learner", [Loop, Mbpo])
@pytest.mark.parametrize(
    "options",
    [
        {"model_learning_rate": 0.0},
        {"model_batch_size": 0},
        {"model_epochs": 0},
        {"model_holdout": 0.6},
        {"model_max_minibatches": 0},
        {"model_patience": -1, "model_holdout": 0.2},
    ],
    ids=str,
)
def test_settings_of_the_fit_have_the_names_of_the_options(learner: type[Any], options: Any) -> None:
    with pytest.raises(SurefootError, match="^" + next(iter(options))):
        learner(**options)


@pytest.mark.parametrize("learner", [Loop, Mbpo])
def test_a_reward_and_a_rule_of_ones_own(learner: type[Any], tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "planning_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    small: dict[str, Any] = {"hidden": (4,), "model_hidden": (4,)}
    settings = learner(reward_model="planning_mine:reward", termination_model="planning_mine:ends", **small)
    task = Task("Mine-v0", Box((2,), (-9.0,) * 2, (9.0,) * 2), Box((1,), (-1.0,), (1.0,)))
    state = settings.init(task, jax.random.key(0))
    assert not state.model.ensemble.rewards
    reward, ends = loop.known_parts(settings, task)
    here, action = jnp.array([[4.0, 0.0], [2.0, 0.0]]), jnp.ones((2, 1))
    with monkeypatch.context() as patch:  # planners are made at every step, and need no other trial
        patch.setattr(jax, "eval_shape", lambda *_: pytest.fail("tried again"))
        assert loop.known_parts(settings, task)[0] is reward
    assert reward(here, action, here).tolist() == [3.5, 1.5]
    assert ends(here, action, here).tolist() == [True, False]
    for wrong, said in (
        ("planning_mine:plain", "cannot be compiled; write it with jax.numpy"),
        ("planning_mine:whole", r"gives \(3, 2, 2\) for states of shape \(3, 2, 2\)"),
        ("planning_mine:rewrad", "Did you mean 'reward'"),
        ("nowhere:at_all", "no module 'nowhere'"),
    ):
        with pytest.raises(SurefootError, match=said):
            learner(reward_model=wrong, **small).init(task, jax.random.key(0))
    with pytest.raises(SurefootError, match="Write MODULE:FUNCTION"):
        learner(reward_model="mine", **small)


def made(**options: Any) -> Any:
    pytest.importorskip("mujoco")
    return make("gymnasium:Hopper-v5", envs=1, **options)


def test_what_is_known_is_not_taken_for_an_environment_with_other_rules() -> None:
    """It is told; a known reward is refused."""
    settings = replace(TINY, steps_per_iteration=2)
    other = made(terminate_when_unhealthy=False)
    state = settings.init(made().task, jax.random.key(0))
    planner = settings.planner(state)
    assert planner.objective.termination is not None and settings.cautions(made().task, 1) == {}
    assert settings.planner(settings.init(other.task, jax.random.key(0))).objective.termination is None
    assert replace(settings, termination_model="none").cautions(other.task, 1) == {}
    (told,) = settings.cautions(other.task, 1).values()
    assert "was made with terminate_when_unhealthy" in told and "termination_model none" in told
    with pytest.raises(SurefootError, match=r"known reward need not hold\. Use reward_model learned"):
        replace(settings, reward_model="known").init(other.task, jax.random.key(0))


@pytest.mark.parametrize("prior", [None, 0.1])
def test_a_known_reward_is_refused_where_another_is_learned(tmp_path: Path, prior: float | None) -> None:
    world = relabel(made(), lambda s: s[..., 0], prior_weight=prior)
    for learner in (replace(TINY, steps_per_iteration=2), Mbpo(hidden=(4,), model_hidden=(4,))):
        learner.check(world)
        known = replace(learner, reward_model="known")
        known.check(made())
        with pytest.raises(SurefootError, match="critics would learn from another reward"):
            fit(known, world, steps=2, run=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
