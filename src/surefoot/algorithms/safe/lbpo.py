"""LBPO: Lyapunov barrier policy optimisation (Sikchi, Zhou, Held 2021; Sikchi's thesis 2022, chapter 4).

It seeks max J(pi) subject to J_i(pi) <= d_i for m costs, by policies that stay within the set that a Lyapunov
function of the present policy pi_B proves safe, with a logarithmic barrier at that set's edge.

  1  collect N episodes with pi_B(s) + N(0, delta^2);   D_i <- mean cost of an episode
  2  budget  eps_i = (1 - gamma) (d_i - D_i)                                                (Eq. 4.6)
  3  Q_R, Q_Ci <- regression on TD(lambda) targets of these episodes
  4  theta <- argmin mean_s[ -Q_R(s, pi(s)) + sum_i psi_i ],  within a mean KL of mu    (Eqs. 4.12, 4.13)
         psi_i = -beta log(eps_i - (Q_Ci(s, pi(s)) - Q_Ci(s, pi_B(s))))                     (Eq. 4.11)
     where some eps_i <= 0 (recovery): theta <- argmin sum of these Q_Ci instead of -Q_R
  5  shorten the step until mean_s[Q_Ci(s, pi(s)) - Q_Ci(s, pi_B(s))] <= eps_i for all i         (Eq. 4.9)

The slope of psi_i at pi_B is (beta / eps_i) times that of Q_Ci. So the barrier is a price on the cost, near
0 far from the limit and without bound at it. Line 4 is one step of natural gradient with a line search.

Departures from the thesis, and why. What its authors' program does is the default here wherever the two
differ, since the published numbers come from the program; each has an option. Its budget compares
undiscounted costs (``budget``); it minimises the price times Q_C and never the logarithm (``barrier``); its
critics are fitted on Monte Carlo returns (``targets``), after the policy's step (``critic_fit``). It leaves
the barrier out where beta / eps <= 0.05. Ours: the full step is shortened to the radius where its true KL is
larger, the line search also checks the KL, and the search of
line 5 leaves the policy alone if it finds nothing, where the program takes the last trial as it is; a
budget of exactly 0 counts as unsafe; line 5 asks of the mean over states what Eq. 4.9 asks of each, as
the program does; in recovery, constraints that hold keep their barrier. An option of ours
gives the critics the noise in the place of the action (``critic_action``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.safe import critics as fitting
from surefoot.algorithms.safe.critics import Centred, Critics, seen_from
from surefoot.algorithms.safe.episodes import (
    Costs,
    by_constraint,
    check_limits,
    check_memory,
    collect,
    episodes_of,
    limits_of,
    mean_costs,
    no_episodes,
    weights,
)
from surefoot.algorithms.safe.policy_step import Moved, trust_region_step
from surefoot.algorithms.safe.starts import started_critics, started_policy
from surefoot.data.trajectories import Trajectories, episode_metrics, flat
from surefoot.errors import SurefootError, check_range, unknown
from surefoot.networks.policies import BoundedGaussianPolicy
from surefoot.task import Box, Task
from surefoot.worlds.world import World

BUDGETS = ("mixed", "discounted", "undiscounted")
BARRIERS = ("linear", "log")
TARGETS = ("mc", "td-lambda")
ORDERS = ("after", "before")
ACTIONS = ("raw", "noise")


class State(eqx.Module):
    """All that a resumed run needs."""

    policy: BoundedGaussianPolicy
    """pi_B, with delta as its spread."""
    critics: Critics
    """Q_R and the Q_Ci."""
    optimiser: optax.OptState
    """Of the critics."""
    epoch: Int[Array, ""]
    recoveries: Int[Array, ""]
    """Epochs so far in which the policy was not safe."""
    past: Trajectories | None
    """Episodes of earlier epochs, the latest first, to which the critics are fitted as well; ``valid``
    nowhere at first."""


Some = TypeVar("Some", bound=State)
"""A state that may hold more than this."""


class Lbpo(eqx.Module):
    """Lyapunov barrier policy optimisation."""

    needs_demonstrations: ClassVar[bool] = False
    interacts: ClassVar[bool] = True

    cost_limits: tuple[float, ...] | None = None
    """d: bound on the expected undiscounted cost of an episode, one a constraint or one for all;
    none takes the limits of the task."""
    beta: float = 0.005
    """Weight of the barrier: larger stays further from the limit."""
    beta_threshold: float = 0.05
    """A barrier whose price beta / eps is not above this is left out."""
    barrier: str = "linear"
    """linear: price times Q_C, with the barrier's slope at pi_B; log: the logarithm itself, whose line search
    refuses each step that takes one visited state past its budget."""
    budget: str = "mixed"
    """eps: mixed, (1 - gamma) (d - D) with undiscounted costs; discounted, the same with discounted D, and d
    times the share that is left of an evenly spread cost; undiscounted, (d - D) / steps of an episode."""
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
    """mu: largest mean divergence of an epoch's step, in nats."""
    damping: float = 0.1
    """Added to the diagonal of the Fisher matrix."""
    critic_action: str = "raw"
    """What the critics take of an action: raw, itself; noise, its distance from the mean in units of delta,
    to which they are blind at first."""
    critic_steps: int = 80
    """Steps of Adam per epoch."""
    critic_rounds: int = 1
    """Rounds of a fit that share its steps evenly; each computes the targets anew from the critics so far."""
    critic_epochs: int = 1
    """Epochs whose transitions the critics are fitted to, with this one: earlier ones stand in for more
    episodes of the present policy, from which they are a few small steps away."""
    critic_minibatch: int = 0
    """Transitions per step of Adam, drawn at random; 0 takes the whole batch, as the thesis' program does."""
    critic_learning_rate: float = 1e-3
    """Of Adam on the critics."""
    hidden: tuple[int, ...] = (256, 256)
    """Hidden layers (relu) of the policy; the thesis says 256 256 256, its program has 256 256."""
    critic_hidden: tuple[int, ...] = (256, 256)
    """Hidden layers (tanh) of each critic; the thesis says 64 64, its program has 256 256."""

    def __check_init__(self) -> None:
        check_settings(self)
        check_range("beta", self.beta, low=0)
        check_range("beta_threshold", self.beta_threshold, low=0)
        if self.barrier not in BARRIERS:
            raise unknown("barrier", self.barrier, BARRIERS)

    @property
    def steps_per_iteration(self) -> int:
        return self.batch_steps

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Any = None) -> State:
        """A fresh policy with means near the middle of the action space, which need not be safe."""
        return create_state("LBPO", self, task, key)

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
        episodes = episodes_of("LBPO", task, self.batch_steps)
        limits = jnp.array(limits_of("LBPO", task, self.cost_limits))
        world, batch = collect(self.policy(state), world, episodes, key)  # line 1
        state, metrics = update(self, state, batch, limits, task.constraints)  # lines 2 to 5
        return state, world, {**episode_metrics(batch, task), **metrics}


