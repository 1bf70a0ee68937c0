import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles.returns import advantage_by_sums, target_by_sums
from surefoot.numerics.returns import cost_advantage, generalised_advantage, lambda_return


def rows(seed, steps, *batch):
    """Random rewards, values and ends of every kind; inside an episode the next value is the next row's."""
    rng = np.random.default_rng(seed)
    reward, value, after = rng.normal(size=(3, steps, *batch)).astype(np.float32)
    ends = rng.choice(3, size=(steps, *batch), p=[0.6, 0.2, 0.2])
    inside = ends == 0
    inside[-1] = False
    return reward, value, np.where(inside, np.roll(value, -1, axis=0), after), ends == 1, ends == 2


def test_values_typed_in_by_hand():
    # Two episodes: the first is cut after its second step, the second terminates with the fourth row.
    advantage = generalised_advantage(
        jnp.array([1.0, 2.0, 3.0, 4.0]),
        jnp.array([0.5, 1.0, 1.5, 2.0]),
        jnp.array([1.0, 8.0, 2.0, 100.0]),
        jnp.array([False, False, False, True]),
        jnp.array([False, True, False, False]),
        discount=0.5,
        trace=0.5,
    )
    # delta: 1 + .5 - .5, 2 + 4 - 1, 3 + 1 - 1.5, 4 - 2
    np.testing.assert_allclose(advantage, [1.0 + 0.25 * 5.0, 5.0, 2.5 + 0.25 * 2.0, 2.0], rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 0.9, 1.0]), st.sampled_from([0.0, 0.7, 0.95, 1.0]))
def test_equals_sums_written_out(seed, discount, trace):
    data = rows(seed, 12, 3)
    found = generalised_advantage(*map(jnp.asarray, data), discount=discount, trace=trace)
    for env in range(3):
        wanted = advantage_by_sums(*(x[:, env] for x in data), discount, trace)
        np.testing.assert_allclose(found[:, env], wanted, rtol=1e-4, atol=1e-5)


def test_costs_are_estimated_one_by_one():
    reward, value, next_value, terminated, truncated = map(jnp.asarray, rows(3, 10, 2))
    costs = jnp.stack([reward, -2 * reward, value], axis=-1)
    values = jnp.stack([value, 2 * value, reward], axis=-1)
    nexts = jnp.stack([next_value, next_value, value], axis=-1)
    found = cost_advantage(costs, values, nexts, terminated, truncated, discount=0.9, trace=0.8)
    for i in range(3):
        wanted = generalised_advantage(
            costs[..., i], values[..., i], nexts[..., i], terminated, truncated, discount=0.9, trace=0.8
        )
        np.testing.assert_allclose(found[..., i], wanted, rtol=1e-6)


def test_same_under_jit_and_vmap():
    data = [jnp.asarray(x) for x in rows(4, 9, 5)]

    def estimate(*data):
        return generalised_advantage(*data, discount=0.99, trace=0.95)

    np.testing.assert_allclose(jax.jit(estimate)(*data), estimate(*data), rtol=1e-5, atol=1e-6)
    mapped = jax.vmap(estimate, in_axes=1, out_axes=1)(*data)
    np.testing.assert_allclose(mapped, estimate(*data), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_nothing_flows_over_an_episode_boundary(end):
    reward, value, next_value, *_ = map(jnp.asarray, rows(5, 6))
    no = jnp.zeros(6, bool)
    ends = {"terminated": no, "truncated": no, end: no.at[2].set(True)}

    def early(reward):
        return jnp.sum(generalised_advantage(reward, value, next_value, **ends, discount=0.9, trace=0.9)[:3])

    assert np.all(jax.grad(early)(reward)[3:] == 0)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 0.99, 1.0]), st.sampled_from([0.0, 0.7, 0.97, 1.0]))
def test_targets_of_action_values_equal_sums_written_out(seed, discount, trace):
    reward, _, after, terminated, truncated = rows(seed, 12, 3)
    data = (reward, after, terminated, truncated)
    found = lambda_return(*map(jnp.asarray, data), discount=discount, trace=trace)
    for env in range(3):
        wanted = target_by_sums(*(x[:, env] for x in data), discount, trace)
        np.testing.assert_allclose(found[:, env], wanted, rtol=1e-4, atol=1e-5)


def test_monte_carlo_typed_in_by_hand():
    # The first episode terminates with its second row; the second is cut with the last one.
    reward, after = jnp.array([1.0, 2.0, 4.0, 8.0]), jnp.array([9.0, 9.0, 9.0, 100.0])
    ends = (jnp.array([False, True, False, False]), jnp.array([False, False, False, True]))
    found = lambda_return(reward, after, *ends, discount=0.5, trace=1.0)
    np.testing.assert_allclose(found, [2.0, 2.0, 4 + 0.5 * 58.0, 8 + 0.5 * 100.0])
