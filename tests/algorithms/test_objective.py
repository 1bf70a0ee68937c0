"""Returns of plans under models that are known exactly: which rewards count, where the critic is asked."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracles.dynamics import drifting, linear_ensemble
from surefoot.algorithms.planning.objective import ModelObjective, actor_sequences, plan
from surefoot.envs.known_rewards import KNOWN
from surefoot.errors import SurefootError
from surefoot.numerics.cem import Cem, middle

BOUNDS = jnp.array([-1.0]), jnp.array([1.0])


def score(objective, observation, actions, key=0):
    actions = jnp.asarray(actions, jnp.float32)
    return eqx.filter_jit(objective.__call__)(jnp.asarray(observation), actions, jax.random.key(key))


# Which rewards count -----------------------------------------------------------------------------------


def power(s, a, after):
    """10^s: each digit of a return is a step, if the state is the number of the step."""
    return 10.0 ** jnp.round(s[..., 0])


def tenfold(s, a):
    """10 a 10^s: the digit tells which action was judged, its place in which state."""
    return jnp.round(10 * a[..., 0]) * 10.0 ** jnp.round(s[..., 0])


NUMBERED = jnp.arange(5.0)[None, :, None] / 10
"""One sequence whose i-th action is i / 10."""


def counted(actions=NUMBERED, **settings):
    objective = ModelObjective(drifting([1.0, 1.0]), reward=power, **{"discount": 1.0, **settings})
    return float(score(objective, jnp.zeros(1), actions).returns[0])


def test_digits_of_a_counting_model():
    assert counted() == 11111  # without a critic all five actions earn their reward
    assert counted(value=tenfold) == 41111  # four rewards, then Q(s_4, a_4)
    assert counted(value=tenfold, model_steps=2) == 211  # two rewards, then Q(s_2, a_2)
    seven = {"value": tenfold, "actor": lambda s: jnp.full((*s.shape[:-1], 1), 0.7)}
    assert counted(**seven) == 71111  # Q(s_4, actor(s_4))
    assert counted(**seven, model_steps=5) == 711111  # all rewards, then Q(s_5, actor(s_5))
    assert counted(NUMBERED[:, 3:4], value=tenfold) == 3  # a horizon of 1 asks the critic alone


def test_the_discount_by_brute_force():
    gamma = 0.9
    expected = sum(gamma**i * 10**i for i in range(4)) + gamma**4 * 4 * 10**4
    assert counted(value=tenfold, discount=gamma) == pytest.approx(expected, rel=1e-5)


def test_the_reward_of_the_step_that_ends_counts_and_nothing_after_it():
    def over(s, a, after):
        return after[..., 0] > 1.5

    assert counted(value=tenfold, termination=over) == 11
    assert counted(termination=over) == 11
    # A critic that is not a number where the episode has ended does no harm.
    assert counted(value=lambda s, a: s[..., 0] * jnp.nan, termination=over) == 11


def test_a_learned_reward_is_the_models():
    model = linear_ensemble(np.zeros((2, 2, 2)), [[1.0, 3.0], [1.0, 5.0]], observation_size=1, rewards=True)
    objective = ModelObjective(model, discount=1.0)
    assert score(objective, jnp.zeros(1), NUMBERED).returns[0] == pytest.approx(5 * 4.0)


def test_a_state_that_is_no_number_is_worth_none_whatever_is_known_of_it():
    """The pendulum's rule takes it for a fall, with a reward of 0 (in version 4 of 1)."""
    changes = np.zeros((1, 6, 4))
    changes[0, 4, 1] = 1.0  # the first action moves the angle
    changes[0, 5, 2] = 3e38  # the second breaks the model, if it is above 1.13
    model = linear_ensemble(changes, np.zeros((1, 4)), observation_size=4, costs=0)
    still, breaks, falls = [0.0, 0.0], [0.0, 2.0], [1.0, 0.0]
    actions = [[still, still], [still, breaks], [breaks, still], [falls, still], [falls, breaks]]
    for version, fallen in ((4, 1.0), (5, 0.0)):
        known = KNOWN[f"InvertedPendulum-v{version}"]
        objective = ModelObjective(model, reward=known.reward, termination=known.termination, discount=1.0)
        found = score(objective, jnp.zeros(4), actions).returns
        np.testing.assert_array_equal(found, [2.0, np.nan, np.nan, fallen, fallen])
    # So the search drops and counts such candidates: of those drawn from [0, 2] a good third.
    bounds = jnp.zeros(2), jnp.full(2, 2.0)
    search = Cem(100, 10, 1)
    made = jax.jit(lambda key: plan(objective, jnp.zeros(4), middle(*bounds, 1), bounds, key, search))
    assert 25 < float(made(jax.random.key(0)).dropped) < 55