@eqx.filter_jit
def update(
    settings: Lbpo,
    state: State,
    batch: Trajectories,
    limits: Float[Array, " constraints"],
    names: tuple[str, ...],
) -> tuple[State, Metrics]:
    """Lines 2 to 5: what an epoch learns from its episodes."""
    costs = mean_costs(batch, settings.discount)
    eps = budget(settings.budget, limits, costs, settings.discount, batch.reward.shape[0])  # line 2
    observation, weight = flat(batch.observation), weights(batch).reshape(-1)
    behaviour = state.policy
    state, errors = fit_before(settings, state, batch, weight)  # line 3
    here = behaviour.mode(observation)
    critics = seen_from(state.critics, behaviour)
    loss = objective(settings, critics, observation, weight, here, eps)
    moved = trust_region_step(  # lines 4 and 5
        behaviour,
        observation,
        weight,
        loss,
        radius=settings.radius,
        damping=settings.damping,
        safe=lambda action: recovering(eps) | within(critics, observation, weight, here, action, eps),
    )
    state, errors = fit_after(settings, state, batch, weight, errors)
    state = advance(state, batch, moved, recovering(eps))
    price = jnp.where(eps > 0, prices(settings, eps), 0.0)
    report = reported(state, moved, recovering(eps), eps, costs, limits, errors, names)
    return state, {**report, **by_constraint("barrier_weight", price, names)}


