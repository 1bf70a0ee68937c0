"""Several seeds of one learner, side by side: how their iterations are carried out.

Seed s has the base key ``jax.random.key(s)``. Everything random is folded out of it, so that all
numbers are a function of (settings, seed, iteration):

| use | key |
| --- | --- |
| first state of world and learner | ``split(fold_in(base, 0))`` |
| iteration i | ``fold_in(fold_in(base, 1), i)`` |
| evaluation after i iterations | ``fold_in(fold_in(base, 2), i)`` |
| fresh episodes when resuming after i iterations, where a simulator cannot be saved | ``fold_in(fold_in(base, 3), i)`` |
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key, PRNGKeyArray

from surefoot.data.replay import Replay
from surefoot.data.trajectories import episode_metrics
from surefoot.training.policy_io import unwrap
from surefoot.worlds.world import Episodes, Remembers, strong

_INIT, _ITERATION, _EVALUATION, _RESUME = range(4)

EVALUATION_EPISODES = 20
"""Episodes a seed of an evaluation during training, if not said otherwise."""

Block = dict[str, np.ndarray]
"""Metrics of the iterations of a block, each ``[iterations, seeds]``."""


def engine_for(
    learner: Any, world: Any, demonstrations: Any, seeds: Sequence[int], block: int, given: Any = None
) -> Compiled | Hosted:
    """The engine for this kind of world; ``block`` is the number of iterations between two log rows,
    ``given`` the policy and critics to start from."""
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    kind = Compiled if world.compiled else Hosted
    return kind(learner, world, demonstrations, keys, block, given)


@dataclass(frozen=True)
class Compiled:
    """For worlds written in JAX: one call plays a whole block of all seeds.

    The block is a ``scan`` over iterations, for every seed (:func:`_each_seed`). States and worlds are
    donated to each call: a replay buffer is updated where it lies. All blocks have the same length, so
    the program is compiled once.
    """

    learner: Any
    world: Any
    demonstrations: Any
    keys: Key[Array, " seeds"]
    """Base key of each seed."""
    block: int
    given: Any = None
    """Policy and critics of another run to start from (``learner.start_from``), if any."""

    exact_resume = True
    """Whether a resumed run repeats the numbers of one that was not interrupted."""

    def start(self) -> Any:
        """State and world of every seed before the first iteration, the seeds as the first axis."""
        return _start(self.learner, self.world, self.demonstrations, self.keys, self.given)

    def saved(self, tree: Any) -> Any:
        """What a checkpoint holds."""
        return tree

    def template(self) -> Any:
        """The form of :meth:`saved`."""
        return eqx.filter_eval_shape(self.start)

    def revive(self, tree: Any, iteration: int) -> Any:
        """From what was saved after ``iteration`` iterations."""
        return tree

    def check(self) -> None:
        """Traces a block, so that what is wrong is raised before anything is written.

        The trace is kept: the first call of :meth:`run` does not repeat it.
        """
        tree = self.template()
        eqx.filter_eval_shape(_block, (self.learner, self.keys, _index(0), self.block), **tree)

    def run(self, tree: Any, first: int) -> tuple[Any, Block, np.ndarray]:
        """Iterations ``first`` to ``first + block``: what follows, metrics, and :meth:`finite` of it.

        ``tree`` is given away: its arrays must not be used again.
        """
        fixed = (self.learner, self.keys, _index(first), self.block)
        tree, metrics, finite = _block(fixed, **tree)
        return tree, {name: np.asarray(values).T for name, values in metrics.items()}, np.asarray(finite)

    def finite(self, tree: Any) -> np.ndarray:
        """Whether each array of the state holds finite numbers only, ``[arrays, seeds]``."""
        return np.asarray(_finite_jit(tree["state"]))

    def names(self, tree: Any) -> list[str]:
        """Of the arrays of :meth:`finite`."""
        return _names(tree["state"])

    def evaluate(self, tree: Any, iteration: int, episodes: int = EVALUATION_EPISODES) -> Block:
        """Means over fresh episodes of each seed's policy, each ``[seeds]``."""
        fixed = (self.learner, self.world, self.keys, _index(iteration), episodes)
        arrays = _evaluate(fixed, tree["state"])
        return {name: np.asarray(values) for name, values in arrays.items()}

    def policies(self, tree: Any) -> list[Any]:
        """One policy a seed."""
        return self._each(_policies(self.learner, tree["state"]))

    def rewards(self, tree: Any) -> list[Any]:
        """One learned reward a seed, of a learner that learns one."""
        return self._each(eqx.filter_vmap(self.learner.reward)(tree["state"]))

    def _each(self, stacked: Any) -> list[Any]:
        def take(seed: int) -> Any:
            return jax.tree.map(lambda x: x[seed] if eqx.is_array(x) else x, stacked)

        return [take(seed) for seed in range(len(self.keys))]


