"""f-IRL: inverse reinforcement learning by matching state marginals (Ni et al. 2020, arXiv 2011.04709).

The expert is a density rho_E(s), or demonstrated trajectories. Sought is a reward r_theta(s), a function of
the state alone, whose soft-optimal policy (most reward and alpha times entropy) visits the expert's states:

    min_theta  D_f(rho_E || rho_theta),   rho_theta(s) the average of the distributions of s_1 ... s_T

Its gradient is known in closed form (Theorem 4.1; Theorem 3.5.1 of the thesis version)::

    grad_theta D_f = 1 / (alpha T) cov_tau( sum_t h_f(rho_E(s_t) / rho_theta(s_t)),  sum_t grad_theta r(s_t) )

with h_f(u) = f(u) - u f'(u) and the covariance over the agent's trajectories tau: descent raises the reward
along trajectories whose states the expert visits more often than the agent.

Box; ``Firl.iteration`` follows it line by line.
  1  pi      <- MaxEnt RL (SAC) with r_theta, going on from the last pi; its replay is kept, the reward of
                every transition is that of the newest r_theta at s_t
  2  tau     <- trajectories of pi
  3  log rho_E(s)/rho(s) at their states:  the given density and a kernel density estimate of the states, or
     the logit D(s) of a discriminator trained on the demonstrated states (class 1) and these (class 0)
  4  theta   <- theta - step along the gradient above.  With demonstrations the covariance is over the agent's
                and the expert's trajectories, half and half (Sec. 4.4; Eq. 3.23 of the thesis): biased, but
                with a signal where the agent is still far from the expert, and exact where the two agree

Divergences: ``fkl`` covers all that the expert does, ``rkl`` keeps out of where it never is and takes a
density without its normaliser, ``js`` is between. ``ipm`` puts minus a Wasserstein critic, ``mmd`` minus the
witness of the maximum mean discrepancy, in the place of h_f: the same covariance, since both are integrals
over rho_theta.

Departures from the paper follow its published code: 1/T instead of 1/(alpha T), which Adam does not see but
for ``reward_decay``: beside this gradient it weighs 1/alpha times as much as beside the paper's. The reward
network has one non-linearity; SAC's networks may be wider (``hidden=(256, 256)`` there). Episodes go on where
they stood when an iteration begins, and several environments act between two rounds of updates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from surefoot.algorithms.imitation import discriminator as adversary
from surefoot.algorithms.imitation import matching
from surefoot.algorithms.imitation.discriminator import Discriminator
from surefoot.algorithms.imitation.matching import Expert
from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.rl import sac
from surefoot.algorithms.rounds import in_rounds
from surefoot.data.replay import Replay
from surefoot.data.trajectories import Trajectories, episode_metrics
from surefoot.errors import SurefootError, check_range, unknown
from surefoot.networks.policies import WarmUp
from surefoot.networks.rewards import ResidualNetwork, RewardNetwork
from surefoot.numerics.density import Kde
from surefoot.numerics.density_text import density_of, text_of
from surefoot.numerics.divergences import DIVERGENCES, divergence
from surefoot.task import Task
from surefoot.worlds.world import Episodes, Steps, World

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations

WITH_DENSITY: dict[str, Any] = {
    "learning_rate": 3e-3,
    "alpha": 1.0,
    "batch_size": 256,
    "replay_capacity": 12_000,
    "warm_up": 150,
    "steps_per_iteration": 320,
    "trajectories": 1_000,
    "reward_learning_rate": 1e-3,
    "reward_decay": 0.0,
    "reward_updates": 2,
}
"""Settings that are not given, with a density: the paper's for the Reacher, but for 300 steps there."""

WITH_DEMONSTRATIONS: dict[str, Any] = {
    "learning_rate": 1e-3,
    "alpha": 0.2,
    "batch_size": 100,
    "replay_capacity": 1_000_000,
    "warm_up": 1_000,
    "steps_per_iteration": 5_120,
    "trajectories": 10,
    "reward_learning_rate": 1e-4,
    "reward_decay": 1e-3,
    "reward_updates": 1,
}
"""Settings that are not given, with demonstrations: the paper's for MuJoCo, but for 5000 steps there."""


