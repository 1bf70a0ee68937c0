"""ICRL: inverse constrained reinforcement learning (Malik et al. 2021, https://arxiv.org/abs/2011.09999).

The reward is known; which steps are forbidden is not, but the demonstrations avoid them. A network
zeta(s, a) in (0, 1) says how far a step is allowed. Its likelihood gradient under maximum entropy is
E_demonstrations[grad log zeta] - E_pi[grad log zeta], with pi optimal under the cost c = 1 - zeta.

Box; the code below carries the same line numbers.
  1  forward: a few updates of PPO-Lagrangian with the cost 1 - zeta; nu ascends on the mean cost of a
     step minus the budget
  2  sample whole episodes with pi
  3  backward: at most B passes of Adam on
         L = - E_demonstrations log zeta + E_sampled w log zeta
             + delta [ E_demonstrations (1 - zeta) + E_sampled (1 - zeta) ]
     where E is the mean over all steps and w corrects for episodes that an older zeta shaped,
     W_j = prod_t zeta(s_t, a_t) / zeta_old(s_t, a_t):
         per trajectory  w_j = n W_j / sum W,        per step  w_t = (zeta / zeta_old)_t / mean of it
     and no pass is made once either estimate of how far pi is out of date exceeds its limit:
         forward  mean_j(- log W_j),                 reverse   mean_j((W_j - mean W) log W_j) / mean W

Departures from the paper and from its authors' program, and why:
- Products of ratios are sums of logarithms and a softmax; products over 200 steps underflow.
- Means over steps, as in the program. The paper's gradient has sums over episodes, which is the same if all
  episodes are equally long. If not, a policy that runs into the time limit, while a demonstration is at the
  goal early, would outweigh the demonstrations several times over and forbid everything.
- The weights a step really weigh the steps. In the authors' program a shape slip cancels them; that is
  ``weights="none"`` here.
- Pairs are (s_t, a_t), in training and where the cost is asked for; the authors' recorder stored s_{t+1}.
- The last iterate counts; choosing the best one by its true reward would use the hidden constraint.
- With discrete actions zeta has an output an action, which is the same function in one pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from surefoot.algorithms.learner import Metrics
from surefoot.algorithms.rounds import in_rounds, last_round
from surefoot.algorithms.safe import ppo_lagrangian
from surefoot.algorithms.safe.ppo_lagrangian import PpoLagrangian
from surefoot.data.pairs import Pairs
from surefoot.data.trajectories import Trajectories, episode_metrics
from surefoot.errors import SurefootError, check_range, unknown
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import BoundedGaussianPolicy, CategoricalPolicy, GaussianPolicy
from surefoot.task import Box, Discrete, Task
from surefoot.worlds.world import Episodes, Steps, World

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations

OBSERVATION_BOUND = 20.0
"""zeta sees observations clipped to plus and minus this."""
EPSILON = 1e-5
"""Added to zeta inside logarithms."""


class Allowed(eqx.Module):
    """zeta: how far a step is allowed, from 0 (forbidden) to 1."""

    network: Mlp
    action: Box | Discrete = eqx.field(static=True)
    dimensions: tuple[int, ...] = eqx.field(static=True)
    """Entries of the observation that it sees."""
    sees_action: bool = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        task: Task,
        hidden: tuple[int, ...],
        key: PRNGKeyArray,
        *,
        dimensions: tuple[int, ...] | None = None,
        sees_action: bool = True,
    ) -> Allowed:
        """A fresh network; ``dimensions`` none means the whole observation."""
        size = task.observation.size
        seen = tuple(range(size)) if dimensions is None else tuple(dimensions)
        if not seen or not all(0 <= index < size for index in seen):
            raise SurefootError(
                f"constraint_dimensions = {seen}: give indices from 0 to {size - 1} of the observation."
            )
        inputs, outputs = len(seen), 1
        if sees_action and isinstance(task.action, Discrete):
            outputs = task.action.n
        elif sees_action and isinstance(task.action, Box):
            inputs += task.action.size
        network = Mlp.create((inputs, *hidden, outputs), key, activation="tanh")
        return cls(network, task.action, seen, sees_action)

    def logit(
        self, observation: Float[Array, "*batch obs"], action: Shaped[Array, "..."]
    ) -> Float[Array, "*batch"]:
        """log(zeta / (1 - zeta))."""
        seen = jnp.clip(observation, -OBSERVATION_BOUND, OBSERVATION_BOUND)[..., jnp.array(self.dimensions)]
        if not self.sees_action:
            return self.network(seen)[..., 0]
        if isinstance(self.action, Discrete):
            outputs = self.network(seen)
            return jnp.take_along_axis(outputs, action[..., None], axis=-1)[..., 0]
        inside = jnp.clip(action, jnp.array(self.action.low), jnp.array(self.action.high))
        return self.network(jnp.concatenate([seen, inside], axis=-1))[..., 0]

    def __call__(
        self, observation: Float[Array, "*batch obs"], action: Shaped[Array, "..."]
    ) -> Float[Array, "*batch"]:
        return jax.nn.sigmoid(self.logit(observation, action))


class State(eqx.Module):
    """All that a resumed run needs."""

    forward: ppo_lagrangian.State
    """Policy, value networks and multiplier; carried over from one outer iteration to the next."""
    zeta: Allowed
    optimiser: optax.OptState
    """Of zeta."""
    demonstrations: Pairs
    outer: Int[Array, ""]
    """Outer iterations made."""


class Icrl(eqx.Module):
    """Inverse constrained reinforcement learning with PPO-Lagrangian inside."""

    needs_demonstrations: ClassVar[bool] = True
    interacts: ClassVar[bool] = True

    forward_updates: int = 5
    """PPO-Lagrangian updates an outer iteration."""
    warmup: int = 0
    """Outer iterations before zeta counts and learns: the cost is 0 then, so that the policy finds the
    reward. The multiplier stays where it starts."""
    batch_steps: int = 2048
    """Environment steps a PPO-Lagrangian update, over all parallel environments."""
    episodes: int = 20
    """Whole episodes sampled for the backward step. Their steps are not counted as training steps;
    the metric ``sampled_steps`` gives them."""
    backward_passes: int = 10
    """B: most passes of the constraint network an outer iteration, each over all data."""
    weights: str = "step"
    """w: importance weights of the sampled steps, ``trajectory``, ``step`` or ``none``."""
    regulariser: float = 0.1
    """delta: pulls zeta to 1, that is, to few constraints."""
    constraint_learning_rate: float = 0.01
    """Of Adam on zeta, in the first outer iteration."""
    constraint_decay: float = 1.0
    """Factor on that learning rate an outer iteration."""
    forward_kl: float = 10.0
    """Backward passes stop when the forward estimate exceeds this, in nats an episode."""
    reverse_kl: float = 10.0
    """Backward passes stop when the reverse estimate exceeds this, in nats an episode."""
    constraint_hidden: tuple[int, ...] = (32,)
    """Hidden layers (tanh) of zeta."""
    constraint_dimensions: tuple[int, ...] | None = None
    """Entries of the observation that zeta sees; none means all."""
    constraint_sees_action: bool = True
    """Whether zeta depends on the action."""
    budget: float = 0.0
    """Mean learned cost of a step that is tolerated. At 0 the multiplier only grows."""
    multiplier_start: float = 1.0
    """nu before the first iteration."""
    multiplier_learning_rate: float = 0.1
    """Of Adam on the multiplier: about how much nu moves an update."""
    passes: int = 10
    """Most passes over the steps of a PPO-Lagrangian update."""
    minibatch: int = 256
    """Steps a gradient step of PPO-Lagrangian."""
    learning_rate: float = 3e-4
    """Of Adam on policy and value networks."""
    discount: float = 0.99
    """gamma of the reward."""
    trace: float = 0.95
    """lambda of the reward's advantage estimate."""
    cost_discount: float = 0.99
    """gamma of the learned cost."""
    cost_trace: float = 0.95
    """lambda of the learned cost's advantage estimate."""
    clip: float = 0.2
    """epsilon of PPO."""
    value_weight: float = 0.5
    """Weight of the value loss."""
    cost_value_weight: float = 0.5
    """Weight of the cost value loss."""
    entropy_weight: float = 0.0
    """Weight of the policy's entropy."""
    gradient_norm: float = 0.5
    """Longer gradients of PPO-Lagrangian are scaled down to this norm."""
    target_kl: float = 0.02
    """PPO's passes stop after one whose mean divergence exceeds 1.5 times this, in nats."""
    hidden: tuple[int, ...] = (64, 64)
    """Hidden layers (tanh) of policy and value networks."""
    initial_std: float = 1.0
    """Spread of a continuous policy at the start, in half widths of the action space."""

    def __check_init__(self) -> None:
        _ = self.lagrangian  # checks the settings that it shares
        for name in ("forward_updates", "episodes", "backward_passes"):
            check_range(name, getattr(self, name), low=1)
        check_range("warmup", self.warmup, low=0)
        for name in ("constraint_learning_rate", "forward_kl", "reverse_kl"):
            check_range(name, getattr(self, name), low=0, open_low=True)
        check_range("constraint_decay", self.constraint_decay, low=0, high=1, open_low=True)
        check_range("regulariser", self.regulariser, low=0)
        check_range("budget", self.budget, low=0, high=1)
        if self.weights not in ("trajectory", "step", "none"):
            raise unknown("kind of weights", self.weights, ("trajectory", "step", "none"))
        for width in self.constraint_hidden:
            check_range("constraint_hidden", width, low=1)

    @property
    def steps_per_iteration(self) -> int:
        return self.forward_updates * self.batch_steps

    @property
    def lagrangian(self) -> PpoLagrangian:
        """Settings of the forward step; how much of the learned cost may be is the ``budget``."""
        return PpoLagrangian(
            cost_limits=(0.0,),
            multiplier_start=self.multiplier_start,
            multiplier_learning_rate=self.multiplier_learning_rate,
            batch_steps=self.batch_steps,
            passes=self.passes,
            minibatch=self.minibatch,
            learning_rate=self.learning_rate,
            discount=self.discount,
            trace=self.trace,
            cost_discount=self.cost_discount,
            cost_trace=self.cost_trace,
            clip=self.clip,
            value_weight=self.value_weight,
            cost_value_weight=self.cost_value_weight,
            entropy_weight=self.entropy_weight,
            gradient_norm=self.gradient_norm,
            target_kl=self.target_kl,
            hidden=self.hidden,
            initial_std=self.initial_std,
        )

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Demonstrations | None = None) -> State:
        """Fresh networks; demonstrations are required and checked against ``task``."""
        if demonstrations is None:
            raise SurefootError("ICRL learns from demonstrations, but none were given.")
        demonstrations.check(task)
        key_forward, key_zeta = jax.random.split(key)
        zeta = Allowed.create(
            task,
            self.constraint_hidden,
            key_zeta,
            dimensions=self.constraint_dimensions,
            sees_action=self.constraint_sees_action,
        )
        pairs = Pairs.of(demonstrations)
        # The one cost of the forward step is the learned one; the task's own are only measured.
        learned = replace(task, constraints=("learned",), limits=(0.0,))
        return State(
            self.lagrangian.init(learned, key_forward),
            zeta,
            _adam().init(zeta),  # type: ignore[arg-type]
            pairs,
            jnp.zeros((), jnp.int32),
        )

    def policy(self, state: State) -> CategoricalPolicy | GaussianPolicy | BoundedGaussianPolicy:
        return state.forward.networks.policy

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        key_forward, key_sample = jax.random.split(key)
        agent, world, metrics = forward(self, state, world, key_forward)  # line 1
        state = eqx.tree_at(lambda s: s.forward, state, agent)
        world, batch = world.collect(self.policy(state), Episodes(self.episodes), key_sample)  # line 2
        state, constraint_metrics = backward(self, state, batch)  # line 3
        return (
            state,
            world,
            {
                **episode_metrics(batch, world.task),
                **metrics,
                **constraint_metrics,
                "sampled_steps": jnp.sum(batch.valid).astype(jnp.float32),
            },
        )