# Line 2


def budget(
    convention: str, limits: Float[Array, " constraints"], costs: Costs, discount: float, horizon: int
) -> Float[Array, " constraints"]:
    """eps of Eq. 4.6, in one of three conventions.

    The thesis writes discounted costs, ``discounted``. A limit on an episode is undiscounted, so d is taken
    times sum_t gamma^t / T, what discounting leaves of a cost that is spread evenly over T steps. Its
    authors' program puts undiscounted costs into the same formula, ``mixed``: ten times more at T = 1000.
    """
    if convention == "mixed":
        return (1 - discount) * (limits - costs.undiscounted)
    if convention == "discounted":
        left = (1 - discount**horizon) / ((1 - discount) * horizon)
        return (1 - discount) * (left * limits - costs.discounted)
    return (limits - costs.undiscounted) / jnp.maximum(costs.length, 1.0)


def recovering(eps: Float[Array, " constraints"]) -> Bool[Array, ""]:
    """Whether a budget is spent: then the policy only gets safer."""
    return jnp.any(eps <= 0)


# Line 3

_Fitted = tuple[Critics, optax.OptState, Array]


def fit_before(
    settings: Any, state: Some, batch: Trajectories, weight: Float[Array, " steps"]
) -> tuple[Some, Float[Array, " signals"]]:
    """Fits the critics before the policy's step, where that is wanted, and in the first epoch in any case."""
    steps = settings.critic_steps
    if settings.critic_fit == "after":
        return fit(settings, state, batch, weight, jnp.where(state.epoch == 0, steps, 0))
    return fit(settings, state, batch, weight, steps)


def fit_after(
    settings: Any,
    state: Some,
    batch: Trajectories,
    weight: Float[Array, " steps"],
    errors: Float[Array, " signals"],
) -> tuple[Some, Float[Array, " signals"]]:
    """Fits them after it, where that is wanted; ``state.policy`` must still be the one that acted.

    Else returns what :func:`fit_before` did.
    """
    if settings.critic_fit == "before":
        return state, errors
    return fit(settings, state, batch, weight, settings.critic_steps)


def fit(
    settings: Any,
    state: Some,
    batch: Trajectories,
    weight: Float[Array, " steps"],
    steps: int | Int[Array, ""],
) -> tuple[Some, Float[Array, " signals"]]:
    """``steps`` of regression of Q_R and the Q_C; also their mean squared errors."""
    trace = 1.0 if settings.targets == "mc" else settings.trace
    if state.past is not None:
        batch = batch.beside(state.past)
        weight = weights(batch).reshape(-1)
    # A fixed key is enough: the transitions themselves differ from seed to seed.
    key = jax.random.fold_in(jax.random.key(0), state.epoch)
    if settings.critic_fit == "after":  # the first epoch has two fits
        key = jax.random.fold_in(key, optax.tree.get(state.optimiser, "count"))

    observation, taken = flat(batch.observation), flat(batch.action)
    view = seen_from(state.critics, state.policy)
    if isinstance(view, Centred):
        taken = view.distance(observation, taken)  # once, and not in every step of the regression

    def one(i: Int[Array, ""], carry: _Fitted) -> _Fitted:
        critics, optimiser, _ = carry
        seen = seen_from(critics, state.policy)
        target = fitting.targets(seen, state.policy, batch, discount=settings.discount, trace=trace)
        return fitting.regression(
            lambda critics, inputs: critics.all(*inputs),
            critics,
            optimiser,
            (observation, taken),
            flat(target),
            weight,
            steps=steps // settings.critic_rounds,
            learning_rate=settings.critic_learning_rate,
            minibatch=settings.critic_minibatch,
            key=key if settings.critic_rounds == 1 else jax.random.fold_in(key, i),
        )

    none = jnp.zeros(1 + batch.cost.shape[-1])
    critics, optimiser, errors = jax.lax.fori_loop(
        0, settings.critic_rounds, one, (state.critics, state.optimiser, none)
    )
    return eqx.tree_at(lambda s: (s.critics, s.optimiser), state, (critics, optimiser)), errors


