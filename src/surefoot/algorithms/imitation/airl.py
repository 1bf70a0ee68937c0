"""AIRL: adversarial inverse reinforcement learning (Fu et al. 2018, arXiv 1710.11248), with SAC.

The discriminator has a structure that a reward can be read from: with a reward r(s) of the state and a
shaping V(s), its logit on a transition is

    f(s, a, s') - log pi(a|s),    f(s, a, s') = r(s) + gamma V(s') - V(s)

At the optimum f is the expert's advantage, and r the reward up to a constant, if dynamics are decomposable.
The policy is trained on r(s) alone; V and -log pi are left to SAC, whose entropy has the temperature 1.
The loop is in :mod:`surefoot.algorithms.imitation.adversarial`.

With a given density the agent's own transitions, weighted by rho_E(s) / rho(s), stand for the expert's.

Departures: SAC instead of TRPO, as in Ni et al. 2020. Here log pi(a|s) is that of the squashed Gaussian;
their published table came from a log-density taken at the squashed action, and from one update per 500 to
1000 steps. V starts as a copy of r, as there. No terminal mask on V(s'). r and V are cut at +-10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from surefoot.algorithms.imitation import adversarial, matching
from surefoot.algorithms.imitation.adversarial import State
from surefoot.algorithms.imitation.discriminator import Network
from surefoot.algorithms.imitation.firl import fill
from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.rl import sac
from surefoot.data.replay import Transition
from surefoot.errors import check_range
from surefoot.networks.policies import SquashedGaussianPolicy
from surefoot.networks.rewards import RewardNetwork
from surefoot.numerics.density_text import text_of
from surefoot.task import Task
from surefoot.worlds.world import World

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations

WITH_DEMONSTRATIONS = {
    "learning_rate": 3e-4,
    "alpha": 1.0,
    "batch_size": 100,
    "replay_capacity": 1_000_000,
}
"""Where these differ from the other methods' (Ni et al. 2020; their rates of updates are not kept)."""


