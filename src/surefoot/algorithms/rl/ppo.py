"""PPO: proximal policy optimisation (Schulman et al. 2017, https://arxiv.org/abs/1707.06347).

Box, in the paper's symbols; the code below carries the same line numbers.

  1  collect T steps in each of N environments with pi_old
  2  delta_t = r_t + gamma V(s_{t+1}) - V(s_t),   A_t = delta_t + gamma lambda A_{t+1}      (Eqs. 11, 12)
  3  for K passes over the NT steps in minibatches of M: Adam on (Eq. 9, with the sign of a loss)
         L = - mean min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A)                       (Eq. 7)
             + c_1 mean (V(s) - R)^2 - c_2 mean entropy,      rho = pi(a|s) / pi_old(a|s),  R = A + V_old(s)

Departures from the paper, and why: policy and value networks are apart, advantages are standardised in each
minibatch, the gradient's norm is clipped (Engstrom et al. 2020, https://arxiv.org/abs/2005.12729, study
that), and the passes stop once the policy has moved far, all as in common public programs. Episodes that a
time limit cuts bootstrap from their true last observation. Actions may be discrete or continuous.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.safe.episodes import check_memory
from surefoot.data.trajectories import Trajectories, episode_metrics, flat
from surefoot.errors import SurefootError, check_range
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import BoundedGaussianPolicy, CategoricalPolicy, GaussianPolicy
from surefoot.numerics.returns import generalised_advantage
from surefoot.task import Discrete, Task
from surefoot.worlds.world import Steps, World

N = TypeVar("N")
S = TypeVar("S")


class Networks(eqx.Module):
    """What Adam trains."""

    policy: CategoricalPolicy | GaussianPolicy | BoundedGaussianPolicy
    value: Mlp
    """V: one output."""


class State(eqx.Module):
    """All that a resumed run needs."""

    networks: Networks
    optimiser: optax.OptState


class Sample(eqx.Module):
    """What the loss needs of a step, or of a batch of them."""

    observation: Float[Array, "*batch obs"]
    action: Shaped[Array, "..."]
    log_prob: Float[Array, "*batch"]
    """log pi_old(a|s)."""
    advantage: Float[Array, "*batch"]
    target: Float[Array, "*batch"]
    """R: what V should be."""


class Ppo(eqx.Module):
    """Proximal policy optimisation."""

    needs_demonstrations: ClassVar[bool] = False
    interacts: ClassVar[bool] = True

    batch_steps: int = 2048
    """NT: environment steps per iteration, over all parallel environments."""
    passes: int = 10
    """K: most passes over these steps."""
    minibatch: int = 256
    """M: steps a gradient step; what is left over of a pass is dropped."""
    learning_rate: float = 3e-4
    """Of Adam."""
    discount: float = 0.99
    """gamma, in [0, 1]."""
    trace: float = 0.95
    """lambda of the advantage estimate: 0 trusts V, 1 trusts the sampled return."""
    clip: float = 0.2
    """epsilon: how far the probability ratio may gain by moving."""
    value_weight: float = 0.5
    """c_1, weight of the error of the values in the loss."""
    entropy_weight: float = 0.0
    """c_2, weight of the policy's entropy in the loss."""
    gradient_norm: float = 0.5
    """Longer gradients are scaled down to this norm."""
    target_kl: float = 0.02
    """Passes stop after one whose mean divergence from pi_old exceeds 1.5 times this, in nats."""
    hidden: tuple[int, ...] = (64, 64)
    """Hidden layers (tanh) of the policy and of the value network."""
    initial_std: float = 1.0
    """Spread of a continuous policy at the start, in half widths of the action space."""

    def __check_init__(self) -> None:
        check_settings(self)

    @property
    def steps_per_iteration(self) -> int:
        return self.batch_steps

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Any = None) -> State:
        """Fresh networks; demonstrations are ignored."""
        check_memory(task, self.batch_steps, ())
        key_policy, key_value = jax.random.split(key)
        networks = Networks(
            create_policy(task, self.hidden, key_policy, initial_std=self.initial_std),
            create_values(task, self.hidden, 1, key_value),
        )
        return State(
            networks, adam(self.learning_rate, self.gradient_norm).init(eqx.filter(networks, eqx.is_array))
        )

    def start_from(self, state: State, policy: Any, critics: Any) -> State:
        """``state`` with the network of another run's policy, whatever its sizes, and the spread of these
        settings; the value networks start afresh."""
        del critics
        networks = eqx.tree_at(lambda n: n.policy, state.networks, restarted(state.networks.policy, policy))
        optimiser = adam(self.learning_rate, self.gradient_norm).init(eqx.filter(networks, eqx.is_array))
        return eqx.tree_at(lambda s: (s.networks, s.optimiser), state, (networks, optimiser))

    def policy(self, state: State) -> CategoricalPolicy | GaussianPolicy | BoundedGaussianPolicy:
        return state.networks.policy

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        key_collect, key_update = jax.random.split(key)
        world, batch = world.collect(self.policy(state), Steps(self.batch_steps), key_collect)  # line 1
        state, metrics = update(self, state, batch, key_update)  # lines 2, 3
        return state, world, {**episode_metrics(batch, world.task), **metrics}