@dataclass(frozen=True)
class Hosted:
    """For worlds that are stepped on the host: seeds and iterations one after the other."""

    learner: Any
    world: Any
    demonstrations: Any
    keys: Key[Array, " seeds"]
    """Base key of each seed."""
    block: int
    given: Any = None
    """Policy and critics of another run to start from (``learner.start_from``), if any."""

    @property
    def exact_resume(self) -> bool:
        """For a learner that never acts, and where simulators can be saved, which in general they cannot."""
        return not self.learner.interacts or self._saves_worlds

    @cached_property
    def _saves_worlds(self) -> bool:
        """Whether simulators can be saved; what a policy remembers is not saved with them."""
        if not self.learner.interacts or not getattr(self.world, "can_save", False):
            return False

        def remembered(key: PRNGKeyArray) -> Any:
            return getattr(self.learner.policy(self._state(key)), "memory", lambda: None)()

        # The form alone: a state may hold a replay buffer.
        return eqx.filter_eval_shape(remembered, self.keys[0]) is None

    def start(self) -> Any:
        """State and world of every seed before the first iteration, in lists."""
        keys = [jax.random.split(jax.random.fold_in(key, _INIT))[0] for key in self.keys]
        return {"state": self._states(), "world": [self.world.fresh(key) for key in keys]}

    def saved(self, tree: Any) -> Any:
        """What a checkpoint holds: the worlds only where simulators can be saved."""
        if not self._saves_worlds:
            return {"state": tree["state"]}
        return {"state": tree["state"], "world": [world.save() for world in tree["world"]]}

    def template(self) -> Any:
        """The form of :meth:`saved`."""
        states = [eqx.filter_eval_shape(self._state, self.keys[0])] * len(self.keys)
        if not self._saves_worlds:
            return {"state": states}
        world = self.world.fresh(self.keys[0])
        form = world.save()
        world.close()
        return {"state": states, "world": [form] * len(self.keys)}

    def _states(self) -> list[Any]:
        return [self._state(key) for key in self.keys]

    def _state(self, key: PRNGKeyArray) -> Any:
        key = jax.random.split(jax.random.fold_in(key, _INIT))[1]
        return _first(self.learner, self.world, key, self.demonstrations, self.given)

    def revive(self, tree: Any, iteration: int) -> Any:
        """The states as they were saved; the worlds too, or at the start of new episodes."""
        if "world" in tree:
            worlds = [self.world.restored(saved) for saved in tree["world"]]
            return {"state": tree["state"], "world": worlds}
        keys = [_key(key, _RESUME, iteration) for key in self.keys]
        return {"state": tree["state"], "world": [self.world.fresh(key) for key in keys]}

    def check(self) -> None:
        """Makes the first states, so that what is wrong with them, or with this world, is raised before
        anything is written."""
        getattr(self.learner, "check", lambda world: None)(self.world)
        self._states()

    def run(self, tree: Any, first: int) -> tuple[Any, Block, np.ndarray]:
        states, worlds, by_seed = [], [], []
        for key, state, world in zip(self.keys, tree["state"], tree["world"], strict=True):
            rows = []
            for iteration in range(first, first + self.block):
                state, world, metrics = self.learner.iteration(state, world, _key(key, _ITERATION, iteration))
                rows.append({name: float(value) for name, value in jax.device_get(metrics).items()})
            states.append(state)
            worlds.append(world)
            by_seed.append(rows)
        tree = {"state": states, "world": worlds}
        names = by_seed[0][0]
        block = {name: np.array([[row[name] for row in rows] for rows in by_seed]).T for name in names}
        return tree, block, self.finite(tree)

    def finite(self, tree: Any) -> np.ndarray:
        def alone(state: Any) -> np.ndarray:
            return np.asarray(_finite_jit(jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, state)))

        return np.concatenate([alone(state) for state in tree["state"]], axis=1)

    def names(self, tree: Any) -> list[str]:
        return _names(tree["state"][0])

    def evaluate(self, tree: Any, iteration: int, episodes: int = EVALUATION_EPISODES) -> Block:
        rows = []
        for key, state in zip(self.keys, tree["state"], strict=True):
            key = _key(key, _EVALUATION, iteration)
            # A world of which training only uses fresh copies: nothing of theirs is disturbed.
            rows.append(_played(self.learner, state, self.world, episodes, key))
        return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}

    def policies(self, tree: Any) -> list[Any]:
        return [unwrap(self.learner.policy(state)) for state in tree["state"]]

    def rewards(self, tree: Any) -> list[Any]:
        return [self.learner.reward(state) for state in tree["state"]]


