import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.errors import SurefootError
from surefoot.numerics.divergences import DIVERGENCES, between, divergence

U = jnp.array([1e-3, 0.1, 0.5, 1.0, 2.0, 7.0, 300.0])


@pytest.mark.parametrize("name", DIVERGENCES)
def test_h_is_f_minus_u_times_the_slope_of_f(name):
    one = divergence(name)
    slope = jax.vmap(jax.grad(one.f))(U)
    np.testing.assert_allclose(one.h(jnp.log(U)), one.f(U) - slope * U, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_f_is_zero_at_one_and_convex_and_h_falls(name):
    one = divergence(name)
    assert abs(float(one.f(jnp.ones(())))) < 1e-7
    assert np.all(jax.vmap(jax.grad(jax.grad(one.f)))(U) > 0)
    assert np.all(np.diff(one.h(jnp.log(U))) < 0)


def test_divergences_of_two_distributions_by_hand():
    p, q = jnp.array([0.5, 0.5]), jnp.array([0.25, 0.75])
    forward = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    backward = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    middle = np.array([0.375, 0.625])
    js = sum(0.5 * np.sum(np.array(d) * np.log(np.array(d) / middle)) for d in (p, q))
    np.testing.assert_allclose(between("fkl", p, q), forward, rtol=1e-6)
    np.testing.assert_allclose(between("rkl", p, q), backward, rtol=1e-6)
    np.testing.assert_allclose(between("js", p, q), 2 * js, rtol=1e-5)


def test_nothing_where_the_density_is_zero():
    no = jnp.array([-jnp.inf])
    np.testing.assert_array_equal(divergence("fkl").h(no), [0.0])
    np.testing.assert_allclose(divergence("js").h(no), [np.log(2)], rtol=1e-6)


def test_stays_exact_where_the_ratio_is_huge():
    np.testing.assert_allclose(divergence("js").h(jnp.array([80.0])), [np.log(2) - 80.0], rtol=1e-6)


def test_an_unknown_one_gets_the_nearest():
    with pytest.raises(SurefootError, match="Did you mean 'fkl'"):
        divergence("fkll")
