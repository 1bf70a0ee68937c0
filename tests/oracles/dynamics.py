"""Ensembles whose members are exactly what they are said to be, and their predictions in plain NumPy."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from surefoot.networks.dynamics import Ensemble

SURE = -60.0
"""Log-variance of what has no noise to speak of."""


def linear_ensemble(changes, constants, log_variances=None, *, observation_size, rewards=False, costs=0):
    """Members whose mean is ``[s, a] @ changes[e] + constants[e]``, exactly.

    By x = swish(x) - swish(-x): hidden units are the inputs and their negatives.
    """
    changes, constants = np.asarray(changes, np.float32), np.asarray(constants, np.float32)
    members, inputs, outputs = changes.shape
    form = eqx.filter_eval_shape(
        Ensemble.create,
        observation_size,
        inputs - observation_size,
        key=jax.random.key(0),
        members=members,
        hidden=(2 * inputs,),
        rewards=rewards,
        costs=costs,
    )
    first = np.tile(np.concatenate([np.eye(inputs), -np.eye(inputs)], axis=1), (members, 1, 1))
    second = np.concatenate([changes, -changes], axis=1)
    if log_variances is None:
        log_variances = np.full((members, outputs), SURE)
    last = np.concatenate([constants, np.broadcast_to(log_variances, constants.shape)], axis=-1)
    second = np.pad(second, ((0, 0), (0, 0), (0, outputs)))
    values = (
        (first, second),
        (np.zeros((members, 2 * inputs)), last),
        np.full((members, outputs), 60.0),
        np.full((members, outputs), -120.0),
        np.zeros(inputs),
        np.ones(inputs),
    )
    return eqx.tree_at(
        lambda e: (
            e.members.weights,
            e.members.biases,
            e.members.max_log_variance,
            e.members.min_log_variance,
            e.input_mean,
            e.input_scale,
            e.elites,
        ),
        form,
        (*jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), values), jnp.asarray(np.arange(members))),
    )


def drifting(drifts, *, observation_size=1, action_size=1, log_variance=SURE):
    """Members that move every entry of the state by their own constant, whatever is done."""
    changes = np.zeros((len(drifts), observation_size + action_size, observation_size))
    constants = np.tile(np.asarray(drifts, np.float32)[:, None], (1, observation_size))
    noise = np.full(constants.shape, log_variance)
    return linear_ensemble(changes, constants, noise, observation_size=observation_size)


def predict(ensemble, observation, action):
    """Means and log-variances of each member, row by row, layer by layer, in double precision."""
    x = np.concatenate([observation, action], axis=-1).astype(np.float64)
    x = (x - np.asarray(ensemble.input_mean)) / np.asarray(ensemble.input_scale)
    means, logs = [], []
    for e in range(ensemble.size):
        h = x
        layers = list(zip(ensemble.members.weights, ensemble.members.biases, strict=True))
        for number, (weight, bias) in enumerate(layers):
            h = h @ np.asarray(weight[e], np.float64) + np.asarray(bias[e])
            if number < len(layers) - 1:
                h = h / (1 + np.exp(-h))
        mean, raw = np.split(h, 2, axis=-1)
        upper = np.asarray(ensemble.members.max_log_variance[e], np.float64)
        lower = np.asarray(ensemble.members.min_log_variance[e], np.float64)
        log = upper - np.logaddexp(0, upper - raw)
        means.append(mean)
        logs.append(lower + np.logaddexp(0, log - lower))
    return np.stack(means), np.stack(logs)
