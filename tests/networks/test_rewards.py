import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.networks.rewards import BatchNorm, MlpNetwork, ResidualNetwork, RewardNetwork

X = jnp.asarray(np.random.default_rng(0).normal(size=(9, 3)), jnp.float32)


def dense(layer, x):
    return x @ np.asarray(layer.weights[0]) + np.asarray(layer.biases[0])


def test_reward_is_one_linear_layer_then_a_network_of_the_chosen_entries():
    network = RewardNetwork.create((2, 0), 8, jax.random.key(0), activation="tanh")
    x = dense(network.embedding, np.asarray(X)[:, [2, 0]])
    (w1, w2), (b1, b2) = map(np.asarray, network.body.weights), map(np.asarray, network.body.biases)
    expected = (np.tanh(x @ w1 + b1) @ w2 + b2)[:, 0]
    np.testing.assert_allclose(network(X), expected, rtol=1e-5)
    np.testing.assert_allclose(network(X.reshape(3, 3, 3)), expected.reshape(3, 3), rtol=1e-5)


def test_reward_is_cut_and_has_no_gradient_beyond():
    network = RewardNetwork.create((0,), 8, jax.random.key(0))
    # A ReLU network is close to homogeneous: far out it exceeds every bound on one side at least.
    far = jnp.array([[1e4], [-1e4]])
    values, slope = network(far), jax.vmap(jax.grad(network))(far)[:, 0]
    beyond = np.abs(values) >= 10
    assert beyond.any() and np.all(np.abs(values) <= 10)
    np.testing.assert_array_equal(slope[beyond], 0)


@pytest.mark.parametrize("blocks", [0, 2])
def test_residual_network(blocks):
    network = ResidualNetwork.create(3, 8, blocks, jax.random.key(1))
    x = dense(network.embedding, np.asarray(X))
    for weight, bias in zip(network.weights, network.biases, strict=True):
        x = x + np.tanh(x @ np.asarray(weight) + np.asarray(bias))
    np.testing.assert_allclose(
        network(X), np.clip(dense(network.head, x)[:, 0], -10, 10), rtol=2e-5, atol=1e-6
    )


def test_running_statistics_are_no_parameters():
    norm = eqx.tree_at(lambda n: n.variance, BatchNorm.create(3), jnp.array([0.1, 1.0, 4.0]))
    slope = jax.grad(lambda norm: jnp.sum(norm(jnp.ones((2, 3))) ** 2))(norm)
    assert not slope.mean.any() and not slope.variance.any()
    assert slope.scale.all() and slope.offset.all()


def test_batch_normalisation_while_training_and_after():
    rng = np.random.default_rng(1)
    norm, x = BatchNorm.create(4), rng.normal(3.0, 2.0, size=(50, 4))
    y, norm = norm.training(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(y, (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5), rtol=1e-3, atol=1e-4)
    for _ in range(200):
        _, norm = norm.training(jnp.asarray(rng.normal(3.0, 2.0, size=(50, 4)), jnp.float32))
    np.testing.assert_allclose(norm.mean, 3.0, atol=0.3)
    np.testing.assert_allclose(norm.variance, 4.0, rtol=0.25)
    np.testing.assert_allclose(norm(jnp.full((1, 4), 3.0)), 0.0, atol=0.15)


def test_a_normalised_network_keeps_running_statistics_and_no_gradient_reaches_them():
    network = ResidualNetwork.create(3, 8, 2, jax.random.key(2), batch_norm=True)
    out, moved = network.training(X)
    assert out.shape == (9,)
    assert np.all(np.any(np.asarray(moved.norm.mean) != 0, axis=1))
    gradient = jax.grad(lambda n: jnp.sum(n.training(X)[0] ** 2))(network)
    np.testing.assert_array_equal(gradient.norm.mean, 0)
    assert np.any(np.asarray(gradient.norm.scale) != 0)


def test_mlp_network():
    network = MlpNetwork.create(3, (5, 5), jax.random.key(3), limit=0.01)
    assert np.all(np.abs(network(X)) <= 0.0100001)
    np.testing.assert_array_equal(network.training(X)[0], network(X))
