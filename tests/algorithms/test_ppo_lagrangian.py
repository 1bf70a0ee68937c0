from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import surefoot as sf
from oracles.cmdp import expected_sums, solve
from probe.road import COST, GOES_ON, REWARD, START, TRANSITION, Road
from probe.training import probability, train
from probe.worlds import ByAction, ByBoth, Cut, Delayed
from surefoot.algorithms.safe.ppo_lagrangian import PpoLagrangian, mean_episode_cost
from surefoot.data.trajectories import Totals, Trajectories
from surefoot.errors import SurefootError

QUICK = PpoLagrangian(
    batch_steps=256,
    minibatch=64,
    learning_rate=5e-3,
    hidden=(16,),
    target_kl=0.1,
    discount=0.9,
    cost_discount=0.5,
    entropy_weight=0.01,
)


def tabulate(policy):
    return np.asarray(jnp.exp(policy.log_probabilities(jnp.eye(3))))


@pytest.mark.parametrize("limit", [0.5, 10.0])
def test_reaches_what_linear_programming_finds(limit):
    wanted = solve(TRANSITION, REWARD, COST, START, GOES_ON, limit)
    assert (wanted.multiplier > 0.1) == (limit == 0.5)  # it binds, or it does not
    learner = PpoLagrangian(
        batch_steps=2048,
        minibatch=512,
        learning_rate=5e-3,
        hidden=(16,),
        discount=1.0,
        cost_discount=1.0,
        multiplier_learning_rate=0.05,
        entropy_weight=0.02,  # without it the policy is certain before the multiplier has fallen
    )
    state, metrics = train(learner, Road(limit), 150, envs=64)
    policy = tabulate(state.networks.policy)
    cost = expected_sums(TRANSITION, COST, START, GOES_ON, policy)
    reward = expected_sums(TRANSITION, REWARD, START, GOES_ON, policy)
    late = np.asarray(metrics["cost/harm"][-50:])
    if limit == 0.5:
        assert abs(late.mean() - limit) < 0.1
        assert cost < limit + 0.2
        # Beside the best at the cost that it has: where in its swing the multiplier ends depends on rounding.
        assert 0.9 * solve(TRANSITION, REWARD, COST, START, GOES_ON, cost).reward < reward
    else:
        assert reward > 0.98 * wanted.reward
        assert metrics["multiplier/harm"][-1] < 0.1
    np.testing.assert_allclose(late.mean(), cost, atol=0.4)


def test_values_of_costs():
    state, _ = train(QUICK, Delayed(cost=True, limit=5.0), 40)
    found = state.networks.cost_value(jnp.array([[0.0], [1.0]]))[:, 0]
    np.testing.assert_allclose(found, [0.5, 1.0], atol=0.05)
    assert state.networks.value(jnp.zeros(1))[0] > 0.8  # the reward's own discount


def test_values_go_on_where_time_alone_ends_an_episode():
    learner = replace(QUICK, discount=0.5, cost_discount=0.25)
    state, _ = train(learner, Cut(cost=True, limit=5.0), 40)
    np.testing.assert_allclose(state.networks.value(jnp.zeros(1)), [2.0], atol=0.05)
    np.testing.assert_allclose(state.networks.cost_value(jnp.zeros(1)), [4 / 3], atol=0.05)


def test_a_binding_limit_is_met_and_a_slack_one_is_forgotten():
    state, metrics = train(QUICK, ByAction(cost=True, limit=0.3), 800)  # the multiplier swings in first
    assert abs(float(jnp.mean(metrics["cost/harm"][-400:])) - 0.3) < 0.03
    state, metrics = train(QUICK, ByAction(cost=True, limit=2.0), 200)
    assert probability(state.networks.policy, 0.0) > 0.95
    assert metrics["multiplier/harm"][-1] < 0.1


def test_avoids_harm_where_it_is_and_earns_elsewhere():
    state, _ = train(replace(QUICK, cost_limits=(0.0,)), ByBoth(cost=True), 200)  # 0 must be asked for
    assert probability(state.networks.policy, 1.0) < 0.1  # pays and harms
    assert probability(state.networks.policy, -1.0) < 0.05  # action 0 pays


def test_episode_cost_counts_finished_episodes_only():
    def batch(done):
        shape = (3, 2)
        zero = jnp.zeros(shape)
        no, yes = jnp.zeros(shape, bool), jnp.ones(shape, bool)
        cost = jnp.arange(12.0).reshape(3, 2, 2)
        whole = jnp.zeros(shape, jnp.int32)
        totals = Totals(zero, whole, cost, jnp.zeros((3, 2, 2), jnp.int32), whole)
        seen = jnp.zeros((3, 2, 1))
        return Trajectories(seen, whole, zero, cost, seen, jnp.asarray(done), no, no, yes, totals)

    before = jnp.array([7.0, 8.0])
    none = np.zeros((3, 2), bool)
    np.testing.assert_allclose(mean_episode_cost(batch(none), before), before)
    some = none.copy()
    some[0, 1] = some[2, 0] = True  # totals (2, 3) and (8, 9)
    np.testing.assert_allclose(mean_episode_cost(batch(some), before), [5.0, 6.0])


def test_runs_on_gymnasium_with_continuous_actions():
    world = sf.make(
        "gymnasium:Pendulum-v1",
        envs=2,
        cost=lambda observation, action, after, info: float(observation[0] < 0),
        limits=(5.0,),
    )
    learner = PpoLagrangian(batch_steps=64, minibatch=32, passes=2)
    state = learner.init(world.task, jax.random.key(0))
    for i in range(4):
        state, world, metrics = learner.iteration(state, world, jax.random.key(i))
    assert all(np.isfinite(float(metrics[name])) for name in ("cost_value_loss", "multiplier/cost"))


def test_a_pid_controller_meets_a_binding_limit():
    learner = replace(QUICK, multiplier_update="pid", pid_gains=(4.0, 0.05, 2.0))
    _, metrics = train(learner, ByAction(cost=True, limit=0.3), 800)
    assert abs(float(jnp.mean(metrics["cost/harm"][-400:])) - 0.3) < 0.03
    with pytest.raises(SurefootError, match="pid"):
        PpoLagrangian(multiplier_update="pdi")


def test_limits_come_from_the_task_or_the_settings():
    task = replace(ByAction(cost=True).task, constraints=("a", "b"), limits=(1.0, 2.0))
    assert PpoLagrangian().limits(task) == (1.0, 2.0)
    assert PpoLagrangian(cost_limits=(5.0,)).limits(task) == (5.0, 5.0)
    assert PpoLagrangian(cost_limits=(5.0, 0.0)).limits(task) == (5.0, 0.0)
    with pytest.raises(SurefootError, match="no limit for the cost 'b'; give one with --cost-limits 25"):
        PpoLagrangian().limits(replace(task, limits=(1.0, 0.0)))
    with pytest.raises(SurefootError, match="3 numbers for 2 constraints"):
        PpoLagrangian(cost_limits=(1.0, 2.0, 3.0)).limits(task)
    with pytest.raises(SurefootError, match="needs a cost signal"):
        PpoLagrangian().init(ByAction().task, jax.random.key(0))
    with pytest.raises(SurefootError, match="cost_limits = -1"):
        PpoLagrangian(cost_limits=(-1.0,))
