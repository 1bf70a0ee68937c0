"""Discriminators of sets of states with a known density ratio."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.algorithms.imitation import discriminator as adversary
from surefoot.algorithms.imitation.discriminator import Discriminator
from surefoot.networks.rewards import MlpNetwork, ResidualNetwork
from surefoot.numerics.density import Gaussian

EXPERT, AGENT = Gaussian((0.5, 0.0), 0.7), Gaussian((-0.5, 0.0), 0.7)
ADAM = adversary.adam(3e-3)


def fresh(seed=0, **settings):
    return Discriminator.create(ResidualNetwork.create(2, 32, 1, jax.random.key(seed), **settings), ADAM)


def points(density, seed, n=4_000):
    return density.sample(jax.random.key(seed), n)


def test_logit_is_the_log_of_the_density_ratio():
    loss = adversary.cross_entropy_loss(points(EXPERT, 1), points(AGENT, 2), 256)
    found, value = adversary.train(fresh(), loss, ADAM, jax.random.key(3), 400)
    x = jnp.concatenate([points(EXPERT, 4, 200), points(AGENT, 5, 200)])
    exact = EXPERT.log_prob(x) - AGENT.log_prob(x)
    assert np.sqrt(np.mean((found(x) - exact) ** 2)) < 0.4 < 0.25 * np.std(exact)
    assert np.corrcoef(found(x), exact)[0, 1] > 0.98
    # At the optimum the loss is log 2 minus the Jensen-Shannon divergence.
    best = 0.5 * jnp.mean(jax.nn.softplus(-exact[:200])) + 0.5 * jnp.mean(jax.nn.softplus(exact[200:]))
    np.testing.assert_allclose(value, best, atol=0.05)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_weights_stand_for_states_of_the_expert(batch_norm):
    # The agent's own states in both halves, the first weighted by the ratio: the same logit comes out.
    ours = points(AGENT, 2)

    def loss(network, key):
        x = adversary.rows(ours, key, 256)
        return adversary.cross_entropy(network, x, x, jnp.exp(EXPERT.log_prob(x) - AGENT.log_prob(x)))

    found, _ = adversary.train(fresh(batch_norm=batch_norm), loss, ADAM, jax.random.key(3), 400)
    x = points(AGENT, 5, 400)
    exact = EXPERT.log_prob(x) - AGENT.log_prob(x)
    assert np.corrcoef(found(x), exact)[0, 1] > 0.95
    assert abs(float(jnp.mean(found(x) - exact))) < 0.4


def test_gradient_penalty_of_a_plane():
    network = MlpNetwork.create(2, (), jax.random.key(0), limit=None)
    slope = float(jnp.linalg.norm(network.mlp.weights[0]))
    found = adversary.gradient_penalty(network, points(EXPERT, 1, 8), points(AGENT, 2, 8), jax.random.key(0))
    np.testing.assert_allclose(found, (slope - 1) ** 2, rtol=1e-4)


def test_a_wasserstein_critic_measures_the_distance_of_the_means():
    # Two copies of one Gaussian, 1 apart: that is their distance, and the best critic a slope of 1.
    loss = adversary.wasserstein_loss(points(EXPERT, 1), points(AGENT, 2), 256, penalty=5.0)
    found, _ = adversary.train(fresh(limit=None), loss, ADAM, jax.random.key(3), 400)
    distance = jnp.mean(found(points(EXPERT, 4))) - jnp.mean(found(points(AGENT, 5)))
    np.testing.assert_allclose(distance, 1.0, atol=0.2)


def test_decay_is_added_to_the_gradient():
    parameter = jnp.array([2.0])
    plain, decayed = adversary.adam(0.1), adversary.adam(0.1, decay=10.0)
    one = plain.update(jnp.array([-1.0]), plain.init(parameter), parameter)[0]
    other = decayed.update(jnp.array([-1.0]), decayed.init(parameter), parameter)[0]
    # Adam's first step has the size of its rate and the sign of -1, or of -1 + 10 * 2.
    np.testing.assert_allclose([one[0], other[0]], [0.1, -0.1], rtol=1e-4)
