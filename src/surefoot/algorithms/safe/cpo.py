"""CPO: constrained policy optimisation (Achiam et al. 2017, https://arxiv.org/abs/1705.10528).

It seeks max J(pi) subject to J_i(pi) <= d_i by trust-region steps on linear models of all of them.

  1  collect N episodes with pi_k;   D_i <- mean cost of an episode,  c_i = (D_i - d_i) / mean length
  2  A, A_i <- generalised advantages of reward and costs, with V and V_i
  3  g, b_i <- slopes at pi_k of  -mean[rho A]  and  mean[rho A_i],   rho = pi(a|s) / pi_k(a|s)
  4  x <- argmin g.x  subject to  c_i + b_i.x <= 0  and  x.Hx / 2 <= delta                    (Eq. 11)
     where nothing satisfies both (recovery): the steepest descent of the broken costs        (Eq. 14)
  5  theta <- theta + (0.8)^j x for the least j with KL <= delta, costs that rise by max(-c_i, 0) at
     most, and, unless c_i > 0, a reward that does not fall                                     (Sec. 6.1)
  6  V, V_i <- regression on the returns of these episodes

Reward advantages are standardised over the epoch, cost advantages centred. Settings are those of the Safety
Gym authors' starter agents (Ray, Achiam, Amodei 2019), which the published comparisons use.

Departures, and why: the means of a continuous policy stay within the bounds, as LBPO's do, so that all
methods can start from one policy; its spread is learned. Several constraints are solved for exactly
(``numerics.trust_region``), where the paper solves for one; ``recovery`` may leave line 4 to the costs alone.
The KL of line 5 is KL(pi_k || pi), the paper's KL(pi || pi_k); both have the Hessian H.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray

from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.rl.ppo import create_values
from surefoot.algorithms.safe.critics import regression
from surefoot.algorithms.safe.episodes import (
    by_constraint,
    check_limits,
    check_memory,
    collect,
    episodes_of,
    limits_of,
    mean_costs,
    weights,
)
from surefoot.algorithms.safe.starts import started_policy
from surefoot.data.trajectories import Trajectories, episode_metrics, flat
from surefoot.errors import SurefootError, check_range, unknown
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import BoundedGaussianPolicy, CategoricalPolicy
from surefoot.numerics.returns import cost_advantage, generalised_advantage, lambda_return, of_each
from surefoot.numerics.trust_region import (
    categorical_kl,
    conjugate_gradient,
    constrained_step,
    fisher_product,
    gaussian_kl,
    line_search,
)
from surefoot.task import Discrete, Task
from surefoot.worlds.world import World

Actor = CategoricalPolicy | BoundedGaussianPolicy
RECOVERIES = ("constrained", "descent")


class Values(eqx.Module):
    """What the regression of line 6 trains."""

    reward: Mlp
    """V: one output."""
    costs: Mlp
    """V_i: one output a constraint."""


class State(eqx.Module):
    """All that a resumed run needs."""

    policy: Actor
    values: Values
    optimiser: optax.OptState
    """Of the values."""
    recoveries: Int[Array, ""]
    """Epochs so far in which the policy broke a limit."""


class Cpo(eqx.Module):
    """Constrained policy optimisation: trust-region steps that keep cost limits."""

    needs_demonstrations: ClassVar[bool] = False
    interacts: ClassVar[bool] = True

    cost_limits: tuple[float, ...] | None = None
    """d: bound on the expected undiscounted cost of an episode, one a constraint or one for all;
    none takes the limits of the task."""
    batch_steps: int = 30_000
    """Environment steps per epoch: N whole episodes (30 of 1000). Shorter ones count as whole."""
    discount: float = 0.99
    """gamma of the reward."""
    trace: float = 0.97
    """lambda of the reward's advantage estimate: 0 trusts V, 1 trusts the sampled return."""
    cost_discount: float = 0.99
    """gamma of the costs; the limits bound undiscounted costs all the same."""
    cost_trace: float = 0.97
    """lambda of the costs' advantage estimates."""
    recovery: str = "constrained"
    """Step above a limit: constrained, the paper's, which may earn reward on its way back; descent, on the
    broken costs alone, for the way that few samples promise is often noise."""
    radius: float = 0.01
    """delta: largest mean divergence of an epoch's step, in nats."""
    damping: float = 0.1
    """Added to the diagonal of the Fisher matrix."""
    conjugate_steps: int = 10
    """Iterations of conjugate gradient."""
    backtrack_factor: float = 0.8
    """Each trial of the line search is this much shorter than the one before."""
    backtrack_trials: int = 10
    """Trials of the line search; if none will do, the policy stays."""
    value_steps: int = 80
    """Steps of Adam per epoch on V and V_i."""
    value_minibatch: int = 0
    """Transitions per step of Adam, drawn at random; 0 takes the whole batch, as the starter agents do."""
    value_learning_rate: float = 1e-3
    """Of this Adam."""
    initial_std: float = 0.6065
    """Spread of a continuous policy at the start, in half widths of the action space: exp(-0.5)."""
    hidden: tuple[int, ...] = (256, 256)
    """Hidden layers of the policy: relu with continuous actions, as LBPO's, else tanh."""
    value_hidden: tuple[int, ...] = (256, 256)
    """Hidden layers (tanh) of the value networks."""

    def __check_init__(self) -> None:
        check_limits(self.cost_limits)
        if self.recovery not in RECOVERIES:
            raise unknown("recovery", self.recovery, RECOVERIES)
        for name in ("batch_steps", "conjugate_steps", "backtrack_trials", "value_steps"):
            check_range(name, getattr(self, name), low=1)
        check_range("value_minibatch", self.value_minibatch, low=0)
        for name in ("radius", "value_learning_rate", "initial_std"):
            check_range(name, getattr(self, name), low=0, open_low=True)
        for name in ("discount", "trace", "cost_discount", "cost_trace"):
            check_range(name, getattr(self, name), low=0, high=1)
        check_range("damping", self.damping, low=0)
        check_range("backtrack_factor", self.backtrack_factor, low=0, high=1, open_low=True, open_high=True)
        for name in ("hidden", "value_hidden"):
            for width in getattr(self, name):
                check_range(name, width, low=1)

    @property
    def steps_per_iteration(self) -> int:
        return self.batch_steps

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Any = None) -> State:
        """Fresh networks; demonstrations are ignored."""
        limits = limits_of("CPO", task, self.cost_limits)
        episodes_of("CPO", task, self.batch_steps)
        check_memory(task, self.batch_steps, (*self.hidden, *self.value_hidden, *self.value_hidden))
        key_policy, key_value, key_cost = jax.random.split(key, 3)
        values = Values(
            create_values(task, self.value_hidden, 1, key_value),
            create_values(task, self.value_hidden, len(limits), key_cost),
        )
        return State(
            create_actor(task, self.hidden, key_policy, initial_std=self.initial_std),
            values,
            optax.adam(self.value_learning_rate).init(eqx.filter(values, eqx.is_array)),
            jnp.zeros((), jnp.int32),
        )

    def start_from(self, state: State, policy: Any, critics: Any) -> State:
        """``state`` with the network of another run's policy; its critics are of another kind."""
        del critics
        if isinstance(state.policy, CategoricalPolicy):
            raise SurefootError("With discrete actions CPO cannot start from another run.")
        return eqx.tree_at(lambda s: s.policy, state, started_policy(state.policy, policy))

    def policy(self, state: State) -> Actor:
        return state.policy

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        task = world.task
        episodes = episodes_of("CPO", task, self.batch_steps)
        limits = jnp.array(limits_of("CPO", task, self.cost_limits))
        world, batch = collect(self.policy(state), world, episodes, key)  # line 1
        state, metrics = update(self, state, batch, limits, task.constraints)  # lines 1 to 6
        return state, world, {**episode_metrics(batch, task), **metrics}


