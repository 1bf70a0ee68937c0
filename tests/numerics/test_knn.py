import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree

from surefoot.errors import SurefootError
from surefoot.numerics import knn

kl, entropy, kth_distance = jax.jit(knn.kl), jax.jit(knn.entropy), jax.jit(knn.kth_distance, static_argnums=2)

X = jnp.array([(0, 0), (1, 0), (0, 2), (3, 1), (2, 2), (-1, 1)], jnp.float32)
Y = jnp.array([(0.5, 0.5), (1.5, 1), (2.5, 0), (0, 1), (-2, 3)], jnp.float32)


def test_worked_check():
    # By hand from the formulas of Wang et al. 2009, k = 3.
    np.testing.assert_allclose(kl(X, Y), -0.483611, atol=1e-5)
    np.testing.assert_allclose(kl(Y, X), -0.137784, atol=1e-5)
    np.testing.assert_allclose(entropy(X), 3.691077, atol=1e-5)


@pytest.mark.parametrize("shape", ["same", "apart", "clumped", "wall", "few"])
def test_distances_equal_those_of_a_tree(shape):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(700, 2)), rng.normal(size=(900, 2))
    if shape == "apart":
        y += (50.0, -3.0)
    elif shape == "clumped":
        y[:450] = y[:450] * 1e-3 + 1.0
    elif shape == "wall":  # a third of the points share their first coordinate
        x, y = np.maximum(x, 0.4), np.maximum(y, 0.4)
    elif shape == "few":
        x, y = x[:3], y[:5]
    x, y = x.astype(np.float32), y.astype(np.float32)
    expected = cKDTree(y).query(x, k=[4], p=np.inf)[0][:, 0]
    np.testing.assert_allclose(kth_distance(jnp.asarray(x), jnp.asarray(y), 4), expected, rtol=1e-6)


def test_works_in_one_and_in_five_dimensions():
    rng = np.random.default_rng(0)
    for d in (1, 5):
        x, y = (rng.normal(size=(300, d)).astype(np.float32) for _ in range(2))
        expected = cKDTree(y).query(x, k=[3], p=np.inf)[0][:, 0]
        np.testing.assert_allclose(kth_distance(jnp.asarray(x), jnp.asarray(y), 3), expected, rtol=1e-5)


def test_gaussians_of_known_divergence_and_entropy():
    key_x, key_y = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (20_000, 2))
    y = jax.random.normal(key_y, (20_000, 2)) + 0.5
    np.testing.assert_allclose(kl(x, y), 0.25, atol=0.03)  # |mean|^2 / 2
    np.testing.assert_allclose(kl(y, x), 0.25, atol=0.03)
    np.testing.assert_allclose(entropy(x), np.log(2 * np.pi * np.e), atol=0.03)


def test_divergence_of_gaussians_of_different_spread():
    key_x, key_y = jax.random.split(jax.random.key(1))
    x, y = 0.5 * jax.random.normal(key_x, (8_000, 2)), jax.random.normal(key_y, (8_000, 2))
    exact = 2 * (np.log(2) + 0.25 / 2 - 0.5)
    np.testing.assert_allclose(kl(x, y), exact, atol=0.05)


def test_points_that_coincide_do_not_make_it_infinite():
    x = jnp.concatenate([jnp.zeros((50, 2)), X])
    assert np.isfinite(entropy(x)) and np.isfinite(kl(x, x))


def test_seeds_side_by_side():
    rng = np.random.default_rng(3)
    x = jnp.asarray(rng.normal(size=(2, 400, 2)), jnp.float32)
    y = jnp.asarray(rng.normal(size=(2, 300, 2)), jnp.float32)
    alone = [kl(a, b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(knn.kl))(x, y), alone, rtol=1e-5)


def test_nothing_quadratic_in_memory():
    x = jax.ShapeDtypeStruct((30_000, 2), jnp.float32)
    needed = kl.lower(x, x).compile().memory_analysis()
    assert needed.temp_size_in_bytes < 30_000 * 2 * 4 * 20


def test_too_few_points():
    with pytest.raises(SurefootError, match="k = 3: the k-th neighbour among 2 points"):
        knn.entropy(X[:3])
    with pytest.raises(SurefootError, match="k = 6: the k-th neighbour among 5 points"):
        knn.kl(X, Y, k=6)