class State(eqx.Module):
    """All that a resumed run needs."""

    agent: sac.Agent
    replay: Replay
    reward: RewardNetwork
    """r_theta: what is learned."""
    reward_optimiser: optax.OptState
    ratio: Discriminator | None
    """Logit of the density ratio, or Wasserstein critic; ``None`` with a density."""
    expert: Expert
    kl: Float[Array, " 2"]
    """Forward and reverse KL when they were last measured; 0 before."""
    steps: Int[Array, ""]
    """Environment steps taken."""
    iterations: Int[Array, ""]


class Firl(eqx.Module):
    """f-IRL: recovers a reward of the state from a state density, or from demonstrated states."""

    needs_demonstrations: ClassVar[bool] = False
    """A density will do."""
    interacts: ClassVar[bool] = True

    divergence: str = "fkl"
    """fkl, rkl, js, ipm or mmd."""
    density: str = eqx.field(default="", converter=text_of)
    """The expert as a density: a name such as reacher/gaussian, python:MODULE.FUNCTION, or JSON; in Python
    also a density of surefoot.numerics.density. Empty: demonstrations are given."""
    state_indices: tuple[int, ...] = ()
    """Entries of the observation that are matched and that the reward depends on; all if empty."""

    reward_hidden: int = 64
    """Width of the reward network."""
    reward_activation: str = "relu"
    """relu or tanh."""
    reward_learning_rate: float = 0.0
    """Adam's step for the reward. 0: 1e-3 with a density, 1e-4 with demonstrations."""
    reward_decay: float | None = None
    """This share of the reward's weights is added to their gradient. None: 0 or 1e-3."""
    reward_updates: int = 0
    """Updates of the reward per iteration. 0: 2 or 1."""
    trajectories: int = 0
    """The agent's trajectories per iteration, of the world's whole horizon. 0: 1000 or 10."""
    expert_trajectories: int = 10
    """Demonstrated trajectories in the covariance of an iteration; 0 is the plain theorem."""
    expert_share: float = 0.5
    """What these weigh in it, in all; the agent's weigh the rest."""

    bandwidth: float = 0.2
    """Of the Epanechnikov kernel of the agent's density, in the unit of the state; 0.02 suits the Reacher."""
    expert_samples: int = 10_000
    """Draws from a given density, for the metrics forward_kl and reverse_kl (and for ipm and mmd)."""
    kl_every: int = 1
    """Iterations between two measurements of these."""

    ratio_hidden: int = 128
    """Width of the discriminator or critic."""
    ratio_blocks: int = 2
    """Its residual blocks; 5 for the ants."""
    ratio_updates: int = 1_200
    """Its updates per iteration."""
    ratio_batch_size: int = 800
    """States of the expert and as many of the agent per step."""
    ratio_learning_rate: float = 3e-4
    """Adam's step for it."""
    ratio_decay: float = 1e-4
    """This share of its weights is added to their gradient."""
    penalty: float = 0.5
    """Weight of the gradient penalty of the Wasserstein critic (ipm)."""

    hidden: tuple[int, ...] = (64, 64)
    """Hidden layers of SAC's actor and critics."""
    discount: float = 0.99
    """gamma, in [0, 1)."""
    polyak: float = 0.005
    """Share of the critics that enters the target critics at each update, in (0, 1]."""
    learning_rate: float = 0.0
    """Adam's step for actor and critics. 0: 3e-3 with a density, 1e-3 with demonstrations."""
    alpha: float = 0.0
    """Temperature, fixed. 0: 1.0 or 0.2."""
    batch_size: int = 0
    """Transitions an update of SAC. 0: 256 or 100."""
    replay_capacity: int = 0
    """Transitions kept. 0: 12,000 or 1,000,000."""
    warm_up: int = -1
    """Environment steps of uniformly random actions, without updates, at the start. -1: 150 or 1000."""
    steps_per_iteration: int = 0
    """Environment steps between two updates of the reward. 0: 320 or 5120."""
    steps_per_round: int = 80
    """Environment steps between two rounds of SAC's updates; a multiple of the world's environments."""
    updates_per_step: float = 1.0
    """Updates of SAC an environment step."""

    def __post_init__(self) -> None:
        fill(self, WITH_DENSITY if self.density else WITH_DEMONSTRATIONS)

    def __check_init__(self) -> None:
        check_settings(self)
        if self.divergence not in (*DIVERGENCES, "ipm", "mmd"):
            raise unknown("divergence", self.divergence, (*DIVERGENCES, "ipm", "mmd"))
        if self.density and self.divergence != "rkl" and not density_of(self.density).normalised:
            raise SurefootError(
                f"The density is not known to integrate to one, which {self.divergence} needs; use "
                "divergence rkl, or normalise(density, low, high), or say normalised=True if it does."
            )
        check_range("expert_trajectories", self.expert_trajectories, low=0)
        check_range("expert_share", self.expert_share, low=0, high=1, open_low=True, open_high=True)
        check_range("ratio_hidden", self.ratio_hidden, low=1)
        check_range("ratio_blocks", self.ratio_blocks, low=0)
        check_range("ratio_updates", self.ratio_updates, low=1)
        check_range("ratio_batch_size", self.ratio_batch_size, low=1)
        check_range("ratio_learning_rate", self.ratio_learning_rate, low=0, open_low=True)
        check_range("ratio_decay", self.ratio_decay, low=0)
        check_range("penalty", self.penalty, low=0)

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Demonstrations | None = None) -> State:
        """Fresh networks and the expert; :class:`SurefootError` if it does not fit task and divergence."""
        key, key_ratio = jax.random.split(key)
        state = init_state(self, task, key, demonstrations)
        needed = self.divergence == "ipm" or (not self.density and self.divergence in DIVERGENCES)
        if self.divergence in ("ipm", "mmd") and state.expert.samples is None:
            raise SurefootError(
                f"{self.divergence} needs draws of the expert, but nothing can be drawn here."
            )
        if not needed:
            return state
        network = ResidualNetwork.create(
            len(state.reward.indices),
            self.ratio_hidden,
            self.ratio_blocks,
            key_ratio,
            limit=None if self.divergence == "ipm" else 10.0,
        )
        ratio = Discriminator.create(network, self._ratio_adam())
        return eqx.tree_at(lambda s: s.ratio, state, ratio, is_leaf=lambda x: x is None)

    def policy(self, state: State) -> WarmUp:
        return WarmUp(state.agent.actor, state.steps < self.warm_up)

    def reward(self, state: State) -> RewardNetwork:
        """r_theta, which the run folder keeps."""
        return state.reward

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        key_rl, key_roll, key_reward = jax.random.split(key, 3)
        state, world, metrics = maxent_rl(self, state, world, key_rl)  # 1
        _, batch = world.collect(state.agent.actor, Episodes(self.trajectories), key_roll)  # 2
        played = episode_metrics(batch, world.task)  # before the batch is given away
        state, learned = self.update_reward(state, batch, key_reward)  # 3, 4
        return state, world, played | metrics | learned

    @eqx.filter_jit(donate="all-except-first")
    def update_reward(self, state: State, batch: Trajectories, key: PRNGKeyArray) -> tuple[State, Metrics]:
        """Lines 3 and 4 of the box, on the agent's trajectories; ``state`` and ``batch`` are given away."""
        key_ratio, key_expert = jax.random.split(key)
        states = matching.visited(batch)
        state, metrics = measure(self, state, states)
        if state.expert.trajectories is not None and self.expert_trajectories:
            theirs = drawn(state.expert.trajectories, self.expert_trajectories, key_expert)
            mixed, probability = mixture(states, theirs, self.expert_share)
        else:
            mixed, probability = states, None
        h, state, ratio_metrics = self.h(state, states, mixed, key_ratio)  # 3

        def step(carry: tuple[RewardNetwork, optax.OptState], _: None) -> tuple[Any, Array]:
            reward, optimiser = carry
            loss, gradient = analytic_gradient(h, reward, mixed, probability=probability)
            return descend(self, reward, optimiser, gradient), loss  # 4

        carry = (state.reward, state.reward_optimiser)
        carry, losses = jax.lax.scan(step, carry, None, length=self.reward_updates)
        state = eqx.tree_at(lambda s: (s.reward, s.reward_optimiser), state, carry)
        return state, metrics | ratio_metrics | {"reward_loss": losses[0]}

    def h(
        self,
        state: State,
        agent: Float[Array, "episodes time obs"],
        states: Float[Array, "mixed time obs"],
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, "mixed time"], State, Metrics]:
        """h_f of the density ratio at ``states``, or what stands in its place; without gradient.

        ``agent`` are the agent's trajectories. Returns the state with its discriminator trained.
        """
        indices = jnp.asarray(state.reward.indices)
        x, ours = states[..., indices], agent[..., indices].reshape(-1, len(indices))
        if self.divergence in DIVERGENCES and self.density:
            expert, own = matching.density_log_ratio(self, x)
            log_ratio = jnp.maximum(expert - own, matching.LEAST_LOG_RATIO)
            metrics = {"log_ratio": jnp.mean(log_ratio), "zero_density": jnp.mean(jnp.isneginf(expert))}
            return divergence(self.divergence).h(log_ratio), state, metrics
        assert state.expert.samples is not None  # as init made sure
        if self.divergence == "mmd":
            witness = mmd_witness(state.expert.samples, ours, x)
            return -witness, state, {"discrepancy": jnp.mean(witness)}
        assert state.ratio is not None
        loss = self._ratio_loss(state.expert.samples, ours)
        ratio, value = adversary.train(state.ratio, loss, self._ratio_adam(), key, self.ratio_updates)
        state = eqx.tree_at(lambda s: s.ratio, state, ratio)
        output = ratio(x)
        h = -output if self.divergence == "ipm" else divergence(self.divergence).h(output)
        name = "critic" if self.divergence == "ipm" else "log_ratio"  # a Wasserstein critic is no ratio
        return h, state, {name: jnp.mean(ratio(ours)), "discriminator_loss": value}

    def _ratio_loss(self, expert: Array, agent: Array) -> adversary.Loss:
        if self.divergence == "ipm":
            return adversary.wasserstein_loss(expert, agent, self.ratio_batch_size, penalty=self.penalty)
        return adversary.cross_entropy_loss(expert, agent, self.ratio_batch_size)

    def _ratio_adam(self) -> optax.GradientTransformation:
        betas = (0.0, 0.9) if self.divergence == "ipm" else (0.9, 0.999)
        return adversary.adam(self.ratio_learning_rate, b1=betas[0], b2=betas[1], decay=self.ratio_decay)

    @property
    def sac(self) -> sac.Sac:
        """The settings of SAC, for one round."""
        return sac_settings(self)


