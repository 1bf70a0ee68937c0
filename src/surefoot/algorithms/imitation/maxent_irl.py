"""Maximum entropy IRL (Ziebart et al. 2008; with networks: Wulfmeier et al. 2015), for a reward of the state.

The reward under which the expert's trajectories are likeliest: f-IRL's loop, with another gradient.

    f-IRL         grad_theta = 1 / (alpha T) cov_tau( sum_t h_f(u(s_t)),  sum_t grad r_theta(s_t) )
    MaxEnt IRL    grad_theta = T / alpha ( E_rho[grad r_theta(s)] - E_rhoE[grad r_theta(s)] )

It matches whole trajectories, not the marginal of states. With a given density the second mean is over the
agent's own states, each weighted by u = rho_E / rho (thesis version of Ni et al. 2020, Eq. 3.42); then the
gradient is a covariance too, of u and the reward, but over single states.

Departures: no factor 1/alpha, which Adam does not see but for ``reward_decay``, as in f-IRL. With weights,
the first mean is multiplied by the mean weight, as in the code of Ni et al.: the weights sum to one only
where the agent reaches all of the density.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from surefoot.algorithms.imitation import firl, matching
from surefoot.algorithms.imitation.firl import State
from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.rl import sac
from surefoot.data.trajectories import Trajectories, episode_metrics
from surefoot.errors import SurefootError
from surefoot.networks.policies import WarmUp
from surefoot.networks.rewards import RewardNetwork
from surefoot.numerics.density_text import density_of, text_of
from surefoot.task import Task
from surefoot.worlds.world import Episodes, World

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations


class MaxEntIrl(eqx.Module):
    """Maximum entropy IRL: recovers a reward under which the expert's trajectories are likeliest."""

    needs_demonstrations: ClassVar[bool] = False
    """A density will do."""
    interacts: ClassVar[bool] = True

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

    bandwidth: float = 0.2
    """Of the Epanechnikov kernel of the agent's density, in the unit of the state; 0.02 suits the Reacher."""
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
        firl.fill(self, firl.WITH_DENSITY if self.density else firl.WITH_DEMONSTRATIONS)

    def __check_init__(self) -> None:
        firl.check_settings(self)
        if self.density and not density_of(self.density).normalised:
            raise SurefootError(
                "The density is not known to integrate to one, which importance weights need; "
                "use normalise(density, low, high), or say normalised=True if it does."
            )

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Demonstrations | None = None) -> State:
        """Fresh networks and the expert; :class:`SurefootError` if it does not fit the task."""
        return firl.init_state(self, task, key, demonstrations)

    def policy(self, state: State) -> WarmUp:
        return WarmUp(state.agent.actor, state.steps < self.warm_up)

    def reward(self, state: State) -> RewardNetwork:
        """r_theta, which the run folder keeps."""
        return state.reward

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        key_rl, key_roll = jax.random.split(key)
        state, world, metrics = firl.maxent_rl(self, state, world, key_rl)
        _, batch = world.collect(state.agent.actor, Episodes(self.trajectories), key_roll)
        played = episode_metrics(batch, world.task)  # before the batch is given away
        state, learned = self.update_reward(state, batch)
        return state, world, played | metrics | learned

    @eqx.filter_jit(donate="all-except-first")
    def update_reward(self, state: State, batch: Trajectories) -> tuple[State, Metrics]:
        """Steps of the reward on the agent's trajectories; ``state`` and ``batch`` are given away."""
        states = matching.visited(batch)
        state, metrics = firl.measure(self, state, states)
        theirs, weight = state.expert.trajectories, None
        if theirs is None:
            expert, own = matching.density_log_ratio(self, states[..., jnp.asarray(state.reward.indices)])
            theirs, weight = states, jnp.exp(expert - own)
            metrics |= {"weight": jnp.mean(weight), "zero_density": jnp.mean(jnp.isneginf(expert))}

        def step(carry: tuple[Any, Any], _: None) -> tuple[Any, Array]:
            loss, gradient = likelihood_gradient(carry[0], states, theirs, weight)
            return firl.descend(self, *carry, gradient), loss

        carry = (state.reward, state.reward_optimiser)
        carry, losses = jax.lax.scan(step, carry, None, length=self.reward_updates)
        state = eqx.tree_at(lambda s: (s.reward, s.reward_optimiser), state, carry)
        return state, metrics | {"reward_loss": losses[0]}

    @property
    def sac(self) -> sac.Sac:
        """The settings of SAC, for one round."""
        return firl.sac_settings(self)


def likelihood_gradient(
    reward: Any,
    agent: Float[Array, "n time obs"],
    expert: Float[Array, "m steps obs"],
    weight: Float[Array, "m steps"] | None = None,
) -> tuple[Float[Array, ""], Any]:
    """T (mean r over the agent's states - mean r over the expert's), and its gradient in the reward.

    ``weight`` are the importance weights of ``expert``, where these are the agent's own states.
    """
    w = jnp.ones(expert.shape[:2]) if weight is None else weight

    def difference(reward: Any) -> Float[Array, ""]:
        return agent.shape[1] * (jnp.mean(w) * jnp.mean(reward(agent)) - jnp.mean(w * reward(expert)))

    return eqx.filter_value_and_grad(difference)(reward)