# Compiled programs: functions of their arguments alone, so that two runs of the same form share them.


@eqx.filter_jit
def _start(
    learner: Any, world: Any, demonstrations: Any, keys: Key[Array, " seeds"], given: Any
) -> dict[str, Any]:
    def one(key: PRNGKeyArray) -> dict[str, Any]:
        key_world, key_learner = jax.random.split(jax.random.fold_in(key, _INIT))
        state = _first(learner, world, key_learner, demonstrations, given)
        fresh, policy = world.fresh(key_world), learner.policy(state)
        remembering = isinstance(policy, Remembers) and policy.memory() is not None
        return {"state": state, "world": fresh.remembering(policy) if remembering else fresh}

    # Without weak types, which the iterations would turn into strong ones and so compile twice.
    return jax.tree.map(lambda x: strong(x) if eqx.is_array(x) else x, eqx.filter_vmap(one)(keys))


def _first(learner: Any, world: Any, key: PRNGKeyArray, demonstrations: Any, given: Any) -> Any:
    """State before the first iteration."""
    state = learner.init(world.task, key, demonstrations=demonstrations)
    return state if given is None else learner.start_from(state, *given)


@eqx.filter_jit(donate="all-except-first")
def _block(fixed: tuple[Any, Any, Array, int], state: Any, world: Any) -> tuple[Any, Any, Array]:
    learner, keys, first, length = fixed

    def one(key: PRNGKeyArray, state: Any, world: Any) -> tuple[Any, Any, Any]:
        arrays, rest = eqx.partition((state, world), eqx.is_array)

        def iterate(arrays: Any, iteration: Array) -> tuple[Any, Any]:
            state, world = eqx.combine(arrays, rest)
            state, world, metrics = learner.iteration(state, world, _key(key, _ITERATION, iteration))
            return eqx.filter((state, world), eqx.is_array), metrics

        arrays, metrics = jax.lax.scan(iterate, arrays, first + jnp.arange(length))
        return *eqx.combine(arrays, rest), metrics

    state, world, metrics = _each_seed(one, keys, state, world)
    return {"state": state, "world": world}, metrics, _finite(state)