def analytic_gradient(
    h: Float[Array, "episodes time"],
    reward: Any,
    states: Float[Array, "episodes time obs"],
    *,
    alpha: float = 1.0,
    probability: Float[Array, " episodes"] | None = None,
) -> tuple[Float[Array, ""], Any]:
    """The gradient of D_f(rho_E || rho_theta) with respect to the reward's parameters (Theorem 4.1).

        1 / (alpha T) cov_tau( sum_t h_f(u(s_t)),  sum_t grad r(s_t) )

    It is exact for deterministic dynamics and one start. Where starts differ much, the covariance within each
    of them is; chance between is counted here as if the policy could have moved it. So is chance within the
    dynamics: where steps slip the covariance is too long, though still a descent where they do so seldom.

    Args:
        h: h_f(u) at the states, with u = rho_E / rho_theta. MaxEnt IRL differs in this term alone.
        reward: a pytree with ``reward(states)`` of shape ``[episodes, time]``.
        states: s_1 ... s_T of trajectories.
        alpha: the temperature of the policy that made them.
        probability: of each trajectory; all the same if left out.

    Returns:
        The covariance with the rewards themselves, and its gradient.
    """
    episodes, time = h.shape
    p = jnp.full(episodes, 1 / episodes) if probability is None else probability
    sums = jnp.sum(h, axis=1)
    # Centred first: with h = -e^10 a difference of large products would leave no digits of the covariance.
    centred = sums - jnp.sum(p * sums)

    def covariance(reward: Any) -> Float[Array, ""]:
        rewards = jnp.sum(reward(states), axis=1)
        return jnp.sum(p * centred * (rewards - jnp.sum(p * rewards))) / (alpha * time)

    return eqx.filter_value_and_grad(covariance)(reward)


