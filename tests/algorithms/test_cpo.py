"""CPO on the forked road, whose constrained optimum linear programming knows."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracles.cmdp import expected_sums, solve
from probe.road import START, TABLES, Road
from probe.worlds import Constant
from surefoot.algorithms.safe.cpo import Cpo, fit, improve, update
from surefoot.algorithms.safe.episodes import mean_costs, weights
from surefoot.errors import SurefootError
from surefoot.worlds.jax_world import JaxWorld
from surefoot.worlds.world import Episodes

ROAD = Road(0.5, horizon=25)
CPO = Cpo(
    batch_steps=5_000,
    hidden=(16,),
    value_hidden=(16,),
    discount=1.0,
    cost_discount=1.0,
    radius=0.02,
)


@eqx.filter_jit
def play(policy, key, env=ROAD):
    return JaxWorld.create(env, 1, key).collect(policy, Episodes(200), key)[1]


def learn(state, epochs, limit, env=ROAD):
    rows = []
    for epoch in range(epochs):
        batch = play(state.policy, jax.random.key(epoch), env)
        state, metrics = update(CPO, state, batch, jnp.array([limit]), ("harm",))
        cost = float(mean_costs(batch, 1.0).undiscounted[0])
        rows.append({**{name: float(value) for name, value in metrics.items()}, "cost": cost})
    return state, {name: np.array([row[name] for row in rows]) for name in rows[0]}


def worth(policy, tables=TABLES):
    """Exact reward and cost."""
    chances = np.asarray(jnp.exp(policy.log_probabilities(jnp.eye(3))))
    transition, *values, start, goes_on = tables
    return [expected_sums(transition, table, start, goes_on, chances) for table in values]


@pytest.mark.parametrize("draw", [0, 1])
def test_approaches_it_on_random_tables_too(draw):
    road = replace(ROAD, draw=draw)
    limit = 0.4 * solve(*road.tables, 100.0).cost
    state, metrics = learn(CPO.init(ROAD.task, jax.random.key(0)), 100, limit, road)
    reward, cost = worth(state.policy, road.tables)
    assert abs(metrics["cost"][-20:].mean() - limit) < 0.15 * limit
    assert reward > 0.95 * solve(*road.tables, cost).reward


def test_approaches_what_linear_programming_finds():
    first = CPO.init(ROAD.task, jax.random.key(0))
    state, metrics = learn(first, 50, 0.5)  # binding, from an unsafe start
    assert metrics["case"][0] == 0 and metrics["recovery"][0] == 1
    assert 2 in metrics["case"][-20:]  # the limit cuts the region
    assert abs(metrics["cost"][-20:].mean() - 0.5) < 0.12
    reward, cost = worth(state.policy)
    assert reward > 0.85 * solve(*TABLES, cost).reward
    assert (metrics["kl"] <= 0.0201).all() and np.isfinite(list(metrics.values())).all()
    state, metrics = learn(first, 40, 10.0)  # slack: plain trust-region steps
    assert (metrics["case"] == 3).all() and metrics["recoveries"][-1] == 0
    assert worth(state.policy)[0] > 0.95 * solve(*TABLES, 10.0).reward
    for limit in (0.0, -1.0):  # at its end, and past it
        _, metrics = learn(state, 2, limit)
        assert metrics["recovery"].all() and np.isfinite(list(metrics.values())).all()


def test_descent_above_a_limit_is_blind_to_rewards():
    """Above its limit, though a step leads back, the costs alone decide; below it the rewards count again."""
    state = CPO.init(ROAD.task, jax.random.key(0))
    batch = play(state.policy, jax.random.key(1))
    cost = float(mean_costs(batch, 1.0).undiscounted[0])
    dearer = eqx.tree_at(lambda b: b.reward, batch, 3 - 2 * batch.reward)

    def step(recovery, batch, limit):
        learner = replace(CPO, recovery=recovery)
        return update(learner, state, batch, jnp.array([limit]), ("harm",))

    limit = cost - 0.05  # within reach
    (one, metrics), (other, _) = (step("descent", b, limit) for b in (batch, dearer))
    assert metrics["case"] == 0 and metrics["recovery"] == 1
    assert eqx.tree_equal(one.policy, other.policy) and not eqx.tree_equal(one.policy, state.policy)
    assert worth(one.policy)[1] < worth(state.policy)[1]
    (one, metrics), (other, _) = (step("constrained", b, limit) for b in (batch, dearer))
    assert metrics["case"] == 1 and not eqx.tree_equal(one.policy, other.policy)
    same = (step(recovery, batch, cost + 0.05)[0].policy for recovery in ("descent", "constrained"))
    assert eqx.tree_equal(*same)


def tried(learner, excess):
    """A long step on made-up advantages, what it changed, and the trial before the one that was taken.

    The surrogates are those of the paper's line 5, written out; each is 0 where the policy stays.
    """
    state = learner.init(ROAD.task, jax.random.key(3))
    seen = jax.random.normal(jax.random.key(4), (300, 3))
    action = state.policy.act(seen, jax.random.key(5))
    weight = jnp.full(300, 1 / 300)
    gain = jnp.where(action == 1, 1.0, -1.0) * jnp.tanh(3 * seen[:, 0])
    harm = (gain + seen[:, 1] * jnp.abs(gain))[:, None]
    after, metrics = improve(learner, state.policy, seen, action, weight, gain, harm, jnp.array([excess]))
    fraction = float(metrics["step_fraction"])

    def surrogates(share):
        policy = jax.tree.map(
            lambda old, new: old + share / fraction * (new - old) if eqx.is_inexact_array(old) else old,
            state.policy,
            after,
        )
        ratio = np.asarray(jnp.exp(policy.log_prob(seen, action) - state.policy.log_prob(seen, action)))
        before, now = (np.asarray(p.log_probabilities(seen), float) for p in (state.policy, policy))
        kl = np.mean(np.sum(np.exp(before) * (before - now), axis=1))
        return np.mean((ratio - 1) * np.asarray(gain)), np.mean((ratio - 1) * np.asarray(harm)[:, 0]), kl

    return fraction, surrogates(fraction), surrogates(fraction / learner.backtrack_factor), metrics


@pytest.mark.parametrize(("excess", "radius", "case"), [(-0.02, 1.0, 2), (0.02, 3.0, 1)])
def test_a_step_is_shortened_until_no_cost_rises_beyond_its_room(excess, radius, case):
    """Steps far beyond where gradients say what happens; above the limit there is no room at all."""
    fraction, taken, before, metrics = tried(replace(CPO, radius=radius), excess)
    assert metrics["case"] == case and 0 < fraction < 1
    assert taken[1] <= max(-excess, 0.0) + 1e-6 and taken[2] <= radius
    assert case == 1 or taken[0] >= 0
    assert before[1] > max(-excess, 0.0) and before[2] < radius  # the cost alone forbade that trial


def test_a_step_is_shortened_until_no_reward_is_lost():
    """Rewards fall again 1.3 spreads away; the whole step goes further, and no cost forbids it."""
    learner = replace(CPO, radius=4.0, damping=1e-3)
    policy = learner.init(Road(0.5, mixed=True, horizon=25).task, jax.random.key(3)).policy
    seen = jax.random.normal(jax.random.key(4), (3_000, 3))
    action = jax.vmap(policy.act)(seen, jax.random.split(jax.random.key(5), 3_000))
    spreads = (action - policy.mode(seen))[:, 0] / jnp.exp(policy.log_std[0])
    gain, harm, weight = jnp.sin(2.5 * spreads), jnp.zeros((3_000, 1)), jnp.full(3_000, 1 / 3_000)
    after, metrics = improve(learner, policy, seen, action, weight, gain, harm, jnp.array([-5.0]))
    fraction = float(metrics["step_fraction"])

    def surrogate(share):
        moved = jax.tree.map(lambda old, new: old + share / fraction * (new - old), policy, after)
        ratio = jnp.exp(moved.log_prob(seen, action) - policy.log_prob(seen, action))
        apart = (moved.mode(seen) - policy.mode(seen))[:, 0] / jnp.exp(moved.log_std[0])
        narrower = 2 * (policy.log_std - moved.log_std)[0]
        kl = jnp.mean(jnp.exp(narrower) + apart**2 - 1 - narrower) / 2
        return float(jnp.mean((ratio - 1) * gain)), float(kl)

    assert metrics["case"] == 3 and 0 < fraction < 1
    (taken, apart), (before, further) = surrogate(fraction), surrogate(fraction / learner.backtrack_factor)
    assert taken >= 0 > before
    assert apart == pytest.approx(float(metrics["kl"]), rel=1e-3) and further < learner.radius


def test_real_actions_are_brought_below_a_limit():
    """From a start above it, with discounts of their own."""
    road = Road(0.5, mixed=True, horizon=25)
    learner = replace(CPO, discount=0.9, cost_discount=0.99, initial_std=0.3)
    state, rows = learner.init(road.task, jax.random.key(0)), []
    np.testing.assert_allclose(jnp.exp(state.policy.log_std), 0.3 * 0.5, rtol=1e-5)  # of half a range of 1
    for epoch in range(25):
        batch = play(state.policy, jax.random.key(epoch), road)
        state, metrics = update(learner, state, batch, jnp.array([0.5]), ("harm",))
        rows.append([float(mean_costs(batch, 1.0).undiscounted[0]), float(metrics["kl"])])
    cost, kl = np.array(rows).T
    assert cost[0] > 1.0 and abs(cost[-8:].mean() - 0.5) < 0.15
    assert (kl <= 0.0201).all() and kl.max() > 0.01
    fresh = learner.init(road.task, jax.random.key(1))
    again = learner.start_from(fresh, state.policy, None)
    np.testing.assert_array_equal(again.policy.mode(jnp.eye(3)), state.policy.mode(jnp.eye(3)))


@pytest.mark.parametrize("minibatch", [0, 500])
def test_values_come_to_those_of_the_road(minibatch):
    learner = replace(CPO, value_minibatch=minibatch, value_learning_rate=5e-3, value_steps=600)
    state = learner.init(ROAD.task, jax.random.key(0))
    batch = play(state.policy, jax.random.key(1))
    weight = weights(batch).reshape(-1)
    values, _, errors = eqx.filter_jit(fit)(learner, state, batch, weight)
    states = jnp.eye(3)
    found = [
        np.asarray(START) @ np.asarray(part).squeeze()
        for part in (values.reward(states), values.costs(states))
    ]
    np.testing.assert_allclose(found, worth(state.policy), rtol=0.05)  # 400 episodes
    assert np.isfinite(errors).all()


def test_what_does_not_fit_is_refused_in_one_line():
    key = jax.random.key(0)
    with pytest.raises(SurefootError, match="cost_limits = -2"):
        Cpo(cost_limits=(-2.0,))
    with pytest.raises(SurefootError, match="recovery"):
        Cpo(recovery="none")
    with pytest.raises(SurefootError, match="backtrack_factor"):
        Cpo(backtrack_factor=1.0)
    with pytest.raises(SurefootError, match="gives no limit for the cost 'harm'"):
        CPO.init(replace(ROAD.task, limits=(0.0,)), key)
    assert replace(CPO, cost_limits=(0.0,)).init(replace(ROAD.task, limits=(0.0,)), key)
    with pytest.raises(SurefootError, match="needs a cost signal"):
        CPO.init(Constant().task, key)
    with pytest.raises(SurefootError, match="--horizon"):
        CPO.init(replace(ROAD.task, horizon=None), key)
    with pytest.raises(SurefootError, match="discrete"):
        CPO.start_from(CPO.init(ROAD.task, key), None, None)