def _each_seed(one: Callable[..., Any], keys: Array, state: Any, world: Any) -> tuple[Any, Any, Any]:
    """``one(key, state, world)`` for every seed: in turn on a CPU, under ``vmap`` elsewhere.

    On a CPU small networks of several seeds side by side were measured 2.5 times slower than in turn. The
    stacked arrays are carried and written in place, so that at most one seed's share is ever copied.
    """
    if jax.default_backend() != "cpu":
        return eqx.filter_vmap(one)(keys, state, world)
    stacked, rest = eqx.partition((state, world), eqx.is_array)

    def take(stacked: Any, seed: Any) -> Any:
        return jax.tree.map(lambda x: x[seed], stacked)

    def turn(stacked: Any, seed: Array | int) -> tuple[Any, Any]:
        *after, metrics = one(keys[seed], *eqx.combine(take(stacked, seed), rest))
        return eqx.filter(tuple(after), eqx.is_array), metrics

    if len(keys) == 1:  # nothing to slice: every array is updated where it lies
        after, metrics = turn(stacked, 0)
        after, metrics = jax.tree.map(lambda x: x[None], (after, metrics))
        return *eqx.combine(after, rest), metrics

    def step(stacked: Any, seed: Array) -> tuple[Any, Any]:
        after, metrics = turn(stacked, seed)
        return jax.tree.map(lambda ring, x: ring.at[seed].set(x), stacked, after), metrics

    stacked, metrics = jax.lax.scan(step, stacked, jnp.arange(len(keys)))
    return *eqx.combine(stacked, rest), metrics


@eqx.filter_jit
def _evaluate(fixed: tuple[Any, Any, Any, Array, int], state: Any) -> dict[str, Array]:
    learner, world, keys, iteration, episodes = fixed

    def one(key: PRNGKeyArray, state: Any) -> dict[str, Array]:
        return _played(learner, state, world, episodes, _key(key, _EVALUATION, iteration))

    return eqx.filter_vmap(one)(keys, state)


def _played(learner: Any, state: Any, world: Any, episodes: int, key: PRNGKeyArray) -> dict[str, Array]:
    """Means over fresh episodes of the policy, and of the others that the learner names (``NAME_return``)."""
    policies = {"": unwrap(learner.policy(state))}
    for name in getattr(learner, "also_evaluated", ()):
        policies[f"{name}_"] = learner.other_policy(state, name)
    found = {}
    for prefix, policy in policies.items():
        _, batch = world.collect(policy, Episodes(episodes), key)
        values = episode_metrics(batch, world.task)
        found |= {prefix + name: value for name, value in values.items()}
    return found


@eqx.filter_jit
def _policies(learner: Any, state: Any) -> Any:
    return eqx.filter_vmap(lambda state: unwrap(learner.policy(state)))(state)


def _finite(state: Any) -> Bool[Array, "arrays seeds"]:
    """``[arrays, seeds]``, for arrays with the seeds as the first axis."""
    arrays = [x for _, x in _checked(state)]
    return jnp.stack([jnp.all(jnp.isfinite(x), axis=tuple(range(1, x.ndim))) for x in arrays])


_finite_jit: Callable[[Any], Array] = eqx.filter_jit(_finite)


def _names(state: Any) -> list[str]:
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in _checked(state)]


def _checked(state: Any) -> list[tuple[Any, Array]]:
    """Arrays that must stay finite, with their paths. Not replay buffers: they are large, only copy what
    the world gave, and what is wrong in them is in the networks a batch later."""
    named = jax.tree_util.tree_flatten_with_path(state, is_leaf=lambda x: isinstance(x, Replay))[0]
    return [(path, x) for path, x in named if eqx.is_inexact_array(x)]


def _key(base: PRNGKeyArray, use: int, iteration: int | Int[Array, ""]) -> PRNGKeyArray:
    return jax.random.fold_in(jax.random.fold_in(base, use), iteration)


def _index(iteration: int) -> Int[Array, ""]:
    return jnp.asarray(iteration, jnp.int32)
