"""The loop that GAIL, f-MAX and AIRL share: a discriminator and SAC take turns.

Box, with one replay buffer B:
  1  collect transitions with pi into B
  2  D   <- step on the cross-entropy of expert against B
  3  pi  <- some updates of SAC on B, the reward of each transition coming from the newest D
Lines 2 and 3 alternate, lines 1 to 3 repeat. A method says what D is trained on, ``loss(state, network,
key)``, and what reward it gives each transition of a scaled batch, ``relabel(state, batch)``.

What D sees of either side are the states from which steps were made, s_0 ... s_{T-1}: those of the buffer and
those of the demonstrations. Nothing is padded, so that where an episode ends does not tell the two apart.

With a given density there are no expert states. Then the agent's own stand in for them, each weighted by
rho_E(s) / rho(s) with rho a kernel density estimate of the buffer (Ni et al. 2020, thesis version, Eq. 3.43).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from surefoot.algorithms.imitation import discriminator as adversary
from surefoot.algorithms.imitation import matching
from surefoot.algorithms.imitation.discriminator import Discriminator, Network
from surefoot.algorithms.imitation.matching import Expert
from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.rl import sac
from surefoot.algorithms.rounds import in_rounds
from surefoot.data.replay import Replay
from surefoot.data.trajectories import Trajectories, episode_metrics
from surefoot.errors import SurefootError, check_range, unknown
from surefoot.networks.policies import SquashedGaussianPolicy
from surefoot.networks.rewards import MlpNetwork, ResidualNetwork
from surefoot.numerics.density import Kde
from surefoot.numerics.density_text import density_of
from surefoot.task import Task
from surefoot.worlds.world import Episodes, Steps, World

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations

WITH_DENSITY: dict[str, Any] = {
    "learning_rate": 3e-3,
    "alpha": 1.0,
    "batch_size": 256,
    "replay_capacity": 12_000,
    "steps_per_iteration": 320,
    "steps_per_round": 16,
    "updates_per_step": 1.0,
    "ratio_updates": 1,
    "ratio_batch_size": 128,
    "learning_starts": 500,
    "trajectories": 1_000,
}
"""Settings that are not given, with a density: those of Ni et al. 2020 for the Reacher, but for rounds of 15
steps and iterations of 300 there. Their discriminator has batch normalisation too (``ratio_network``)."""

WITH_DEMONSTRATIONS: dict[str, Any] = {
    "learning_rate": 1e-3,
    "alpha": 0.2,
    "batch_size": 256,
    "replay_capacity": 200_000,
    "steps_per_iteration": 4_000,
    "steps_per_round": 1_000,
    "updates_per_step": 0.1,
    "ratio_updates": 100,
    "ratio_batch_size": 256,
    "learning_starts": 5_000,
    "trajectories": 0,
}
"""Settings that are not given, with demonstrations: those of Ni et al. 2020 for MuJoCo. Their
discriminator differs with the body, and from the defaults here: that of Hopper, Walker2d and Ant is an MLP of
2 x 128 on normalised states, with a penalty of 4 and rewards times 0.2; that of HalfCheetah is residual, one
block of 256, with a penalty of 2 and rewards times 2. ``firl-benchmark`` sets these."""


class Scale(eqx.Module):
    """Makes the demonstrated states, s_1 ... s_T, have mean 0 and spread 1 in every entry; the identity
    unless asked for."""

    mean: Float[Array, " obs"]
    std: Float[Array, " obs"]

    def __call__(self, observation: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        return (observation - self.mean) / self.std

    def batch(self, batch: Any) -> Any:
        """Transitions as the networks see them."""
        seen = (self(batch.observation), self(batch.next_observation))
        return eqx.tree_at(lambda b: (b.observation, b.next_observation), batch, seen)

    def unscaled(self, actor: SquashedGaussianPolicy) -> SquashedGaussianPolicy:
        """An actor of scaled observations as a policy of plain ones: its first layer takes the scale in."""
        weight, bias = actor.network.weights[0], actor.network.biases[0]
        first = (weight / self.std[:, None], bias - (self.mean / self.std) @ weight)
        return eqx.tree_at(lambda a: (a.network.weights[0], a.network.biases[0]), actor, first)


class Pairs(eqx.Module):
    """Demonstrated transitions s_t, a_t, s_{t+1}."""

    observation: Float[Array, "n obs"]
    action: Float[Array, "n act"]
    next_observation: Float[Array, "n obs"]

    def sample(self, key: PRNGKeyArray, n: int) -> Pairs:
        """``n`` of them, uniformly with replacement."""
        rows = jax.random.randint(key, (n,), 0, len(self.action))
        return jax.tree.map(lambda x: x[rows], self)


class State(eqx.Module):
    """All that a resumed run needs."""

    agent: sac.Agent
    """Its networks see scaled observations."""
    replay: Replay
    discriminator: Discriminator
    expert: Expert
    pairs: Pairs | None
    """Demonstrated transitions; ``None`` with a density."""
    scale: Scale
    kl: Float[Array, " 2"]
    """Forward and reverse KL when they were last measured; 0 before."""
    steps: Int[Array, ""]
    """Environment steps taken."""
    iterations: Int[Array, ""]
    indices: tuple[int, ...] = eqx.field(static=True)
    """Entries of the observation that the discriminator sees."""

    def chosen(self, observation: Float[Array, "*batch obs"]) -> Float[Array, "*batch d"]:
        """What the discriminator sees of a state that is scaled already."""
        return observation[..., jnp.asarray(self.indices)]


def init_state(
    settings: Any,
    task: Task,
    key: PRNGKeyArray,
    demonstrations: Demonstrations | None,
    network: Callable[[int, PRNGKeyArray], Network],
) -> State:
    """A fresh state; ``network(d, key)`` makes that of a discriminator of d numbers.

    Raises :class:`SurefootError` if the expert does not fit the task.
    """
    key_agent, key_network, key_expert = jax.random.split(key, 3)
    expert = matching.the_expert(settings, task, key_expert, demonstrations)
    indices = matching.chosen_indices(settings, task)
    size = task.observation.size
    scale = Scale(jnp.zeros(size), jnp.ones(size))
    pairs = None if demonstrations is None else Pairs(*demonstrated_pairs(demonstrations))
    if settings.normalise and pairs is not None:
        states = pairs.next_observation
        std = jnp.std(states, axis=0)
        scale = Scale(jnp.mean(states, axis=0), jnp.where(std > 1e-6, std, 1.0))  # constant entries stay
    return State(
        sac.init_agent(settings.sac, task, key_agent),
        Replay.create(task, settings.replay_capacity),
        Discriminator.create(network(len(indices), key_network), ratio_adam(settings)),
        expert,
        pairs,
        scale,
        jnp.zeros(2),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), jnp.int32),
        indices,
    )


def iteration(method: Any, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
    """Rounds of collecting and learning; then, where asked for, whole episodes to measure by."""
    key_rounds, key_roll = jax.random.split(key)

    def one(state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        key_collect, key_learn = jax.random.split(key)
        world, batch = world.collect(method.policy(state), Steps(method.steps_per_round), key_collect)  # 1
        played = episode_metrics(batch, world.task)
        state, metrics = learn(method, state, batch, key_learn)  # 2, 3
        return state, world, played | metrics

    rounds = method.steps_per_iteration // method.steps_per_round
    state, world, metrics = in_rounds(one, state, world, key_rounds, rounds)
    if method.trajectories:
        _, batch = world.collect(method.policy(state), Episodes(method.trajectories), key_roll)
        metrics |= episode_metrics(batch, world.task)
        state, measured = measure(method, state, batch)
        metrics |= measured
    return state, world, metrics


@eqx.filter_jit(donate="all-except-first")
def learn(method: Any, state: State, batch: Trajectories, key: PRNGKeyArray) -> tuple[State, Metrics]:
    """Stores experience, then discriminator and policy take turns; ``state`` is given away."""
    steps = state.steps + batch.reward.size
    state = eqx.tree_at(lambda s: (s.replay, s.steps), state, (state.replay.add(batch), steps))

    def turn(carry: tuple[Discriminator, sac.Agent], key: PRNGKeyArray) -> tuple[Any, Metrics]:
        key_ratio, key_policy = jax.random.split(key)
        now = eqx.tree_at(_learned, state, carry)

        def loss(network: Network, key: PRNGKeyArray) -> tuple[Array, Network]:
            return method.loss(now, network, key)

        discriminator, value = adversary.train(now.discriminator, loss, ratio_adam(method), key_ratio, 1)  # 2
        after = eqx.tree_at(lambda s: s.discriminator, now, discriminator)

        def improve(agent: sac.Agent, key: PRNGKeyArray) -> tuple[sac.Agent, Metrics]:
            key_batch, key_step = jax.random.split(key)
            batch = state.scale.batch(state.replay.sample(key_batch, method.batch_size))
            batch = sac.relabelled(batch, lambda b: method.relabel(after, b))
            return sac.gradient_step(method.sac, agent, batch, key_step)

        keys = jax.random.split(key_policy, method.sac.updates // method.ratio_updates)
        agent, metrics = jax.lax.scan(improve, after.agent, keys)  # 3
        return (discriminator, agent), jax.tree.map(jnp.mean, metrics) | {"discriminator_loss": value}

    enabled = steps >= method.learning_starts
    carry, metrics = sac.repeat(turn, _learned(state), key, method.ratio_updates, enabled=enabled)
    metrics |= matching.zero_density(method, state.chosen(batch.observation))
    return eqx.tree_at(_learned, state, carry), metrics


def _learned(state: State) -> tuple[Discriminator, sac.Agent]:
    return state.discriminator, state.agent


@eqx.filter_jit(donate="all-except-first")
def measure(method: Any, state: Any, batch: Trajectories) -> tuple[Any, Metrics]:
    """With a density, how far the states of whole episodes are from it in KL; ``state`` is given away."""
    metrics: Metrics = {}
    if state.expert.trajectories is None and state.expert.samples is not None:
        agent, expert = state.chosen(matching.visited(batch)), state.expert.samples
        agent = agent.reshape(-1, agent.shape[-1])
        due = state.iterations % method.kl_every == 0
        kl = jax.lax.cond(due, lambda: matching.kl_metrics(expert, agent), lambda: state.kl)
        metrics = {"forward_kl": kl[0], "reverse_kl": kl[1]}
        state = eqx.tree_at(lambda s: s.kl, state, kl)
    return eqx.tree_at(lambda s: s.iterations, state, state.iterations + 1), metrics


def policy(state: State) -> SquashedGaussianPolicy:
    """The actor as a policy of plain observations."""
    return state.scale.unscaled(state.agent.actor)


def state_loss(
    method: Any, state: State, network: Network, key: PRNGKeyArray
) -> tuple[Float[Array, ""], Network]:
    """The loss of a discriminator of single states: cross-entropy, and a gradient penalty if it is not 0."""
    key_ours, key_theirs, key_between = jax.random.split(key, 3)
    batch = state.replay.sample(key_ours, method.ratio_batch_size).observation
    ours = state.chosen(state.scale(batch))
    theirs, weight = ours, 1.0
    if state.pairs is None:
        weight = importance(method, state.replay, state.indices, batch)
    else:
        # The same kind of states as the agent's: padded episodes would show the last one far more often.
        theirs = adversary.rows(state.pairs.observation, key_theirs, method.ratio_batch_size)
        theirs = state.chosen(state.scale(theirs))
    value, moved = adversary.cross_entropy(network, theirs, ours, weight)
    if method.penalty:
        value += method.penalty * adversary.gradient_penalty(network, theirs, ours, key_between)
    return value, moved


def importance(
    method: Any, replay: Replay, indices: tuple[int, ...], observation: Float[Array, "batch obs"]
) -> Float[Array, " batch"]:
    """rho_E / rho at states of the replay buffer, rho being a KDE of all that it holds."""
    index = jnp.asarray(indices)
    own = replay_density(method, replay, indices, observation[..., index])
    expert = density_of(method.density).log_prob(observation[..., index])
    return jnp.exp(expert - own)


def replay_density(
    method: Any, replay: Replay, indices: tuple[int, ...], x: Float[Array, "batch d"]
) -> Float[Array, " batch"]:
    """Logarithm of a KDE of the states that the buffer holds; rows that were never written do not count."""
    written = jnp.arange(replay.capacity) < replay.size
    points = jnp.where(written[:, None], replay.data.observation[:, jnp.asarray(indices)], jnp.inf)
    return Kde(points, method.bandwidth).log_prob(x) + jnp.log(replay.capacity / jnp.maximum(replay.size, 1))


def demonstrated_pairs(demonstrations: Demonstrations) -> tuple[Array, Array, Array]:
    """Every demonstrated s_t, a_t, s_{t+1}."""
    episodes = [demonstrations.episode(i) for i in range(demonstrations.episodes)]
    states = [episode["observations"] for episode in episodes]
    now, after = (np.concatenate([s[rows] for s in states]) for rows in (slice(None, -1), slice(1, None)))
    return jnp.asarray(now), jnp.asarray(demonstrations.actions), jnp.asarray(after)


def state_network(method: Any, size: int, key: PRNGKeyArray) -> Network:
    """The discriminator of a state: ``ratio_network`` says which."""
    if method.ratio_network == "mlp":
        return MlpNetwork.create(size, (method.ratio_hidden,) * method.ratio_blocks, key)
    batch_norm = method.ratio_network == "batch-norm"
    return ResidualNetwork.create(size, method.ratio_hidden, method.ratio_blocks, key, batch_norm=batch_norm)


def ratio_adam(method: Any) -> optax.GradientTransformation:
    """For the discriminator."""
    return adversary.adam(method.ratio_learning_rate, b1=0.0)


def sac_settings(method: Any) -> sac.Sac:
    """SAC's settings, its round being an iteration of its own; raises for one out of range."""
    return sac.Sac(
        hidden=method.hidden,
        discount=method.discount,
        polyak=method.polyak,
        learning_rate=method.learning_rate,
        alpha=method.alpha,
        batch_size=method.batch_size,
        replay_capacity=method.replay_capacity,
        steps_per_iteration=method.steps_per_round,
        updates_per_step=method.updates_per_step,
        warm_up=0,
    )