# Lines 4 and 5


def prices(settings: Lbpo, eps: Float[Array, " constraints"]) -> Float[Array, " constraints"]:
    """w_i = beta / eps_i, 0 where that is not above the threshold; of budgets above 0."""
    price = settings.beta / jnp.where(eps > 0, eps, 1.0)
    return jnp.where(price > settings.beta_threshold, price, 0.0)


def objective(
    settings: Lbpo,
    critics: Critics | Centred,
    observation: Float[Array, "batch obs"],
    weight: Float[Array, " batch"],
    here: Float[Array, "batch act"],
    eps: Float[Array, " constraints"],
) -> Callable[[Array], Array]:
    """The loss of line 4 as a function of the mean actions ``[batch, act]``; ``here`` are those of pi_B."""
    price = prices(settings, eps)
    unsafe = eps <= 0
    before = critics.cost(observation, here)

    def loss(action: Array) -> Array:
        gain = weight @ critics.value(observation, action)
        more = critics.cost(observation, action) - before  # zero at pi_B, so the sum stays well scaled
        if settings.barrier == "log":
            left = eps - more
            inside = jnp.where(left > 0, left, 1.0)
            psi = jnp.where(left > 0, -settings.beta * jnp.log(inside), jnp.inf)
            psi = jnp.where((price > 0) & ~unsafe, psi, 0.0)
        else:
            psi = price * more
        each = weight @ jnp.where(weight[:, None] > 0, jnp.where(unsafe, more, psi), 0.0)
        return jnp.sum(each) - jnp.where(recovering(eps), 0.0, gain)

    return loss


def within(
    critics: Critics | Centred,
    observation: Float[Array, "batch obs"],
    weight: Float[Array, " batch"],
    here: Float[Array, "batch act"],
    action: Float[Array, "batch act"],
    eps: Float[Array, " constraints"],
) -> Bool[Array, ""]:
    """Line 5: whether the mean of each Q_C rises by its budget at most."""
    more = critics.cost(observation, action) - critics.cost(observation, here)
    return jnp.all(weight @ more <= eps)


# What BACKTRACK and SDDPG share with it.


def create_state(method: str, settings: Any, task: Task, key: PRNGKeyArray) -> State:
    """Fresh networks, once it is clear that the task has what the method needs."""
    limits_of(method, task, settings.cost_limits)
    episodes = episodes_of(method, task, settings.batch_steps)
    check_memory(task, settings.batch_steps, (*settings.hidden, *settings.critic_hidden))
    if settings.critic_epochs > 1:
        check_memory(task, settings.critic_epochs * settings.batch_steps, ())
    key_policy, key_critics = jax.random.split(key)
    policy = BoundedGaussianPolicy.create(
        task, settings.hidden, key_policy, std=settings.exploration, activation="relu"
    )
    critics = Critics.create(task, settings.critic_hidden, key_critics, form=settings.critic_action)
    zero = jnp.zeros((), jnp.int32)
    optimiser = fitting.optimiser(settings.critic_learning_rate).init(eqx.filter(critics, eqx.is_array))
    earlier = settings.critic_epochs - 1
    past = no_episodes(task, earlier * episodes) if earlier else None
    return State(policy, critics, optimiser, zero, zero, past)


