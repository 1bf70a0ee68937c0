"""GAIL: generative adversarial imitation learning (Ho and Ermon 2016, arXiv 1606.03476), on states, with SAC.

The discriminator's logit D tells the expert's states from the agent's; the policy is rewarded for being taken
for the expert, which lowers the Jensen-Shannon divergence of the two:

    r(s) = -log(1 - sigmoid(D(s))) = softplus(D(s)) >= 0      ``minus-log-1-d``, of the authors' code
    r(s) = log sigmoid(D(s)) <= 0                             ``log-d``, of the code of Ni et al. 2020

The sign matters where episodes can end: the first pays for staying alive, the second for dying early.
Neither yields a reward to keep: at the optimum D is 0 everywhere.
The loop is in :mod:`surefoot.algorithms.imitation.adversarial`.

Departures: SAC instead of TRPO, states instead of states and actions, as in Ni et al. 2020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from surefoot.algorithms.imitation import adversarial
from surefoot.algorithms.imitation.adversarial import State
from surefoot.algorithms.imitation.discriminator import Network
from surefoot.algorithms.imitation.firl import fill
from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.rl import sac
from surefoot.data.replay import Transition
from surefoot.errors import unknown
from surefoot.networks.policies import SquashedGaussianPolicy
from surefoot.networks.rewards import LIMIT
from surefoot.numerics.density_text import text_of
from surefoot.task import Task
from surefoot.worlds.world import World

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations


class Gail(eqx.Module):
    """GAIL on states: the reward is how well the policy is taken for the expert."""

    needs_demonstrations: ClassVar[bool] = False
    """A density will do."""
    interacts: ClassVar[bool] = True

    form: str = "minus-log-1-d"
    """Of the reward: minus-log-1-d or log-d."""
    density: str = eqx.field(default="", converter=text_of)
    """The expert as a density: a name such as reacher/gaussian, python:MODULE.FUNCTION, or JSON; in Python
    also a density of surefoot.numerics.density. Empty: demonstrations are given."""
    state_indices: tuple[int, ...] = ()
    """Entries of the observation that the discriminator sees; all if empty."""
    normalise: bool = False
    """Scale observations by mean and spread of the demonstrated ones, for all networks."""

    ratio_network: str = "residual"
    """The discriminator: residual, batch-norm (residual, normalised before each tanh) or mlp."""
    ratio_hidden: int = 128
    """Its width."""
    ratio_blocks: int = 5
    """Its residual blocks, or hidden layers of an mlp."""
    penalty: float = 0.0
    """Weight of its gradient penalty."""
    ratio_updates: int = 0
    """Its steps a round; the policy's updates are shared out evenly after them. 0: 1 or 100."""
    ratio_batch_size: int = 0
    """States of the expert and as many of the agent per step. 0: 128 with a density, else 256."""
    ratio_learning_rate: float = 3e-4
    """Adam's step for it."""
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
    """Adam's step for actor and critics. 0: 3e-3 with a density, 1e-3 with demonstrations."""
    alpha: float = 0.0
    """Temperature, fixed. 0: 1.0 or 0.2."""
    batch_size: int = 0
    """Transitions an update of SAC. 0: 256."""
    replay_capacity: int = 0
    """Transitions kept. 0: 12,000 or 200,000."""
    steps_per_iteration: int = 0
    """Environment steps per iteration. 0: 320 or 4000."""
    steps_per_round: int = 0
    """Environment steps between two rounds of updates; a multiple of the world's environments.
    0: 16 or 1000."""
    updates_per_step: float = 0.0
    """Updates of SAC an environment step. 0: 1 or 0.1."""

    def __post_init__(self) -> None:
        fill(self, adversarial.WITH_DENSITY if self.density else adversarial.WITH_DEMONSTRATIONS)

    def __check_init__(self) -> None:
        adversarial.check_settings(self)
        adversarial.check_network(self)
        if self.form not in ("minus-log-1-d", "log-d"):
            raise unknown("form", self.form, ("minus-log-1-d", "log-d"))

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Demonstrations | None = None) -> State:
        """Fresh networks and the expert; :class:`SurefootError` if it does not fit the task."""
        return adversarial.init_state(
            self, task, key, demonstrations, lambda size, key: adversarial.state_network(self, size, key)
        )

    def policy(self, state: State) -> SquashedGaussianPolicy:
        return adversarial.policy(state)

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        return adversarial.iteration(self, state, world, key)

    def loss(self, state: State, network: Network, key: PRNGKeyArray) -> tuple[Float[Array, ""], Network]:
        """Cross-entropy of expert against buffer."""
        return adversarial.state_loss(self, state, network, key)

    def relabel(self, state: State, batch: Transition) -> Float[Array, " batch"]:
        """The reward of each transition of a scaled batch, within +-10."""
        logit = state.discriminator(state.chosen(batch.observation))
        reward = jax.nn.softplus(logit) if self.form == "minus-log-1-d" else -jax.nn.softplus(-logit)
        return jnp.clip(reward, -LIMIT, LIMIT)

    @property
    def sac(self) -> sac.Sac:
        """The settings of SAC, for one round."""
        return adversarial.sac_settings(self)