def test_a_cost_of_what_is_no_number_keeps_no_limit():
    model = linear_ensemble(np.full((1, 2, 1), 3e38), np.zeros((1, 1)), observation_size=1)
    objective = ModelObjective(model, reward=power, cost=lambda s, a, after: jnp.zeros((*s.shape[:-1], 1)))
    costs = score(objective, jnp.zeros(1), [[[0.0]], [[2.0]]]).costs
    np.testing.assert_array_equal(costs, [[0.0], [np.nan]])


# Particles ---------------------------------------------------------------------------------------------


def test_a_particle_stays_with_its_member():
    """All transitions of a search with drifts of 1, 10 and 100: multiples of one of them, never mixed."""
    objective = ModelObjective(
        drifting([1.0, 10.0, 100.0]), reward=power, particles=2, simulated=3 * 2 * 2 * 5
    )
    met = score(objective, jnp.zeros(1), jnp.zeros((2, 5, 1))).aux
    before, after = np.asarray(met.observation)[:, 0], np.asarray(met.next_observation)[:, 0]
    drift = np.round(after - before)
    steps = before / drift
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert sorted(zip(drift.tolist(), np.round(steps).tolist(), strict=True)) == sorted(
        (d, float(i)) for d in (1, 10, 100) for i in range(5) for _ in range(4)
    )


def test_without_noise_the_shared_first_step_is_the_rollout_itself():
    """Against a loop in NumPy, whose every particle makes every step."""
    rng = np.random.default_rng(0)
    changes, constants = 0.2 * rng.standard_normal((3, 3, 3)), 0.1 * rng.standard_normal((3, 3))
    model = linear_ensemble(changes, constants, observation_size=2, rewards=True)
    actions, start = rng.uniform(-1, 1, (6, 4, 1)), rng.standard_normal(2)
    expected = np.zeros(6)
    for n in range(6):
        for e in range(3):
            for _ in range(4):
                s = start
                for i in range(4):
                    y = np.concatenate([s, actions[n, i]]) @ changes[e] + constants[e]
                    if i == 3:
                        expected[n] += 0.95**3 * (s @ [1.0, -2.0] + actions[n, 3, 0]) / 12
                    else:
                        expected[n] += 0.95**i * y[2] / 12
                    s = s + y[:2]
    objective = ModelObjective(
        model, value=lambda s, a: s @ jnp.array([1.0, -2.0]) + a[..., 0], discount=0.95, particles=4
    )
    found = score(objective, jnp.asarray(start, jnp.float32), actions).returns
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_every_particle_has_noise_of_its_own_also_in_the_first_step():
    """A random walk of 3 steps: the variance of the state grows by that of a step each time."""
    objective = ModelObjective(
        drifting([0.0, 0.0], log_variance=-2.0), reward=power, particles=1000, simulated=2 * 1000 * 3
    )
    met = score(objective, jnp.zeros(1), jnp.zeros((1, 3, 1))).aux
    before, after = np.asarray(met.observation)[:, 0], np.asarray(met.next_observation)[:, 0]
    first = before == 0
    assert first.sum() == 2000 and len(np.unique(after[first])) > 1990
    np.testing.assert_allclose(np.var(after[first]), np.exp(-2.0), rtol=0.1)
    np.testing.assert_allclose(np.var(after[~first] - before[~first]), np.exp(-2.0), rtol=0.1)
    np.testing.assert_allclose(np.var(before[~first]), 1.5 * np.exp(-2.0), rtol=0.1)  # after 1 and after 2


