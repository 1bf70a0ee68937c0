import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.numerics.dual import Multipliers, PidMultipliers


@pytest.mark.parametrize("start", [1e-3, 0.1, 1.0, 50.0])
def test_starts_where_asked(start):
    np.testing.assert_allclose(Multipliers.create(2, start).value, [start, start], rtol=1e-4)


def test_each_rises_where_its_limit_is_broken_and_falls_where_it_is_not():
    nu = Multipliers.create(3, 1.0)
    for _ in range(5):
        nu = nu.ascend(jnp.array([25.0, -25.0, 0.0]), 0.1)
    assert nu.value[0] > 1.2
    assert 0 < nu.value[1] < 0.8
    np.testing.assert_allclose(nu.value[2], 1.0, rtol=1e-6)


def test_pace_does_not_depend_on_the_unit_of_cost():
    small, large = Multipliers.create(1, 1.0), Multipliers.create(1, 1.0)
    for _ in range(10):
        small, large = small.ascend(jnp.array([1e-3]), 0.1), large.ascend(jnp.array([1e3]), 0.1)
    np.testing.assert_allclose(small.raw - Multipliers.create(1, 1.0).raw, 1.0, rtol=0.05)
    np.testing.assert_allclose(small.value, large.value, rtol=1e-3)


def test_settles_where_the_price_makes_the_limit_bind():
    # max x - x^2 / 2 with x <= 0.25: at the price nu the best x is 1 - nu, so nu = 0.75.
    nu = Multipliers.create(1, 0.1)
    for _ in range(600):
        nu = nu.ascend((1 - nu.value) - 0.25, 0.02)
    np.testing.assert_allclose(nu.value, 0.75, atol=0.01)


def test_pid_by_hand():
    nu = PidMultipliers.create(1, 0.5, (2.0, 0.5, 4.0))
    np.testing.assert_allclose(nu.value, 0.5)
    seen = []
    for excess in (0.25, 0.5, -0.25, -9.0):  # the integral begins at 1, which is what holds 0.5
        nu = nu.ascend(jnp.array([excess]))
        seen.append(float(nu.value[0]))
    # K_P e + K_I I + K_D rise, with I = 1.25, 1.75, 1.5, 0 and rises of nothing, 0.25, 0, 0
    np.testing.assert_allclose(seen, [0.5 + 0.625, 1 + 0.875 + 1, -0.5 + 0.75, 0.0])


def test_pid_settles_where_the_price_makes_the_limit_bind():
    # As above: the best x at the price nu is 1 - nu, the limit 0.25.
    nu = PidMultipliers.create(1, 0.1, (0.1, 0.1, 0.1))
    for _ in range(300):
        nu = nu.ascend((1 - nu.value) - 0.25)
    np.testing.assert_allclose(nu.value, 0.75, atol=1e-3)
