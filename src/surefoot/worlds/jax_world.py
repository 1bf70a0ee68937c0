"""A world of environments written in JAX: stepping compiles together with learning."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from surefoot.data.trajectories import Totals, Trajectories
from surefoot.envs.env import JaxEnv
from surefoot.errors import SurefootError
from surefoot.task import Task
from surefoot.worlds.world import Acts, Episodes, Steps, act_with, memory_of, report_of

_Standing = tuple[Any, Totals, Any]
"""States, totals and memories of environments."""


class JaxWorld(eqx.Module):
    """``envs`` copies of one environment, side by side, reset as soon as an episode ends."""

    env: JaxEnv = eqx.field(static=True)
    envs: int = eqx.field(static=True)
    states: Any
    totals: Totals
    memory: Any = None
    """What the policy remembers of each environment, if it does."""

    @classmethod
    def create(cls, env: JaxEnv, envs: int, key: PRNGKeyArray) -> JaxWorld:
        """A world of ``envs`` environments, each freshly reset."""
        if envs < 1:
            raise SurefootError(f"envs = {envs}: a world needs at least one environment.")
        states = jax.vmap(env.reset)(jax.random.split(key, envs))
        return cls(env, envs, states, _zero_totals(envs, len(env.task.constraints)))

    @property
    def task(self) -> Task:
        return self.env.task

    @property
    def compiled(self) -> bool:
        return True

    def fresh(self, key: PRNGKeyArray) -> JaxWorld:
        return JaxWorld.create(self.env, self.envs, key)

    def remembering(self, policy: Acts) -> JaxWorld:
        """With room for what ``policy`` remembers: worlds before and after ``collect`` then have one form."""
        memory = memory_of(policy, self.envs, self.memory)
        return JaxWorld(self.env, self.envs, self.states, self.totals, memory)

    def collect(
        self, policy: Acts, amount: Steps | Episodes, key: PRNGKeyArray
    ) -> tuple[JaxWorld, Trajectories]:
        """Steps every environment with ``policy``; consumes ``key`` for actions and resets.

        ``Steps(n)`` continues where the environments stand, ``[n / envs, envs]``; ``Episodes(n)``
        plays ``n`` fresh ones over the whole horizon, ``[horizon, n]``, and leaves this world as it is.
        """
        if isinstance(amount, Steps):
            memory = memory_of(policy, self.envs, self.memory)
            start = self.states, self.totals, memory
            (states, totals, memory), batch = self._play(
                policy, start, amount.each(self.envs), key, autoreset=True
            )
            return JaxWorld(self.env, self.envs, states, totals, memory), batch
        horizon = self.task.horizon
        if horizon is None:
            raise SurefootError(f"'{self.task.name}' has no horizon, so whole episodes cannot be collected.")
        key_reset, key_play = jax.random.split(key)
        states = jax.vmap(self.env.reset)(jax.random.split(key_reset, amount.n))
        totals = _zero_totals(amount.n, len(self.task.constraints))
        start = states, totals, memory_of(policy, amount.n)
        _, batch = self._play(policy, start, horizon, key_play, autoreset=False)
        ended_before = jnp.cumsum(batch.terminated | batch.truncated, axis=0) - (
            batch.terminated | batch.truncated
        )
        return self, eqx.tree_at(lambda b: b.valid, batch, ended_before == 0)

    def _play(
        self, policy: Acts, start: _Standing, time: int, key: PRNGKeyArray, *, autoreset: bool
    ) -> tuple[_Standing, Trajectories]:
        env = self.env
        envs = start[1].reward.shape[0]

        def step(carry: _Standing, key: PRNGKeyArray) -> tuple[_Standing, Trajectories]:
            states, totals, memory = carry
            key_act, key_reset = jax.random.split(key)
            observation = jax.vmap(env.observe)(states)
            keys = jax.random.split(key_act, envs)
            if memory is None:
                action = jax.vmap(policy.act)(observation, keys)
            else:
                action, memory = act_with(policy, memory, observation, keys, totals.length == 0)
            states, result = jax.vmap(env.step)(states, action)
            totals = Totals(
                totals.reward + result.reward,
                totals.length + 1,
                totals.cost + result.cost,
                totals.violating_steps + (result.cost > 0),
                totals.any_violating_steps + jnp.any(result.cost > 0, axis=-1),
            )
            record = Trajectories(
                observation=observation,
                action=action,
                reward=result.reward,
                cost=result.cost,
                next_observation=jax.vmap(env.observe)(states),
                terminated=result.terminated,
                truncated=result.truncated,
                success=result.success,
                valid=jnp.ones(envs, bool),
                totals=totals,
                memory=memory if autoreset else None,
                report=None if autoreset else report_of(memory),
            )
            if autoreset:
                done = result.terminated | result.truncated
                states = _where(done, jax.vmap(env.reset)(jax.random.split(key_reset, envs)), states)
                totals = _where(done, jax.tree.map(jnp.zeros_like, totals), totals)
            return (states, totals, memory), record

        return jax.lax.scan(step, start, jax.random.split(key, time))


def _zero_totals(envs: int, constraints: int) -> Totals:
    return Totals(
        jnp.zeros(envs),
        jnp.zeros(envs, jnp.int32),
        jnp.zeros((envs, constraints)),
        jnp.zeros((envs, constraints), jnp.int32),
        jnp.zeros(envs, jnp.int32),
    )


def _where(mask: Array, yes: Any, no: Any) -> Any:
    def pick(a: Array, b: Array) -> Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim)), a, b)

    return jax.tree.map(pick, yes, no)