def forward(
    settings: Icrl, state: State, world: World, key: PRNGKeyArray
) -> tuple[ppo_lagrangian.State, World, Metrics]:
    """Line 1. Returns the agent, the world and the metrics of the last update."""
    warming_up = state.outer < settings.warmup

    def one(
        agent: ppo_lagrangian.State, world: World, key: PRNGKeyArray
    ) -> tuple[ppo_lagrangian.State, World, Metrics]:
        key_collect, key_update = jax.random.split(key)
        world, batch = world.collect(agent.networks.policy, Steps(settings.batch_steps), key_collect)
        agent, metrics = improve(settings, agent, state.zeta, warming_up, batch, key_update)
        return agent, world, metrics

    return in_rounds(one, state.forward, world, key, settings.forward_updates, reduce=last_round)


@eqx.filter_jit
def improve(
    settings: Icrl,
    agent: ppo_lagrangian.State,
    zeta: Allowed,
    warming_up: Bool[Array, ""],
    batch: Trajectories,
    key: PRNGKeyArray,
) -> tuple[ppo_lagrangian.State, Metrics]:
    """One PPO-Lagrangian update under the cost 1 - zeta, or 0 while ``warming_up``."""
    cost = jnp.where(warming_up, 0.0, 1 - zeta(batch.observation, batch.action))
    excess = jnp.where(warming_up, 0.0, jnp.mean(cost) - settings.budget)
    agent, metrics = ppo_lagrangian.update(
        settings.lagrangian, agent, batch, cost[..., None], excess[None], key
    )
    return agent, {**metrics, "learned_cost": jnp.mean(cost), "multiplier": agent.multipliers.value[0]}