def check_settings(method: Any) -> None:
    """Raises :class:`SurefootError` for a setting out of range, of those that all these methods have."""
    check_loop(method)
    check_range("ratio_updates", method.ratio_updates, low=1)
    if method.sac.updates % method.ratio_updates:
        raise SurefootError(
            f"{method.sac.updates} updates of the policy a round (steps_per_round times updates_per_step) "
            f"cannot be shared out evenly after ratio_updates = {method.ratio_updates} of the discriminator."
        )
    check_range("ratio_batch_size", method.ratio_batch_size, low=2)
    check_range("ratio_learning_rate", method.ratio_learning_rate, low=0, open_low=True)
    if method.density and method.normalise:
        raise SurefootError("normalise is by the states of demonstrations; it cannot be used with a density.")
    if method.density and not density_of(method.density).normalised:
        raise SurefootError(
            "The density is not known to integrate to one, which importance weights need; "
            "use normalise(density, low, high), or say normalised=True if it does."
        )


def check_loop(method: Any) -> None:
    """Raises :class:`SurefootError` for a setting out of range, of those of the rounds and of SAC."""
    check_range("steps_per_round", method.steps_per_round, low=1)
    if method.steps_per_iteration < 1 or method.steps_per_iteration % method.steps_per_round:
        raise SurefootError(
            f"steps_per_iteration = {method.steps_per_iteration} must be a multiple of steps_per_round = "
            f"{method.steps_per_round}."
        )
    _ = method.sac
    check_range("learning_starts", method.learning_starts, low=0)
    check_range("trajectories", method.trajectories, low=0)
    check_range("bandwidth", method.bandwidth, low=0, open_low=True)
    check_range("expert_samples", method.expert_samples, low=4)
    check_range("kl_every", method.kl_every, low=1)


def check_network(method: Any) -> None:
    """Raises :class:`SurefootError` for a setting out of range, of those of a discriminator of states."""
    if method.ratio_network not in ("residual", "batch-norm", "mlp"):
        raise unknown("ratio_network", method.ratio_network, ("residual", "batch-norm", "mlp"))
    check_range("ratio_hidden", method.ratio_hidden, low=1)
    check_range("ratio_blocks", method.ratio_blocks, low=0)
    check_range("penalty", method.penalty, low=0)
