"""SDDPG with the a-projection (Chow et al. 2019, https://arxiv.org/abs/1901.10031; alpha-projection in the
thesis), on LBPO's critics.

  1  collect N episodes with pi_B(s) + N(0, delta^2);   D_i <- mean cost of an episode
  2  eps_i = (1 - gamma) (d_i - D_i);   Q_R, Q_Ci <- regression on the returns of these episodes
  3  u <- one trust-region step from pi_B on -mean_s Q_R(s, pi(s)): what reward alone would do
  4  at each visited state, with G_i = grad_a Q_Ci(s, a) at pi_B(s):
         a(s) = argmin eta/2 |a - pi_B|^2 + (1 - eta)/2 |a - u|^2   s.t.  G_i.(a - pi_B) <= eps_i
              = (1 - eta) u + eta pi_B - sum_i lam_i G_i
  5  theta <- 100 steps of Adam on mean_s |pi(s) - a(s)|^2, from u
  6  shorten the way from pi_B to theta until mean_s[Q_Ci(s, pi(s)) - Q_Ci(s, pi_B(s))] <= eps_i
     where some eps_i < 0 (recovery) instead of 3 to 6: one step on the broken limits' Q_Ci, as BACKTRACK

Its authors published no program. The experiments of Sikchi's thesis (2022) use one of their own, with lines
5 and 6; what remains of it shows eta = 0 and a bound on the correction, |lam G| <= sqrt(2 mu) delta in each
entry. How the thesis finds u is not said; line 3 is what fits the remains. Several constraints are our
extension: lam then solves a small quadratic program a state.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.safe.critics import Centred, Critics, seen_from
from surefoot.algorithms.safe.episodes import (
    collect,
    episodes_of,
    limits_of,
    mean_costs,
    weights,
)
from surefoot.algorithms.safe.lbpo import (
    State,
    advance,
    budget,
    check_settings,
    create_state,
    fit_after,
    fit_before,
    reach,
    reported,
    started,
    within,
)
from surefoot.algorithms.safe.policy_step import TRIALS, Moved, descend, trust_region_step, with_network
from surefoot.data.trajectories import Trajectories, episode_metrics, flat
from surefoot.errors import check_range
from surefoot.networks.policies import BoundedGaussianPolicy
from surefoot.numerics.trust_region import alpha_projection, gaussian_kl, line_search
from surefoot.task import Task
from surefoot.worlds.world import World


class Sddpg(eqx.Module):
    """Safe DDPG: actions projected onto the set that a Lyapunov function proves safe."""

    needs_demonstrations: ClassVar[bool] = False
    interacts: ClassVar[bool] = True

    cost_limits: tuple[float, ...] | None = None
    """d: bound on the expected undiscounted cost of an episode, one a constraint or one for all;
    none takes the limits of the task."""
    mixing: float = 0.0
    """eta: pull of the projection towards pi_B, in [0, 1)."""
    bounded_correction: bool = True
    """Bound each entry of the projection's correction by sqrt(2 mu) delta."""
    distillation_steps: int = 100
    """Steps of Adam, each on the whole batch, that bring the projected actions back into the network."""
    distillation_rate: float = 1e-3
    """Of this Adam."""
    budget: str = "mixed"
    """eps: mixed, discounted or undiscounted, as in LBPO."""
    targets: str = "mc"
    """Of the critics: mc, Monte Carlo returns; td-lambda, with the trace."""
    trace: float = 0.97
    """lambda of td-lambda targets: 0 trusts Q at the next step, 1 the sampled return."""
    critic_fit: str = "after"
    """after: the step uses critics fitted to earlier epochs (in the first, to its own); before: fitted
    first."""
    batch_steps: int = 30_000
    """Environment steps per epoch: N whole episodes (30 of 1000). Shorter ones count as whole."""
    discount: float = 0.99
    """gamma of reward and costs, below 1."""
    exploration: float = 0.05
    """delta: standard deviation of the noise on actions, in their unit."""
    radius: float = 0.012
    """mu: largest mean divergence of the steps of lines 3 and of recovery, in nats."""
    damping: float = 0.1
    """Added to the diagonal of the Fisher matrix."""
    critic_action: str = "raw"
    """What the critics take of an action: raw, itself; noise, its distance from the mean in units of delta,
    to which they are blind at first."""
    critic_steps: int = 80
    """Steps of Adam per epoch."""
    critic_rounds: int = 1
    """Rounds of a fit that share its steps; each computes the targets anew from the critics so far."""
    critic_epochs: int = 1
    """Epochs whose transitions the critics are fitted to, with this one: earlier ones stand in for more
    episodes of the present policy, from which they are a few small steps away."""
    critic_minibatch: int = 0
    """Transitions per step of Adam, drawn at random; 0 takes the whole batch, as the thesis' program does."""
    critic_learning_rate: float = 1e-3
    """Of Adam on the critics."""
    hidden: tuple[int, ...] = (256, 256)
    """Hidden layers (relu) of the policy."""
    critic_hidden: tuple[int, ...] = (256, 256)
    """Hidden layers (tanh) of each critic."""

    def __check_init__(self) -> None:
        check_settings(self)
        check_range("mixing", self.mixing, low=0, high=1, open_high=True)
        check_range("distillation_steps", self.distillation_steps, low=0)
        check_range("distillation_rate", self.distillation_rate, low=0, open_low=True)

    @property
    def steps_per_iteration(self) -> int:
        return self.batch_steps

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Any = None) -> State:
        """A fresh policy with means near the middle of the action space, which need not be safe."""
        return create_state("SDDPG", self, task, key)

    def start_from(self, state: State, policy: Any, critics: Any) -> State:
        """``state`` with the network of another run's policy, and its critics if it has any."""
        return started(state, policy, critics)

    def cautions(self, task: Task, iterations: int) -> dict[str, str]:
        """What to warn of before a training, by what it is about."""
        return reach(self, task, iterations)

    def policy(self, state: State) -> BoundedGaussianPolicy:
        return state.policy

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        task = world.task
        episodes = episodes_of("SDDPG", task, self.batch_steps)
        limits = jnp.array(limits_of("SDDPG", task, self.cost_limits))
        world, batch = collect(self.policy(state), world, episodes, key)  # line 1
        state, metrics = update(self, state, batch, limits, task.constraints)  # lines 2 to 6
        return state, world, {**episode_metrics(batch, task), **metrics}