def mmd_witness(
    expert: Float[Array, "n d"], agent: Float[Array, "m d"], x: Float[Array, "*batch d"]
) -> Float[Array, "*batch"]:
    """Mean kernel to the expert's states minus mean kernel to the agent's, up to a factor.

    The kernel is a Gaussian as wide as the median distance of 256 of the expert's states.
    """
    some = expert[:: max(1, len(expert) // 256)][:256]
    squared = jnp.sum((some[:, None] - some) ** 2, axis=-1)
    width = jnp.sqrt(jnp.median(squared) + 1e-12)

    def mean_kernel(points: Float[Array, "n d"]) -> Float[Array, "*batch"]:
        d = points.shape[1]
        # A Gaussian KDE in units of its bandwidth, times what makes the kernel 1 at distance 0.
        return jnp.exp(Kde(points / width, 1.0, "gaussian").log_prob(x / width) + d / 2 * jnp.log(2 * jnp.pi))

    return mean_kernel(expert) - mean_kernel(agent)


# What MaxEnt IRL shares -------------------------------------------------------------------------------


def init_state(settings: Any, task: Task, key: PRNGKeyArray, demonstrations: Demonstrations | None) -> State:
    """A fresh state without a discriminator; raises :class:`SurefootError` if the expert does not fit."""
    key_agent, key_reward, key_expert = jax.random.split(key, 3)
    expert = matching.the_expert(settings, task, key_expert, demonstrations)
    indices = matching.chosen_indices(settings, task)
    activation = "tanh" if settings.reward_activation == "tanh" else "relu"
    reward = RewardNetwork.create(indices, settings.reward_hidden, key_reward, activation=activation)
    return State(
        sac.init_agent(settings.sac, task, key_agent),
        Replay.create(task, settings.replay_capacity),
        reward,
        reward_adam(settings).init(eqx.filter(reward, eqx.is_inexact_array)),
        None,
        expert,
        jnp.zeros(2),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), jnp.int32),
    )