def create_actor(task: Task, hidden: tuple[int, ...], key: PRNGKeyArray, *, initial_std: float) -> Actor:
    """A policy that starts near uniform (discrete) or near the middle of the bounds (continuous)."""
    if isinstance(task.action, Discrete):
        sizes = (task.observation.size, *hidden, task.action.n)
        return CategoricalPolicy(Mlp.create(sizes, key, activation="tanh", last_scale=0.01))
    policy = BoundedGaussianPolicy.create(task, hidden, key, std=1.0, activation="relu")
    half = (jnp.array(policy.high) - jnp.array(policy.low)) / 2
    return eqx.tree_at(lambda p: p.log_std, policy, jnp.log(initial_std * half))


@eqx.filter_jit
def update(
    settings: Cpo,
    state: State,
    batch: Trajectories,
    limits: Float[Array, " constraints"],
    names: tuple[str, ...],
) -> tuple[State, Metrics]:
    """What an epoch learns from its episodes."""
    costs = mean_costs(batch, settings.cost_discount)
    excess = (costs.undiscounted - limits) / jnp.maximum(costs.length, 1.0)  # line 1
    weight = weights(batch).reshape(-1)
    advantage, cost_advantages = advantages(settings, state.values, batch, weight)  # line 2
    policy, metrics = improve(  # lines 3, 4, 5
        settings,
        state.policy,
        flat(batch.observation),
        flat(batch.action),
        weight,
        advantage,
        cost_advantages,
        excess,
    )
    values, optimiser, errors = fit(settings, state, batch, weight)  # line 6
    broken = jnp.any(excess > 0)
    recoveries = state.recoveries + broken
    return State(policy, values, optimiser, recoveries), {
        **metrics,
        "recovery": broken.astype(jnp.float32),
        "recoveries": recoveries.astype(jnp.float32),
        "unsafe": broken.astype(jnp.float32),
        "value_loss": errors[0],
        **by_constraint("cost_value_loss", errors[1:], names),
        **by_constraint("budget", -excess, names),
    }