def test_transitions_are_drawn_from_those_before_the_end():
    def over(s, a, after):
        return after[..., 0] > 1.5

    objective = ModelObjective(drifting([1.0]), reward=power, termination=over, particles=50, simulated=100)
    met = score(objective, jnp.zeros(1), jnp.zeros((1, 5, 1))).aux  # 50 before the end at each of two steps
    assert sorted(np.round(np.asarray(met.observation)[:, 0]).tolist()) == [0.0] * 50 + [1.0] * 50
    np.testing.assert_array_equal(met.terminated, np.round(np.asarray(met.observation)[:, 0]) == 1)


# Costs -------------------------------------------------------------------------------------------------


def test_costs_are_those_of_the_gloomiest_member():
    """Expected costs of 0.1, 0.4 and below 0 a step, and one that is the action; three steps."""
    changes = np.zeros((3, 2, 3))
    changes[:, 1, 2] = 1.0
    constants = [[1.0, 0.1, 0.0], [1.0, 0.4, 0.0], [1.0, -5.0, 0.0]]
    model = linear_ensemble(changes, constants, observation_size=1, costs=2)
    objective = ModelObjective(model, reward=power)
    actions = jnp.array([[[0.5], [-1.0], [0.2]], [[0.0], [0.0], [0.0]]])
    np.testing.assert_allclose(
        score(objective, jnp.zeros(1), actions).costs, [[1.2, 0.7], [1.2, 0.0]], atol=1e-5
    )
    ending = eqx.tree_at(lambda o: o.termination, objective, lambda s, a, after: after[..., 0] > 1.5,
                         is_leaf=lambda x: x is None)  # fmt: skip
    np.testing.assert_allclose(
        score(ending, jnp.zeros(1), actions).costs, [[0.8, 0.5], [0.8, 0.0]], atol=1e-5
    )


def test_known_costs_take_the_place_of_the_models():
    objective = ModelObjective(
        drifting([1.0, 2.0]),
        reward=power,
        cost=lambda s, a, after: jnp.stack([after[..., 0], -after[..., 0]], -1),
    )
    costs = score(objective, jnp.zeros(1), jnp.zeros((1, 2, 1))).costs
    np.testing.assert_allclose(costs, [[6.0, -3.0]], atol=1e-5)  # 2 + 4, and -(1 + 2)


def test_a_plan_keeps_its_limit():
    """Reward a, cost max(a, 0) by the model: with a limit of 1 on 4 steps the plan spends 1 and no more."""
    changes = np.zeros((2, 2, 3))
    changes[:, 1, 1:] = 1.0
    model = linear_ensemble(changes, np.zeros((2, 3)), observation_size=1, rewards=True, costs=1)
    objective = ModelObjective(model, discount=1.0, particles=1)

    @jax.jit
    def spent(limit):
        found = plan(
            objective,
            jnp.zeros(1),
            middle(*BOUNDS, 4),
            BOUNDS,
            jax.random.key(0),
            Cem(200, 20, 20),
            limits=limit[None],
        )
        return jnp.sum(jnp.maximum(found.actions, 0))

    assert spent(jnp.asarray(1.0)) == pytest.approx(1.0, abs=0.1)
    assert spent(jnp.asarray(9.0)) == pytest.approx(4.0, abs=0.1)


# Linear-quadratic control ------------------------------------------------------------------------------

A, B, GAMMA = np.array([[1.0, 0.2], [0.0, 0.9]]), np.array([[0.0], [0.3]]), 0.97
STATE_COST, ACTION_COST = np.diag([1.0, 0.1]), np.array([[0.2]])


def riccati():
    """P of the value -s.Ps and the gain of the best action -K s, by iteration of the discounted equation."""
    p = np.zeros((2, 2))
    for _ in range(2000):
        gain = np.linalg.solve(ACTION_COST + GAMMA * B.T @ p @ B, GAMMA * B.T @ p @ A)
        p = STATE_COST + GAMMA * A.T @ p @ (A - B @ gain)
    return p, gain