@eqx.filter_jit
def update(
    settings: Sddpg,
    state: State,
    batch: Trajectories,
    limits: Float[Array, " constraints"],
    names: tuple[str, ...],
) -> tuple[State, Metrics]:
    """Lines 2 to 6: what an epoch learns from its episodes."""
    costs = mean_costs(batch, settings.discount)
    eps = budget(settings.budget, limits, costs, settings.discount, batch.reward.shape[0])  # line 2
    broken = eps < 0
    observation, weight = flat(batch.observation), weights(batch).reshape(-1)
    state, errors = fit_before(settings, state, batch, weight)
    critics = seen_from(state.critics, state.policy)

    def loss(action: Array) -> Array:  # line 3, or recovery
        harm = (weight @ critics.cost(observation, action)) @ broken.astype(jnp.float32)
        return jnp.where(jnp.any(broken), harm, -(weight @ critics.value(observation, action)))

    wanted = trust_region_step(
        state.policy, observation, weight, loss, radius=settings.radius, damping=settings.damping
    )
    moved = jax.lax.cond(
        jnp.any(broken),
        lambda: wanted,
        lambda: project(settings, state.policy, wanted.policy, critics, observation, weight, eps),
    )
    state, errors = fit_after(settings, state, batch, weight, errors)
    state = advance(state, batch, moved, jnp.any(broken))
    return state, reported(state, moved, jnp.any(broken), eps, costs, limits, errors, names)


def project(
    settings: Sddpg,
    policy: BoundedGaussianPolicy,
    wanted: BoundedGaussianPolicy,
    critics: Critics | Centred,
    observation: Float[Array, "batch obs"],
    weight: Float[Array, " batch"],
    eps: Float[Array, " constraints"],
) -> Moved:
    """Lines 4 to 6, from ``policy`` pi_B and ``wanted`` u."""
    here = policy.mode(observation)
    goal = safe_actions(settings, wanted.mode(observation), here, critics, observation, eps)
    distilled = distil(settings, wanted, observation, weight, goal)
    theta, rebuild = ravel_pytree(policy.network)
    way = ravel_pytree(distilled.network)[0] - theta

    def means(fraction: Array) -> Array:
        return with_network(policy, rebuild(theta + fraction * way)).mode(observation)

    fraction = line_search(  # line 6
        lambda share: within(critics, observation, weight, here, means(share), eps), trials=TRIALS
    )
    kl = weight @ gaussian_kl(here, policy.log_std, means(fraction), policy.log_std)
    return Moved(with_network(policy, rebuild(theta + fraction * way)), kl, fraction)


def safe_actions(
    settings: Sddpg,
    wanted: Float[Array, "batch act"],
    here: Float[Array, "batch act"],
    critics: Critics | Centred,
    observation: Float[Array, "batch obs"],
    eps: Float[Array, " constraints"],
) -> Float[Array, "batch act"]:
    """a(s) of line 4."""
    slopes = jnp.stack(
        [
            jax.grad(lambda action, i=i: jnp.sum(critics.cost(observation, action)[..., i]))(here)
            for i in range(len(critics.costs))
        ]
    )
    correction = alpha_projection(wanted, here, slopes, eps, mixing=settings.mixing)
    if settings.bounded_correction:
        bound = (2 * settings.radius) ** 0.5 * settings.exploration
        correction = jnp.clip(correction, -bound, bound)
    return (1 - settings.mixing) * wanted + settings.mixing * here - correction


def distil(
    settings: Sddpg,
    policy: BoundedGaussianPolicy,
    observation: Float[Array, "batch obs"],
    weight: Float[Array, " batch"],
    goal: Float[Array, "batch act"],
) -> BoundedGaussianPolicy:
    """Line 5: ``policy`` with its means regressed on ``goal``."""

    def error(policy: BoundedGaussianPolicy) -> Array:
        return weight @ jnp.sum((policy.mode(observation) - goal) ** 2, axis=-1)

    steps, rate = settings.distillation_steps, settings.distillation_rate
    return descend(policy, error, steps=steps, learning_rate=rate)