@eqx.filter_jit
def backward(settings: Icrl, state: State, batch: Trajectories) -> tuple[State, Metrics]:
    """Line 3, on sampled episodes ``[time, episodes]``."""
    expert, old = state.demonstrations, state.zeta
    old_logit = old.logit(batch.observation, batch.action)
    learning_rate = settings.constraint_learning_rate * settings.constraint_decay**state.outer
    most = jnp.where(state.outer < settings.warmup, 0, settings.backward_passes)

    def log_ratio(zeta: Allowed) -> Float[Array, "time episodes"]:
        logit = zeta.logit(batch.observation, batch.action)
        return jnp.where(batch.valid, jax.nn.log_sigmoid(logit) - jax.nn.log_sigmoid(old_logit), 0.0)

    def one_pass(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        zeta, optimiser, done, *_ = carry
        weight = importance_weights(log_ratio(zeta), batch.valid, settings.weights)
        gradient = jax.grad(constraint_loss)(zeta, expert, batch, weight, settings.regulariser)
        change, optimiser = _adam().update(gradient, optimiser)
        zeta = eqx.apply_updates(zeta, jax.tree.map(lambda x: -learning_rate * x, change))
        return zeta, optimiser, done + 1, *divergences(jnp.sum(log_ratio(zeta), axis=0))

    def more(carry: tuple[Any, ...]) -> Bool[Array, ""]:
        *_, done, forward_kl, reverse_kl = carry
        fresh = (forward_kl <= settings.forward_kl) & (reverse_kl <= settings.reverse_kl)
        return (done < most) & fresh

    zero = jnp.zeros(())
    start = (old, state.optimiser, jnp.zeros((), jnp.int32), zero, zero)
    zeta, optimiser, done, forward_kl, reverse_kl = jax.lax.while_loop(more, one_pass, start)
    state = State(state.forward, zeta, optimiser, expert, state.outer + 1)
    return state, {
        "zeta_expert": jnp.mean(zeta(expert.observation, expert.action)),
        "zeta_nominal": jnp.mean(zeta(batch.observation, batch.action), where=batch.valid),
        "forward_kl": forward_kl,
        "reverse_kl": reverse_kl,
        "backward_passes": done.astype(jnp.float32),
    }


def importance_weights(
    log_ratio: Float[Array, "time episodes"],
    valid: Bool[Array, "time episodes"],
    kind: str,
) -> Float[Array, "time episodes"]:
    """w of each step, of mean 1 over episodes (trajectory) or valid steps (step); 0 where not valid.

    ``log_ratio`` is log(zeta / zeta_old), 0 where not valid.
    """
    if kind == "trajectory":
        weight = log_ratio.shape[1] * jax.nn.softmax(jnp.sum(log_ratio, axis=0))
        return jnp.where(valid, weight, 0.0)
    if kind == "step":
        shares = jax.nn.softmax(jnp.where(valid, log_ratio, -jnp.inf).reshape(-1)).reshape(valid.shape)
        return jnp.sum(valid) * shares
    return valid.astype(log_ratio.dtype)


def divergences(log_weight: Float[Array, " episodes"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Forward and reverse estimate of how far the sampling policy is out of date, from log W_j."""
    mean = jnp.mean(log_weight)
    return -mean, jnp.dot(jax.nn.softmax(log_weight), log_weight) - mean


def constraint_loss(
    zeta: Allowed,
    expert: Pairs,
    batch: Trajectories,
    weight: Float[Array, "time episodes"],
    regulariser: float,
) -> Float[Array, ""]:
    """L of line 3; ``weight`` is held fixed."""
    allowed, sampled = zeta(expert.observation, expert.action), zeta(batch.observation, batch.action)

    def mean(values: Float[Array, "time episodes"]) -> Float[Array, ""]:
        return jnp.mean(values, where=batch.valid)

    likelihood = jnp.mean(jnp.log(allowed + EPSILON)) - mean(weight * jnp.log(sampled + EPSILON))
    return -likelihood + regulariser * (jnp.mean(1 - allowed) + mean(1 - sampled))


def _adam() -> optax.GradientTransformation:
    """Adam's direction; the learning rate, which decays, is applied outside."""
    return optax.scale_by_adam(eps=1e-5)
