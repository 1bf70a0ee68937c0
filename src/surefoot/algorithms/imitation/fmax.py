"""f-MAX: an f-divergence of the states' marginals, minimised by a discriminator's logit as reward
(Ghasemipour et al. 2019, arXiv 1911.02256), on states, with SAC.

The logit D(s) stands for log(rho_E(s) / rho(s)), and the reward lowers the divergence of rho from rho_E:

    r(s) = D(s)                  ``rkl``, reverse KL
    r(s) = -D(s) exp(D(s))       ``fkl``, forward KL; the method is called FAIRL too

Neither yields a reward to keep: at the optimum D is 0 everywhere.
The loop is in :mod:`surefoot.algorithms.imitation.adversarial`.

Departures: states instead of states and actions, as in Ni et al. 2020. Their 100 further steps of the
discriminator before the first update are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from surefoot.algorithms.imitation import adversarial
from surefoot.algorithms.imitation.adversarial import State
from surefoot.algorithms.imitation.discriminator import Network
from surefoot.algorithms.imitation.firl import fill
from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.rl import sac
from surefoot.data.replay import Transition
from surefoot.errors import check_range, unknown
from surefoot.networks.policies import SquashedGaussianPolicy
from surefoot.networks.rewards import LIMIT
from surefoot.numerics.density_text import text_of
from surefoot.task import Task
from surefoot.worlds.world import World

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations


class Fmax(eqx.Module):
    """f-MAX on states: the reward is a discriminator's estimate of the density ratio."""

    needs_demonstrations: ClassVar[bool] = False
    """A density will do."""
    interacts: ClassVar[bool] = True

    divergence: str = "rkl"
    """rkl (f-MAX-RKL) or fkl (FAIRL)."""
    reward_factor: float = 1.0
    """Factor of the reward; in Ni et al. 2020 0.2 for Hopper, Walker2d and Ant, 2 for HalfCheetah."""
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
        check_range("reward_factor", self.reward_factor, low=0, open_low=True)
        if self.divergence not in ("rkl", "fkl"):
            raise unknown("divergence of f-MAX", self.divergence, ("rkl", "fkl"))

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
        """The reward of each transition of a scaled batch, within +-10 before its own scale."""
        logit = state.discriminator(state.chosen(batch.observation))
        reward = logit if self.divergence == "rkl" else -logit * jnp.exp(logit)
        return self.reward_factor * jnp.clip(reward, -LIMIT, LIMIT)

    @property
    def sac(self) -> sac.Sac:
        """The settings of SAC, for one round."""
        return adversarial.sac_settings(self)