def advantages(
    settings: Cpo, values: Values, batch: Trajectories, weight: Float[Array, " steps"]
) -> tuple[Float[Array, " steps"], Float[Array, "steps constraints"]]:
    """Line 2: of the reward with mean 0 and spread 1, of the costs with mean 0."""
    reward = generalised_advantage(
        batch.reward,
        values.reward(batch.observation)[..., 0],
        values.reward(batch.next_observation)[..., 0],
        batch.terminated,
        batch.truncated,
        discount=settings.discount,
        trace=settings.trace,
    ).reshape(-1)
    costs = cost_advantage(
        batch.cost,
        values.costs(batch.observation),
        values.costs(batch.next_observation),
        batch.terminated,
        batch.truncated,
        discount=settings.cost_discount,
        trace=settings.cost_trace,
    ).reshape(-1, batch.cost.shape[-1])
    reward = reward - weight @ reward
    return reward / (jnp.sqrt(weight @ reward**2) + 1e-8), costs - weight @ costs


def improve(
    settings: Cpo,
    policy: Actor,
    observation: Float[Array, "steps obs"],
    action: Array,
    weight: Float[Array, " steps"],
    advantage: Float[Array, " steps"],
    cost_advantages: Float[Array, "steps constraints"],
    excess: Float[Array, " constraints"],
) -> tuple[Actor, Metrics]:
    """Lines 3 to 5."""
    theta, rebuild = ravel_pytree(policy)
    before = policy.log_prob(observation, action)

    def ratio(theta: Array) -> Array:
        return jnp.exp(rebuild(theta).log_prob(observation, action) - before)

    def loss(theta: Array) -> Array:
        return -(weight @ (ratio(theta) * advantage))

    def cost(theta: Array) -> Array:
        return (weight * ratio(theta)) @ cost_advantages

    def distribution(theta: Array) -> Any:
        actor = rebuild(theta)
        if isinstance(policy, CategoricalPolicy):
            return (actor.network(observation),)
        return actor.mode(observation), actor.log_std

    def divergence(here: Any, there: Any) -> Array:
        kl = categorical_kl if isinstance(policy, CategoricalPolicy) else gaussian_kl
        return weight @ kl(*here, *there)

    product = fisher_product(distribution, divergence, theta, damping=settings.damping)
    here, worth, charge = distribution(theta), loss(theta), cost(theta)
    found = constrained_step(  # line 4
        jax.grad(loss)(theta),  # line 3
        jax.jacrev(cost)(theta),
        excess,
        lambda b: conjugate_gradient(product, b, iterations=settings.conjugate_steps),
        settings.radius,
        descend=settings.recovery == "descent",
    )

    def acceptable(fraction: Array) -> Array:  # line 5
        moved = theta + fraction * found.step
        gains = (found.case <= 1) | (loss(moved) <= worth)
        keeps = jnp.all(cost(moved) - charge <= jnp.maximum(-excess, 0.0))
        return gains & keeps & (divergence(here, distribution(moved)) <= settings.radius)

    fraction = line_search(acceptable, factor=settings.backtrack_factor, trials=settings.backtrack_trials)
    theta = jnp.where(fraction > 0, theta + fraction * found.step, theta)
    return rebuild(theta), {
        "kl": divergence(here, distribution(theta)),
        "step_fraction": fraction,
        "case": found.case.astype(jnp.float32),
    }


def fit(
    settings: Cpo, state: State, batch: Trajectories, weight: Float[Array, " steps"]
) -> tuple[Values, optax.OptState, Float[Array, " signals"]]:
    """Line 6: values, their optimiser and the last mean squared errors; returns are Monte Carlo's."""
    observation, values = flat(batch.observation), state.values
    terminated, truncated = batch.terminated, batch.truncated
    gains = lambda_return(
        batch.reward,
        values.reward(batch.next_observation)[..., 0],
        terminated,
        truncated,
        discount=settings.discount,
        trace=1.0,
    )
    charges = lambda_return(
        batch.cost,
        values.costs(batch.next_observation),
        *of_each(batch.cost, terminated, truncated),
        discount=settings.cost_discount,
        trace=1.0,
    )
    target = flat(jnp.concatenate([gains[..., None], charges], axis=-1))

    def found(values: Values, observation: Array) -> Array:
        return jnp.concatenate([values.reward(observation), values.costs(observation)], axis=-1)

    steps_so_far = optax.tree.get(state.optimiser, "count")
    return regression(
        found,
        values,
        state.optimiser,
        observation,
        target,
        weight,
        steps=settings.value_steps,
        learning_rate=settings.value_learning_rate,
        minibatch=settings.value_minibatch,
        # A fixed key is enough: the transitions themselves differ from seed to seed.
        key=jax.random.fold_in(jax.random.key(0), steps_so_far),
    )