class Airl(eqx.Module):
    """AIRL: a discriminator made of a reward of the state, a shaping term and the policy itself."""

    needs_demonstrations: ClassVar[bool] = False
    """A density will do."""
    interacts: ClassVar[bool] = True

    density: str = eqx.field(default="", converter=text_of)
    """The expert as a density: a name such as reacher/gaussian, python:MODULE.FUNCTION, or JSON; in Python
    also a density of surefoot.numerics.density. Empty: demonstrations are given."""
    state_indices: tuple[int, ...] = ()
    """Entries of the observation that reward and shaping depend on; all if empty."""
    normalise: bool = False
    """Scale observations by mean and spread of the demonstrated ones, for all networks."""

    reward_hidden: int = 256
    """Width of the hidden layers of reward and shaping: a linear one, then two with ReLU."""
    ratio_updates: int = 0
    """Updates of both per round; the policy's updates are shared out evenly after them. 0: 1 or 100."""
    ratio_batch_size: int = 0
    """Transitions of the expert and as many of the agent per step. 0: 128 with a density, else 256."""
    ratio_learning_rate: float = 1e-4
    """Adam's step for reward and shaping."""
    learning_starts: int = 0
    """Environment steps before the first update. 0: 500 or 5000."""
    trajectories: int = 0
    """Whole episodes per iteration for metrics. 0: 1000 with a density, else the training episodes."""

    bandwidth: float = 0.2
    """Of the Epanechnikov kernel of the buffer's density, in the state's unit; 0.02 suits the Reacher."""
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
    learning_rate: float = 0.0
    """Adam's step for actor and critics. 0: 3e-3 with a density, 3e-4 with demonstrations."""
    alpha: float = 0.0
    """Temperature, fixed. 0: 1.0."""
    batch_size: int = 0
    """Transitions an update of SAC. 0: 256 or 100."""
    replay_capacity: int = 0
    """Transitions kept. 0: 12,000 or 1,000,000."""
    steps_per_iteration: int = 0
    """Environment steps per iteration. 0: 320 or 4000."""
    steps_per_round: int = 0
    """Environment steps between two rounds of updates; a multiple of the world's environments.
    0: 16 or 1000."""
    updates_per_step: float = 0.0
    """Updates of SAC an environment step. 0: 1 or 0.1."""

    def __post_init__(self) -> None:
        with_demonstrations = adversarial.WITH_DEMONSTRATIONS | WITH_DEMONSTRATIONS
        fill(self, adversarial.WITH_DENSITY if self.density else with_demonstrations)

    def __check_init__(self) -> None:
        adversarial.check_settings(self)
        check_range("reward_hidden", self.reward_hidden, low=1)

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Demonstrations | None = None) -> State:
        """Fresh networks and the expert; :class:`SurefootError` if it does not fit the task."""

        def network(size: int, key: PRNGKeyArray) -> ShapedReward:
            indices = matching.chosen_indices(self, task)
            made = RewardNetwork.create(indices, self.reward_hidden, key, layers=3)  # the first one is linear
            return ShapedReward(made, jax.tree.map(jnp.array, made))

        return adversarial.init_state(self, task, key, demonstrations, network)

    def policy(self, state: State) -> SquashedGaussianPolicy:
        return adversarial.policy(state)

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        return adversarial.iteration(self, state, world, key)

    def loss(
        self, state: State, network: ShapedReward, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Network]:
        """Cross-entropy of the expert's transitions against the buffer's."""
        key_ours, key_theirs = jax.random.split(key)
        plain = state.replay.sample(key_ours, self.ratio_batch_size)
        ours, weight = state.scale.batch(plain), 1.0
        if state.pairs is None:
            theirs: Any = ours
            weight = adversarial.importance(self, state.replay, state.indices, plain.observation)
        else:
            theirs = state.scale.batch(state.pairs.sample(key_theirs, self.ratio_batch_size))
        positive, negative = (self.logit(state, network, batch) for batch in (theirs, ours))
        value = 0.5 * (jnp.mean(weight * jax.nn.softplus(-positive)) + jnp.mean(jax.nn.softplus(negative)))
        return value, network

    def logit(self, state: State, network: ShapedReward, batch: Any) -> Float[Array, " batch"]:
        """r(s) + gamma V(s') - V(s) - log pi(a|s) of a scaled batch; log pi is held constant."""
        now, after = batch.observation, batch.next_observation
        f = network.reward(now) + self.discount * network.shaping(after) - network.shaping(now)
        return f - jax.lax.stop_gradient(state.agent.actor.log_prob(batch.observation, batch.action))

    def relabel(self, state: State, batch: Transition) -> Float[Array, " batch"]:
        """r(s) of each transition of a scaled batch."""
        return state.discriminator(batch.observation)

    def reward(self, state: State) -> RewardNetwork:
        """r of plain observations, which the run folder keeps: the scale is taken into its first layer."""
        network, index = state.discriminator.network, jnp.asarray(state.indices)
        assert isinstance(network, ShapedReward)
        reward = network.reward
        weight, bias = reward.embedding.weights[0], reward.embedding.biases[0]
        mean, std = state.scale.mean[index], state.scale.std[index]
        first = (weight / std[:, None], bias - (mean / std) @ weight)
        return eqx.tree_at(lambda r: (r.embedding.weights[0], r.embedding.biases[0]), reward, first)

    @property
    def sac(self) -> sac.Sac:
        """The settings of SAC, for one round."""
        return adversarial.sac_settings(self)


class ShapedReward(eqx.Module):
    """Reward and shaping; called, it is the reward."""

    reward: RewardNetwork
    shaping: RewardNetwork
    """V."""

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch"]:
        return self.reward(x)

    def training(self, x: Float[Array, "batch in"]) -> tuple[Float[Array, " batch"], ShapedReward]:
        """As that of other discriminators; nothing is kept of a batch."""
        return self(x), self
