"""SMM: state marginal matching (Lee et al. 2019, arXiv 1906.05274), with SAC.

A game of policy and density, played by fictitious play: q is the density of all states that the policies so
far have visited, and the next policy goes where the wanted density exceeds it:

    max_pi min_q  E_rho_pi[ log rho_E(s) - log q(s) ],     r(s) = log rho_E(s) - log q(s)

Its solution is the average of the policies of all iterations; the newest is what is exported. No reward is
left behind: where both densities agree it is zero.

Box
  1  collect transitions with pi into the replay buffer B, which stands for the past
  2  q   <- kernel density estimate of the states in B
  3  pi  <- updates of SAC on B with r(s)
Demonstrations are taken as a density too, a kernel density estimate of their states: for few entries of the
state only.

Departures: the kernel density estimate (a variational auto-encoder there); no skills.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from surefoot.algorithms.imitation import adversarial, matching
from surefoot.algorithms.imitation.matching import Expert
from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.rl import sac
from surefoot.algorithms.rounds import in_rounds
from surefoot.data.replay import Replay
from surefoot.data.trajectories import Trajectories, episode_metrics
from surefoot.errors import SurefootError
from surefoot.networks.policies import SquashedGaussianPolicy
from surefoot.numerics.density import Kde
from surefoot.numerics.density_text import density_of, text_of
from surefoot.task import Task
from surefoot.worlds.world import Episodes, Steps, World

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations


LIMIT = 20.0
"""The reward is kept within plus and minus this; a density of zero would make it infinite."""


class State(eqx.Module):
    """All that a resumed run needs."""

    agent: sac.Agent
    replay: Replay
    expert: Expert
    kl: Float[Array, " 2"]
    """Forward and reverse KL when they were last measured; 0 before."""
    steps: Int[Array, ""]
    """Environment steps taken."""
    iterations: Int[Array, ""]
    indices: tuple[int, ...] = eqx.field(static=True)
    """Entries of the observation that are matched."""

    def chosen(self, observation: Float[Array, "*batch obs"]) -> Float[Array, "*batch d"]:
        """These entries."""
        return observation[..., jnp.asarray(self.indices)]


class Smm(eqx.Module):
    """State marginal matching: visits what it has not visited as often as it should."""

    needs_demonstrations: ClassVar[bool] = False
    """A density will do."""
    interacts: ClassVar[bool] = True

    density: str = eqx.field(default="", converter=text_of)
    """The expert as a density: a name such as reacher/gaussian, python:MODULE.FUNCTION, or JSON; in Python
    also a density of surefoot.numerics.density. Empty: demonstrations are given."""
    state_indices: tuple[int, ...] = ()
    """Entries of the observation that are matched; all if empty."""
    trajectories: int = 1_000
    """Whole episodes per iteration from which metrics are taken; 0: the training episodes."""

    bandwidth: float = 0.2
    """Of the Epanechnikov kernel of the densities, in the unit of the state; 0.02 suits the Reacher."""
    expert_samples: int = 10_000
    """Draws from a given density, for the metrics forward_kl and reverse_kl."""
    kl_every: int = 1
    """Iterations between two measurements of these."""

    hidden: tuple[int, ...] = (64, 64)
    """Hidden layers of SAC's actor and critics."""
    discount: float = 0.99
    """gamma, in [0, 1)."""
    polyak: float = 0.005
    """Share of the critics that enters the target critics at each update, in (0, 1]."""
    learning_rate: float = 3e-3
    """Adam's step for actor and critics."""
    alpha: float = 1.0
    """Temperature, fixed, above 0."""
    batch_size: int = 256
    """Transitions an update of SAC."""
    replay_capacity: int = 12_000
    """Transitions kept: the past that q is an average over."""
    learning_starts: int = 500
    """Environment steps before the first update."""
    steps_per_iteration: int = 320
    """Environment steps per iteration."""
    steps_per_round: int = 80
    """Environment steps between two rounds of updates; a multiple of the world's environments."""
    updates_per_step: float = 1.0
    """Updates of SAC an environment step."""

    def __check_init__(self) -> None:
        adversarial.check_loop(self)

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Demonstrations | None = None) -> State:
        """A fresh agent and the expert; :class:`SurefootError` if it does not fit the task."""
        key_agent, key_expert = jax.random.split(key)
        expert = matching.the_expert(self, task, key_expert, demonstrations)
        indices = matching.chosen_indices(self, task)
        if demonstrations is not None and len(indices) > 4:
            raise SurefootError(
                f"smm estimates densities of {len(indices)} numbers from samples, which cannot go well; "
                "choose a few entries of the state, such as state_indices=(0, 1)."
            )
        agent = sac.init_agent(self.sac, task, key_agent)
        replay = Replay.create(task, self.replay_capacity)
        zero = jnp.zeros((), jnp.int32)
        return State(agent, replay, expert, jnp.zeros(2), zero, zero, indices)

    def policy(self, state: State) -> SquashedGaussianPolicy:
        return state.agent.actor

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        key_rounds, key_roll = jax.random.split(key)

        def one(state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
            key_collect, key_learn = jax.random.split(key)
            world, batch = world.collect(self.policy(state), Steps(self.steps_per_round), key_collect)  # 1
            played = episode_metrics(batch, world.task)
            state, metrics = self.learn(state, batch, key_learn)  # 2, 3
            return state, world, played | metrics

        rounds = self.steps_per_iteration // self.steps_per_round
        state, world, metrics = in_rounds(one, state, world, key_rounds, rounds)
        if self.trajectories:
            _, batch = world.collect(self.policy(state), Episodes(self.trajectories), key_roll)
            metrics |= episode_metrics(batch, world.task)
            state, measured = adversarial.measure(self, state, batch)
            metrics |= measured
        return state, world, metrics

    @eqx.filter_jit(donate="all-except-first")
    def learn(self, state: State, batch: Trajectories, key: PRNGKeyArray) -> tuple[State, Metrics]:
        """Stores experience and updates the policy; ``state`` is given away."""
        replay, steps = state.replay.add(batch), state.steps + batch.reward.size
        state = eqx.tree_at(lambda s: (s.replay, s.steps), state, (replay, steps))
        agent, metrics = sac.train(
            self.sac,
            state.agent,
            replay,
            key,
            self.sac.updates,
            relabel=lambda transition: self.relabel(state, transition.observation),
            enabled=steps >= self.learning_starts,
        )
        metrics |= matching.zero_density(self, state.chosen(batch.observation))
        return eqx.tree_at(lambda s: s.agent, state, agent), metrics

    def relabel(self, state: State, observation: Float[Array, "batch obs"]) -> Float[Array, " batch"]:
        """log rho_E(s) - log q(s), within +-20."""
        x = state.chosen(observation)
        if self.density:
            expert = density_of(self.density).log_prob(x)
        else:
            assert state.expert.samples is not None
            expert = Kde(state.expert.samples, self.bandwidth).log_prob(x)
        past = adversarial.replay_density(self, state.replay, state.indices, x)
        return jnp.clip(expert - past, -LIMIT, LIMIT)

    @property
    def sac(self) -> sac.Sac:
        """The settings of SAC, for one round."""
        return adversarial.sac_settings(self)