@eqx.filter_jit
def update(settings: Ppo, state: State, batch: Trajectories, key: PRNGKeyArray) -> tuple[State, Metrics]:
    """Lines 2 and 3: what an iteration learns from its steps."""
    networks = state.networks
    value, next_value = networks.value(batch.observation), networks.value(batch.next_observation)
    advantage = generalised_advantage(  # line 2
        batch.reward,
        value[..., 0],
        next_value[..., 0],
        batch.terminated,
        batch.truncated,
        discount=settings.discount,
        trace=settings.trace,
    )
    data = Sample(
        batch.observation,
        batch.action,
        networks.policy.log_prob(batch.observation, batch.action),
        advantage,
        advantage + value[..., 0],
    )
    networks, optimiser, metrics = minibatch_passes(  # line 3
        lambda networks, sample: loss(settings, networks, sample),
        networks,
        state.optimiser,
        flat(data),
        key,
        optimiser=adam(settings.learning_rate, settings.gradient_norm),
        passes=settings.passes,
        minibatch=settings.minibatch,
        stop_above=1.5 * settings.target_kl,
    )
    return State(networks, optimiser), metrics


def loss(settings: Ppo, networks: Networks, sample: Sample) -> tuple[Float[Array, ""], Metrics]:
    """Eq. 9 as a loss, and what it is made of."""
    log_ratio = networks.policy.log_prob(sample.observation, sample.action) - sample.log_prob
    policy_loss = -clipped_gain(log_ratio, standardise(sample.advantage), settings.clip)
    value_loss = jnp.mean((networks.value(sample.observation)[..., 0] - sample.target) ** 2)
    entropy = jnp.mean(networks.policy.entropy(sample.observation))
    total = policy_loss + settings.value_weight * value_loss - settings.entropy_weight * entropy
    return total, {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "kl": approximate_kl(log_ratio),
    }


# The parts of PPO that its constrained relatives share.


def clipped_gain(
    log_ratio: Float[Array, " batch"], advantage: Float[Array, " batch"], clip: float
) -> Float[Array, ""]:
    """Eq. 7: mean of min(rho A, clip(rho) A)."""
    ratio = jnp.exp(log_ratio)
    return jnp.mean(jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage))


def approximate_kl(log_ratio: Float[Array, " batch"]) -> Float[Array, ""]:
    """KL(pi_old || pi) from samples of pi_old: mean of rho - 1 - log rho, unbiased and never negative."""
    return jnp.mean(jnp.expm1(log_ratio) - log_ratio)