def maxent_rl(settings: Any, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
    """SAC with the current reward for the steps of an iteration (line 1)."""

    def one(state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        key_collect, key_update = jax.random.split(key)
        world, batch = world.collect(settings.policy(state), Steps(settings.steps_per_round), key_collect)
        state, metrics = improve(settings, state, batch, key_update)
        return state, world, metrics

    rounds = settings.steps_per_iteration // settings.steps_per_round
    return in_rounds(one, state, world, key, rounds)


@eqx.filter_jit(donate="all-except-first")
def improve(settings: Any, state: State, batch: Trajectories, key: PRNGKeyArray) -> tuple[State, Metrics]:
    """Stores experience and updates the policy; ``state`` is given away."""
    replay, steps = state.replay.add(batch), state.steps + batch.reward.size
    agent, metrics = sac.train(
        settings.sac,
        state.agent,
        replay,
        key,
        settings.sac.updates,
        relabel=lambda transition: state.reward(transition.observation),
        enabled=steps > settings.warm_up,
    )
    after = eqx.tree_at(lambda s: (s.agent, s.replay, s.steps), state, (agent, replay, steps))
    return after, metrics


def measure(settings: Any, state: State, states: Float[Array, "episodes time obs"]) -> tuple[State, Metrics]:
    """Mean reward of the agent's states and, with a density, how far it is from them in KL."""
    metrics = {"reward": jnp.mean(state.reward(states))}
    if settings.density and state.expert.samples is not None:
        indices = jnp.asarray(state.reward.indices)
        agent, expert = states[..., indices].reshape(-1, len(indices)), state.expert.samples
        due = state.iterations % settings.kl_every == 0
        kl = jax.lax.cond(due, lambda: matching.kl_metrics(expert, agent), lambda: state.kl)
        metrics |= {"forward_kl": kl[0], "reverse_kl": kl[1]}
        state = eqx.tree_at(lambda s: s.kl, state, kl)
    return eqx.tree_at(lambda s: s.iterations, state, state.iterations + 1), metrics


def drawn(
    trajectories: Float[Array, "episodes time obs"], n: int, key: PRNGKeyArray
) -> Float[Array, "n time obs"]:
    """``n`` of the demonstrated trajectories; each at most once if there are as many."""
    available = len(trajectories)
    return trajectories[jax.random.choice(key, available, (n,), replace=available < n)]


def mixture(
    agent: Float[Array, "m time obs"], expert: Float[Array, "n time obs"], share: float
) -> tuple[Float[Array, "m+n time obs"], Float[Array, " m+n"]]:
    """Trajectories of both and the probability of each, as of Eq. 3.23 at a ``share`` of 1/2."""
    weights = (jnp.full(len(agent), (1 - share) / len(agent)), jnp.full(len(expert), share / len(expert)))
    return jnp.concatenate([agent, expert]), jnp.concatenate(weights)


def descend(
    settings: Any, reward: RewardNetwork, optimiser: optax.OptState, gradient: Any
) -> tuple[RewardNetwork, optax.OptState]:
    """One step of the reward network."""
    update, optimiser = reward_adam(settings).update(
        gradient, optimiser, eqx.filter(reward, eqx.is_inexact_array)
    )
    return eqx.apply_updates(reward, update), optimiser


def reward_adam(settings: Any) -> optax.GradientTransformation:
    """For the reward network."""
    return adversary.adam(settings.reward_learning_rate, decay=settings.reward_decay)


def sac_settings(settings: Any) -> sac.Sac:
    """SAC's settings, its round being an iteration of its own; raises for one out of range."""
    return sac.Sac(
        hidden=settings.hidden,
        discount=settings.discount,
        polyak=settings.polyak,
        learning_rate=settings.learning_rate,
        alpha=settings.alpha,
        batch_size=settings.batch_size,
        replay_capacity=settings.replay_capacity,
        steps_per_iteration=settings.steps_per_round,
        updates_per_step=settings.updates_per_step,
        warm_up=settings.warm_up,
    )


def fill(settings: Any, values: dict[str, Any]) -> None:
    """Puts ``values`` where a setting was not given, so that it still has its default."""
    for name, value in values.items():
        default = type(settings).__dataclass_fields__[name].default
        if getattr(settings, name) == default:
            object.__setattr__(settings, name, value)


def check_settings(settings: Any) -> None:
    """Raises :class:`SurefootError` for a setting out of range, of those that MaxEnt IRL has too."""
    check_range("steps_per_round", settings.steps_per_round, low=1)
    if settings.steps_per_iteration < 1 or settings.steps_per_iteration % settings.steps_per_round:
        raise SurefootError(
            f"steps_per_iteration = {settings.steps_per_iteration} must be a multiple of steps_per_round = "
            f"{settings.steps_per_round}."
        )
    _ = settings.sac
    if settings.reward_activation not in ("relu", "tanh"):
        raise unknown("reward_activation", settings.reward_activation, ("relu", "tanh"))
    check_range("reward_hidden", settings.reward_hidden, low=1)
    check_range("reward_learning_rate", settings.reward_learning_rate, low=0, open_low=True)
    check_range("reward_decay", settings.reward_decay, low=0)
    check_range("reward_updates", settings.reward_updates, low=1)
    check_range("trajectories", settings.trajectories, low=2)
    check_range("bandwidth", settings.bandwidth, low=0, open_low=True)
    check_range("expert_samples", settings.expert_samples, low=4)
    check_range("kl_every", settings.kl_every, low=1)
