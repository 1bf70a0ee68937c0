"""A whole training as one compiled call."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from surefoot.worlds.jax_world import JaxWorld


def train(learner, env, iterations, *, envs=8, seed=0, demonstrations=None):
    """State after ``iterations``, and metrics, each ``[iterations]``."""
    key_init, key_world, key_run = jax.random.split(jax.random.key(seed), 3)
    state = learner.init(env.task, key_init, demonstrations=demonstrations)
    world = JaxWorld.create(env, envs, key_world)
    return _run(learner, state, world, jax.random.split(key_run, iterations))


@eqx.filter_jit
def _run(learner, state, world, keys):
    def one(carry, key):
        state, world, metrics = learner.iteration(*carry, key)
        return (state, world), metrics

    (state, _), metrics = jax.lax.scan(one, (state, world), keys)
    return state, metrics


def play(policy, env, episodes, seed=0):
    """Fresh episodes, ``[horizon, episodes]``."""
    from surefoot.worlds.world import Episodes

    return JaxWorld.create(env, 1, jax.random.key(0)).collect(
        policy, Episodes(episodes), jax.random.key(seed)
    )[1]


def probability(policy, seen, action=1):
    """Of a discrete action, at the observation ``[seen]``."""
    return float(jnp.exp(policy.log_prob(jnp.array([seen]), jnp.array(action))))