def test_with_the_exact_value_the_plan_is_the_optimal_controller_whatever_its_horizon():
    p, gain = riccati()
    step = np.concatenate([(A - np.eye(2)).T, B.T])
    model = linear_ensemble(np.tile(step, (2, 1, 1)), np.zeros((2, 2)), observation_size=2)

    def reward(s, a, after):
        return -jnp.sum((s @ jnp.asarray(STATE_COST)) * s, -1) - ACTION_COST[0, 0] * a[..., 0] ** 2

    def q(s, a):
        after = s @ jnp.asarray(A.T) + a @ jnp.asarray(B.T)
        return reward(s, a, after) - GAMMA * jnp.sum((after @ jnp.asarray(p)) * after, -1)

    def action(horizon, value, **settings):
        objective = ModelObjective(model, value=value, reward=reward, discount=GAMMA, particles=1, **settings)
        state = jnp.array([0.6, -0.3])
        search = Cem(300, 20, 30, smoothing=0.1)
        return float(
            jax.jit(lambda key: plan(objective, state, middle(*BOUNDS, horizon), BOUNDS, key, search).action)(
                jax.random.key(0)
            )[0]
        )

    best = float(-(gain @ [0.6, -0.3])[0])
    assert abs(best) < 0.9  # within the bounds, and far from 0
    assert action(1, q) == pytest.approx(best, abs=0.02)
    assert action(5, q) == pytest.approx(best, abs=0.05)
    # Without a value what comes after the horizon is nobody's business. By hand, for two steps:
    # -0.2 a^2 - gamma (0.1 (0.9 v + 0.3 a)^2) has its maximum at
    v = -0.3
    myopic = -GAMMA * 0.1 * 0.3 * 0.9 * v / (0.2 + GAMMA * 0.1 * 0.09)
    assert abs(myopic - best) > 0.2
    assert action(2, None) == pytest.approx(myopic, abs=0.03)
    # The rounded model is another by 2^-9 of each entry at most: hardly another controller, but another.
    lower = action(5, q, precision="bfloat16")
    assert lower == pytest.approx(best, abs=0.05)
    assert lower != action(5, q)


# The actor's sequences ---------------------------------------------------------------------------------


def test_actor_sequences_follow_any_member():
    """The actor says the state: each action is the sum of the drifts so far, whose members change (TS1)."""
    model = drifting([1.0, 10.0, 100.0])
    found = actor_sequences(model, lambda s: s, jnp.zeros(1), jax.random.key(1), count=200, horizon=4)
    actions = np.round(np.asarray(found)[..., 0]).astype(int)
    np.testing.assert_array_equal(actions[:, 0], 0)
    drifts = np.diff(actions, axis=1)
    assert set(np.unique(drifts)) == {1, 10, 100}
    same = np.mean(np.all(drifts == drifts[:, :1], axis=1))
    assert same == pytest.approx(1 / 9, abs=0.08)  # it would be 1 for particles that stay with their member


def test_plans_for_several_environments_in_one_call():
    """States, keys and what a reward closes over are each environment's own."""
    model, states, offsets = drifting([1.0]), jnp.array([[0.5], [-0.5]]), jnp.array([0.3, -0.2])

    def one(state, offset, key):
        objective = ModelObjective(model, reward=lambda s, a, after: -((a[..., 0] - s[..., 0] - offset) ** 2))
        settings = Cem(iterations=10)
        return plan(objective, state, middle(*BOUNDS, 1), BOUNDS, key, settings, actor=lambda s: s).action

    keys = jax.random.split(jax.random.key(2))
    together = jax.jit(jax.vmap(one))(states, offsets, keys)
    np.testing.assert_allclose(together, [[0.8], [-0.7]], atol=0.05)


# Bad input ---------------------------------------------------------------------------------------------


def test_objectives_that_make_no_sense():
    model = drifting([1.0])
    with pytest.raises(SurefootError, match="predicts no reward and none is known"):
        ModelObjective(model)
    with pytest.raises(SurefootError, match="particles = 0 is out of range"):
        ModelObjective(model, reward=power, particles=0)
    with pytest.raises(SurefootError, match="model_steps = 5 is out of range"):  # Q of an action not planned
        counted(value=tenfold, model_steps=5)
    # 2 members, 4 particles, 5 steps
    with pytest.raises(SurefootError, match=r"simulated = 41 is out of range; it must lie in \[0, 40\]"):
        counted(particles=4, simulated=41)
    with pytest.raises(SurefootError, match="there are no simulated transitions"):
        counted(NUMBERED[:, :1], value=tenfold, simulated=3)
