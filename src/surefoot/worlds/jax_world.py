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
from surefoot.worlds.world import Acts, Episodes, Steps


class JaxWorld(eqx.Module):
    """``envs`` copies of one environment, side by side, reset as soon as an episode ends."""

    env: JaxEnv = eqx.field(static=True)
    envs: int = eqx.field(static=True)
    states: Any
    totals: Totals

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

    def collect(
        self, policy: Acts, amount: Steps | Episodes, key: PRNGKeyArray
    ) -> tuple[JaxWorld, Trajectories]:
        """Steps every environment with ``policy``; consumes ``key`` for actions and resets.

        ``Steps(n)`` continues where the environments stand, ``[n / envs, envs]``; ``Episodes(n)``
        plays ``n`` fresh ones over the whole horizon, ``[horizon, n]``, and leaves this world as it is.
        """
        if isinstance(amount, Steps):
            if amount.n % self.envs:
                raise SurefootError(
                    f"Steps({amount.n}) does not divide evenly over {self.envs} environments."
                )
            (states, totals), batch = self._play(
                policy, self.states, self.totals, amount.n // self.envs, key, autoreset=True
            )
            return JaxWorld(self.env, self.envs, states, totals), batch
        horizon = self.task.horizon
        if horizon is None:
            raise SurefootError(f"'{self.task.name}' has no horizon, so whole episodes cannot be collected.")
        key_reset, key_play = jax.random.split(key)
        states = jax.vmap(self.env.reset)(jax.random.split(key_reset, amount.n))
        totals = _zero_totals(amount.n, len(self.task.constraints))
        _, batch = self._play(policy, states, totals, horizon, key_play, autoreset=False)
        ended_before = jnp.cumsum(batch.terminated | batch.truncated, axis=0) - (
            batch.terminated | batch.truncated
        )
        return self, eqx.tree_at(lambda b: b.valid, batch, ended_before == 0)

    def _play(
        self, policy: Acts, states: Any, totals: Totals, time: int, key: PRNGKeyArray, *, autoreset: bool
    ) -> tuple[tuple[Any, Totals], Trajectories]:
        env = self.env
        envs = totals.reward.shape[0]

        def step(carry: tuple[Any, Totals], key: PRNGKeyArray) -> tuple[tuple[Any, Totals], Trajectories]:
            states, totals = carry
            key_act, key_reset = jax.random.split(key)
            observation = jax.vmap(env.observe)(states)
            action = jax.vmap(policy.act)(observation, jax.random.split(key_act, envs))
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
            )
            if autoreset:
                done = result.terminated | result.truncated
                states = _where(done, jax.vmap(env.reset)(jax.random.split(key_reset, envs)), states)
                totals = _where(done, jax.tree.map(jnp.zeros_like, totals), totals)
            return (states, totals), record

        return jax.lax.scan(step, (states, totals), jax.random.split(key, time))


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