def reach(settings: Any, task: Task, iterations: int) -> dict[str, str]:
    """What to warn of where the trust region keeps a policy near its start, however good its steps are.

    A mean divergence of mu lets mean actions move by delta sqrt(2 mu) an epoch, as a root mean square.
    """
    assert isinstance(task.action, Box)
    farthest = iterations * settings.exploration * math.sqrt(2 * settings.radius)
    half = max((high - low) / 2 for low, high in zip(task.action.low, task.action.high, strict=True))
    if farthest >= half:
        return {}
    return {
        "exploration": f"in {iterations} epochs the trust region lets mean actions move by "
        f"{farthest:.2g} or so at most, and half of their range is {half:g}; give more --exploration, "
        "--radius or --steps if the policy is to get farther than that from its start."
    }


def started(state: Some, policy: Any, critics: Any) -> Some:
    """``state`` with the network and the critics of another run; counters and optimisers start afresh."""
    given = (started_policy(state.policy, policy), started_critics(state.critics, critics))
    return eqx.tree_at(lambda s: (s.policy, s.critics), state, given)


def advance(state: Some, batch: Trajectories, moved: Moved, recovery: Bool[Array, ""]) -> Some:
    """With the moved policy, and one epoch more, whose episodes take the place of the oldest."""
    past = state.past
    if past is not None:
        kept = past.reward.shape[1]
        past = jax.tree.map(lambda x: x[:, :kept], batch.beside(past))
    return eqx.tree_at(
        lambda s: (s.policy, s.epoch, s.recoveries, s.past),
        state,
        (moved.policy, state.epoch + 1, state.recoveries + recovery, past),
        is_leaf=lambda x: x is None,
    )


def reported(
    state: State,
    moved: Moved,
    recovery: Bool[Array, ""],
    eps: Float[Array, " constraints"],
    costs: Costs,
    limits: Float[Array, " constraints"],
    errors: Float[Array, " signals"],
    names: tuple[str, ...],
) -> Metrics:
    """Metrics of an epoch besides those of its episodes."""
    return {
        "kl": moved.kl,
        "step_fraction": moved.fraction,
        "recovery": recovery.astype(jnp.float32),
        "recoveries": state.recoveries.astype(jnp.float32),
        "unsafe": jnp.any(costs.undiscounted > limits).astype(jnp.float32),
        "critic_loss": errors[0],
        **by_constraint("cost_critic_loss", errors[1:], names),
        **by_constraint("budget", eps, names),
    }


def check_settings(settings: Any) -> None:
    """Raises :class:`SurefootError` for settings that LBPO or a relative cannot use."""
    check_limits(settings.cost_limits)
    check_range("critic_minibatch", settings.critic_minibatch, low=0)
    for name in ("batch_steps", "critic_steps"):
        check_range(name, getattr(settings, name), low=1)
    check_range("critic_rounds", settings.critic_rounds, low=1, high=settings.critic_steps)
    if settings.critic_steps % settings.critic_rounds:
        raise SurefootError(
            f"critic_steps = {settings.critic_steps} cannot be shared out evenly over critic_rounds = "
            f"{settings.critic_rounds}."
        )
    check_range("critic_epochs", settings.critic_epochs, low=1)
    for name in ("exploration", "radius", "critic_learning_rate"):
        check_range(name, getattr(settings, name), low=0, open_low=True)
    check_range("damping", settings.damping, low=0)
    check_range("discount", settings.discount, low=0, high=1, open_high=True)
    check_range("trace", settings.trace, low=0, high=1)
    for name in ("hidden", "critic_hidden"):
        for width in getattr(settings, name):
            check_range(name, width, low=1)
    for name, known in (
        ("budget", BUDGETS),
        ("targets", TARGETS),
        ("critic_fit", ORDERS),
        ("critic_action", ACTIONS),
    ):
        if getattr(settings, name, known[0]) not in known:
            raise unknown(name, getattr(settings, name), known)
