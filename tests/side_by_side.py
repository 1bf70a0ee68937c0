"""The same small problem for the library (JAX) and for an oracle (NumPy)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from oracles import actor_critic as oracle
from oracles.tabular import Mdp
from surefoot.algorithms.rl import discrete_sac as sac
from surefoot.data.demonstrations import Demonstrations
from surefoot.data.replay import Transition
from surefoot.envs.env import StepResult
from surefoot.networks.critics import TwinQ
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import CategoricalPolicy
from surefoot.task import Box, Discrete, Task


def task(obs: int, actions: int, constraints: tuple[str, ...] = ()) -> Task:
    space = Box((obs,), (-1.0,) * obs, (1.0,) * obs)
    return Task("Small-v0", space, Discrete(actions), constraints, (0.0,) * len(constraints))


@dataclass(frozen=True)
class Bandit:
    """Reward is the number of the action. Every step ends the episode: it terminates in the first state
    and is truncated in the second, which stays as it is. High actions cost."""

    @property
    def task(self) -> Task:
        return Task("Bandit-v0", Box((2,), (0.0,) * 2, (1.0,) * 2), Discrete(3), ("high",), (0.0,), horizon=1)

    def reset(self, key: PRNGKeyArray) -> Array:
        return jax.random.randint(key, (), 0, 2)

    def step(self, state: Array, action: Int[Array, ""]) -> tuple[Array, StepResult]:
        cost = (action == 2)[None].astype(jnp.float32)
        return state, StepResult(action.astype(jnp.float32), cost, state == 0, state == 1, state == 0)

    def observe(self, state: Array) -> Array:
        return jax.nn.one_hot(state, 2)


def one_hot(states: np.ndarray, n: int) -> np.ndarray:
    return np.eye(n, dtype=np.float32)[states]


def whole_table(mdp: Mdp) -> Transition:
    """Every transition of an MDP with one-hot observations, as one batch."""
    rows = mdp.transitions()
    return Transition(
        jnp.asarray(one_hot(rows["state"], mdp.states)),
        jnp.asarray(rows["action"], jnp.int32),
        jnp.asarray(rows["reward"], jnp.float32),
        jnp.zeros((len(rows["state"]), 0)),
        jnp.asarray(one_hot(rows["next_state"], mdp.states)),
        jnp.asarray(rows["terminated"], jnp.float32),
    )


def demonstrations(observations: np.ndarray, actions: np.ndarray) -> Demonstrations:
    """One episode of these steps."""
    n = len(actions)
    last = np.arange(n) == n - 1
    return Demonstrations(
        observations=observations,
        actions=np.asarray(actions, np.int32),
        rewards=np.zeros(n),
        costs=np.zeros((n, 0)),
        terminations=last,
        truncations=np.zeros(n, bool),
        lengths=np.array([n]),
        final_observations=observations[-1:],
    )


def random_rows(seed: int, n: int, obs: int, actions: int) -> oracle.Rows:
    """Transitions of which a third are terminal."""
    rng = np.random.default_rng(seed)
    return oracle.Rows(
        rng.normal(size=(n, obs)),
        rng.integers(actions, size=n),
        rng.normal(size=n),
        rng.normal(size=(n, obs)),
        rng.random(n) < 1 / 3,
    )


def batch_of(rows: oracle.Rows) -> Transition:
    return Transition(
        jnp.asarray(rows.observation, jnp.float32),
        jnp.asarray(rows.action, jnp.int32),
        jnp.asarray(rows.reward, jnp.float32),
        jnp.zeros((len(rows.action), 0)),
        jnp.asarray(rows.next_observation, jnp.float32),
        jnp.asarray(rows.terminated, jnp.float32),
    )


def random_mlp(sizes: tuple[int, ...], rng: np.random.Generator) -> Mlp:
    """Made with NumPy, which needs no compiling."""
    weights = [rng.normal(size=(m, n)) / m**0.5 for m, n in zip(sizes[:-1], sizes[1:], strict=True)]
    biases = [0.1 * rng.normal(size=n) for n in sizes[1:]]
    return Mlp(
        tuple(jnp.asarray(w, jnp.float32) for w in weights),
        tuple(jnp.asarray(b, jnp.float32) for b in biases),
        "relu",
    )


def random_policy(obs: int, hidden: tuple[int, ...], actions: int, seed: int = 0) -> CategoricalPolicy:
    return CategoricalPolicy(random_mlp((obs, *hidden, actions), np.random.default_rng(seed)))


def stack(trees: list[Any]) -> Any:
    """The same tree with a leading axis over ``trees``."""
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *trees)


def pick(tree: Any, i: int) -> Any:
    """Entry ``i`` of the leading axis."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[i]), tree)


def random_agent(settings: Any, obs: int, actions: int, seed: int, alpha: float = 1.0) -> sac.Agent:
    """Networks at random, with targets that differ from the critics, and fresh optimisers."""
    sizes, rng = (obs, *settings.hidden, actions), np.random.default_rng(seed)
    actor = CategoricalPolicy(random_mlp(sizes, rng))
    critics, targets = (TwinQ(stack([random_mlp(sizes, rng) for _ in range(2)])) for _ in range(2))
    log_alpha = jnp.asarray(math.log(alpha), jnp.float32)
    return sac.Agent(
        actor,
        critics,
        targets,
        log_alpha,
        sac.adam(settings, settings.learning_rate).init(actor),
        sac.adam(settings, settings.critic_learning_rate).init(critics),
        optax.adam(settings.alpha_learning_rate, eps=1e-4).init(log_alpha),
    )


def layers(network: Mlp, which: int | None = None) -> oracle.Layers:
    """Of an MLP, or of one of several stacked ones."""
    arrays = [a for pair in zip(network.weights, network.biases, strict=True) for a in pair]
    return [np.array(a if which is None else a[which], np.float64) for a in arrays]


def twin(critics: TwinQ) -> tuple[oracle.Layers, oracle.Layers]:
    return layers(critics.networks, 0), layers(critics.networks, 1)


def learner_of(settings: Any, agent: sac.Agent) -> oracle.Learner:
    """The oracle's form of an agent with fresh optimisers."""
    n_actions = agent.actor.network.biases[-1].shape[0]
    bound = settings.max_gradient_norm
    return oracle.Learner(
        actor=layers(agent.actor.network),
        critics=twin(agent.critics),
        targets=twin(agent.targets),
        log_alpha=float(agent.log_alpha),
        discount=settings.discount,
        polyak=settings.polyak,
        target_entropy=settings.target_entropy_ratio * math.log(n_actions),
        actor_adam=oracle.Adam(settings.learning_rate, bound),
        critic_adam=oracle.Adam(settings.critic_learning_rate, bound),
        alpha_adam=oracle.Adam(settings.alpha_learning_rate),
    )


def assert_same(agent: sac.Agent, learner: oracle.Learner, atol: float) -> None:
    """Every number of the two, to within ``atol``."""
    pairs = [
        (layers(agent.actor.network), learner.actor),
        *zip(twin(agent.critics), learner.critics, strict=True),
        *zip(twin(agent.targets), learner.targets, strict=True),
    ]
    for mine, theirs in pairs:
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a, b, atol=atol, rtol=0)
    np.testing.assert_allclose(float(agent.log_alpha), learner.log_alpha, atol=atol, rtol=0)


def same_bits(a: Any, b: Any) -> bool:
    """Whether two trees hold the same arrays."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(np.asarray(x), np.asarray(y), equal_nan=True) for x, y in pairs)