def standardise(advantage: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """With mean 0 and spread 1."""
    return (advantage - jnp.mean(advantage)) / (jnp.std(advantage) + 1e-8)


def create_policy(
    task: Task, hidden: tuple[int, ...], key: PRNGKeyArray, *, initial_std: float
) -> CategoricalPolicy | GaussianPolicy:
    """A policy that starts near uniform (discrete) or near mean 0 (continuous)."""
    inputs, discrete = task.observation.size, isinstance(task.action, Discrete)
    outputs = task.action.n if isinstance(task.action, Discrete) else task.action.size
    network = Mlp.create((inputs, *hidden, outputs), key, activation="tanh", last_scale=0.01)
    if discrete:
        return CategoricalPolicy(network)
    assert not isinstance(task.action, Discrete)
    widths = (high - low for low, high in zip(task.action.low, task.action.high, strict=True))
    std = [initial_std * (width / 2 if 0 < width < math.inf else 1.0) for width in widths]
    return GaussianPolicy(network, jnp.log(jnp.array(std)))


def restarted(mine: Any, given: Any) -> Any:
    """``given``, a policy of another run, with the spread of ``mine``; raises if it does not fit."""
    if isinstance(mine, CategoricalPolicy) != isinstance(given, CategoricalPolicy):
        raise SurefootError("The start has discrete actions and the task has not, or the other way round.")
    if not hasattr(given, "log_prob") or not hasattr(given, "entropy"):
        raise SurefootError(f"The start holds a {type(given).__name__}, which this method cannot train.")
    needed, found = ((p.network.weights[0].shape[0], p.network.biases[-1].shape[0]) for p in (mine, given))
    if needed != found:
        raise SurefootError(
            f"The start's policy takes {found[0]} numbers and gives {found[1]}, but this task needs "
            f"{needed[0]} and {needed[1]}; make a safe start in the same environment."
        )
    return (
        given
        if isinstance(given, CategoricalPolicy)
        else eqx.tree_at(lambda p: p.log_std, given, mine.log_std)
    )


def create_values(task: Task, hidden: tuple[int, ...], outputs: int, key: PRNGKeyArray) -> Mlp:
    """A network from observations to ``outputs`` values."""
    return Mlp.create((task.observation.size, *hidden, outputs), key, activation="tanh")


def adam(learning_rate: float, gradient_norm: float) -> optax.GradientTransformation:
    """Adam on gradients of bounded norm."""
    return optax.chain(optax.clip_by_global_norm(gradient_norm), optax.adam(learning_rate, eps=1e-5))


def minibatch_passes(
    loss: Callable[[N, S], tuple[Array, Metrics]],
    networks: N,
    optimiser_state: optax.OptState,
    data: S,
    key: PRNGKeyArray,
    *,
    optimiser: optax.GradientTransformation,
    passes: int,
    minibatch: int,
    stop_above: float,
) -> tuple[N, optax.OptState, Metrics]:
    """Descends ``loss(networks, minibatch)`` for at most ``passes`` shuffled passes over ``data``.

    ``loss`` also returns metrics, among them ``kl``; no pass follows one whose mean ``kl`` is above
    ``stop_above``. Returns networks, optimiser state and the last pass's mean metrics with ``passes``,
    the number made. Consumes ``key`` for shuffling.
    """
    total = jax.tree.leaves(data)[0].shape[0]
    count = total // minibatch
    descend = jax.value_and_grad(loss, has_aux=True)

    def step(carry: tuple[N, optax.OptState], rows: Array) -> tuple[tuple[N, optax.OptState], Metrics]:
        networks, optimiser_state = carry
        (_, metrics), gradient = descend(networks, jax.tree.map(lambda x: x[rows], data))
        change, optimiser_state = optimiser.update(gradient, optimiser_state)
        return (optax.apply_updates(networks, change), optimiser_state), metrics  # type: ignore

    def one_pass(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        networks, optimiser_state, done, _ = carry
        order = jax.random.permutation(jax.random.fold_in(key, done), total)
        rows = order[: count * minibatch].reshape(count, minibatch)
        (networks, optimiser_state), metrics = jax.lax.scan(step, (networks, optimiser_state), rows)
        return networks, optimiser_state, done + 1, jax.tree.map(jnp.mean, metrics)

    def more(carry: tuple[Any, ...]) -> Array:
        *_, done, metrics = carry
        return (done < passes) & (metrics["kl"] <= stop_above)

    sample = jax.eval_shape(lambda data: jax.tree.map(lambda x: x[:minibatch], data), data)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(loss, networks, sample)[1])
    start = (networks, optimiser_state, jnp.zeros((), jnp.int32), nothing)
    networks, optimiser_state, done, metrics = jax.lax.while_loop(more, one_pass, start)
    return networks, optimiser_state, {**metrics, "passes": done.astype(jnp.float32)}


def check_settings(settings: Any) -> None:
    """Raises :class:`SurefootError` for settings that PPO or a relative cannot use."""
    for name in ("batch_steps", "passes", "minibatch"):
        check_range(name, getattr(settings, name), low=1)
    for name in ("learning_rate", "clip", "gradient_norm", "target_kl", "initial_std"):
        check_range(name, getattr(settings, name), low=0, open_low=True)
    for name in ("discount", "trace"):
        check_range(name, getattr(settings, name), low=0, high=1)
    for name in ("value_weight", "entropy_weight"):
        check_range(name, getattr(settings, name), low=0)
    for width in settings.hidden:
        check_range("hidden", width, low=1)
    if settings.minibatch > settings.batch_steps:
        raise SurefootError(
            f"minibatch = {settings.minibatch} is larger than batch_steps = {settings.batch_steps}; "
            "make batch_steps larger or minibatch smaller."
        )
