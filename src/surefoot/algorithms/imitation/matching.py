"""What methods share that bring an agent's states to those of an expert.

The expert is either a density over states, or demonstrations. Where whole episodes are matched (f-IRL, MaxEnt
IRL, the demonstrated states of SMM) and where the metrics forward_kl and reverse_kl are taken, states are
s_1 ... s_T, up to the horizon: the first, s_0, is the world's choice and left out. Methods that learn from a
replay buffer see the states before each step, s_0 ... s_{T-1}: SMM of the agent's past, and GAIL, f-MAX and
AIRL on both sides. Of a method's ``settings``, the
functions read ``density``, ``state_indices``, ``bandwidth`` and ``expert_samples``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from surefoot.algorithms.learner import Metrics
from surefoot.data.trajectories import Trajectories
from surefoot.errors import SurefootError
from surefoot.numerics import knn
from surefoot.numerics.density import Kde, check_density
from surefoot.numerics.density_text import density_of
from surefoot.task import Box, Task

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations

LEAST_LOG_RATIO = -100.0
"""log(rho_E / rho) is taken no lower, so that it is a number where the given density is zero."""
_TRIED = 2_000
"""States at which a given density is looked at before training."""


class Expert(eqx.Module):
    """What the agent is to match."""

    trajectories: Float[Array, "episodes time obs"] | None
    """Demonstrated states s_1 ... s_T; ``None`` if a density is given."""
    samples: Float[Array, "samples d"] | None
    """Chosen entries of all these states, or draws from the density; ``None`` if it cannot be drawn from."""


def the_expert(settings: Any, task: Task, key: PRNGKeyArray, demonstrations: Demonstrations | None) -> Expert:
    """The expert from a method's settings and demonstrations, checked against the task.

    Raises :class:`SurefootError` if neither or both are given, or if they do not fit.
    """
    indices = chosen_indices(settings, task)
    if task.horizon is None:
        raise SurefootError(
            f"'{task.name}' has no horizon, but states are matched over whole episodes; give horizon=STEPS."
        )
    if (demonstrations is None) == (not settings.density):
        wrong = "both are" if settings.density else "neither is"
        raise SurefootError(
            "The expert is a density (density=..., such as point-mass/gaussian) or demonstrations; "
            f"{wrong} given."
        )
    if demonstrations is None:
        density = density_of(settings.density)
        with jax.ensure_compile_time_eval():
            check_density(density, len(indices), *_tried(task, indices))
        drawn = density.sample(key, settings.expert_samples) if _can_be_drawn(density) else None
        return Expert(None, drawn)
    states = demonstrated_states(demonstrations, task.horizon)
    return Expert(jnp.asarray(states), jnp.asarray(states[..., indices].reshape(-1, len(indices))))


def chosen_indices(settings: Any, task: Task) -> tuple[int, ...]:
    """Entries of the observation that count; raises :class:`SurefootError` if one is not there, or twice."""
    size = task.observation.size
    if len(set(settings.state_indices)) < len(settings.state_indices):
        raise SurefootError(f"state_indices = {settings.state_indices} names an entry twice.")
    for index in settings.state_indices:
        if not 0 <= index < size:
            raise SurefootError(
                f"state_indices = {settings.state_indices}: '{task.name}' has observations of {size} "
                f"numbers, entries 0 to {size - 1}."
            )
    return tuple(settings.state_indices) or tuple(range(size))


def demonstrated_states(demonstrations: Demonstrations, horizon: int) -> np.ndarray:
    """States s_1 ... s_T of every episode, ``[episodes, horizon, obs]``; longer ones are cut.

    An episode that terminated early stays in its last state. Raises :class:`SurefootError` for one that
    was cut before the horizon: nobody knows how it went on.
    """
    episodes = []
    for i in range(demonstrations.episodes):
        episode = demonstrations.episode(i)
        states = episode["observations"][1 : horizon + 1]
        missing = horizon - len(states)
        if missing and not episode["terminations"][-1]:
            raise SurefootError(
                f"Demonstrated episode {i} was cut after {len(states)} steps, before the horizon of "
                f"{horizon}; leave it out with slice(), or make the world's horizon as short."
            )
        episodes.append(np.concatenate([states, np.repeat(states[-1:], missing, axis=0)]))
    return np.stack(episodes)


def visited(batch: Trajectories) -> Float[Array, "episodes time obs"]:
    """States s_1 ... s_T of whole episodes; one that terminated early stays in its last state."""
    time = jnp.arange(len(batch.valid))
    last = jnp.sum(batch.valid, axis=0) - 1
    rows = jnp.minimum(time[:, None], last)  # [time, episodes]
    states = jnp.take_along_axis(batch.next_observation, rows[..., None], axis=0)
    return jnp.swapaxes(states, 0, 1)


def density_log_ratio(
    settings: Any, states: Float[Array, "*batch d"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """log rho_E(s) and log rho(s) at the agent's states, rho being a KDE of these very states.

    Each state counts in its own estimate, so that the second is never below that of a lone kernel.
    """
    points = states.reshape(-1, states.shape[-1])
    own = Kde(points, settings.bandwidth).log_prob(points).reshape(states.shape[:-1])
    return density_of(settings.density).log_prob(states), own


def zero_density(settings: Any, states: Float[Array, "*batch d"]) -> Metrics:
    """The metric of that name: the share of ``states`` where the given density is zero; none without one."""
    if not settings.density:
        return {}
    return {"zero_density": jnp.mean(jnp.isneginf(density_of(settings.density).log_prob(states)))}


def kl_metrics(expert: Float[Array, "n d"], agent: Float[Array, "m d"]) -> Float[Array, " 2"]:
    """Forward KL(expert || agent) and reverse KL(agent || expert), by nearest neighbours."""
    return jnp.stack([knn.kl(expert, agent), knn.kl(agent, expert)])


def _can_be_drawn(density: Any) -> bool:
    """Whether the density, and every part of it, knows how to draw."""
    try:
        jax.eval_shape(lambda key: density.sample(key, 1), jax.random.key(0))
    except (AttributeError, SurefootError):
        return False
    return True


def _tried(task: Task, indices: tuple[int, ...]) -> tuple[np.ndarray, bool]:
    """States within the observation's bounds, and whether these are bounds all around."""
    box: Box = task.observation
    low, high = (np.array([bound[i] for i in indices]) for bound in (box.low, box.high))
    bounded = bool(np.isfinite(low).all() and np.isfinite(high).all())
    low = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high - 6, -3.0))
    high = np.where(np.isfinite(high), high, low + 6)
    share = np.random.default_rng(0).random((_TRIED, len(indices)))
    return (low + share * (high - low)).astype(np.float32), bounded
