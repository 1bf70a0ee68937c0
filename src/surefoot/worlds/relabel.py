"""Another reward in the place of an environment's own, or added to it as a prior.

>>> reward = load_reward("runs/recovered")                                        # doctest: +SKIP
>>> world = relabel(make("DisabledAnt-v0"), reward)                               # doctest: +SKIP

The learner then sees r(s), the reward of the state *before* each step. Returns in metrics and evaluations
stay those of the environment itself: they say what the learned reward is worth. A prior is added as
potential-based shaping (Ng, Harada and Russell 1999)::

    r  +  weight (discount r_prior(s') - r_prior(s))

which leaves the best policies as they are where the discount is the learner's. Where an episode terminated
r_prior(s') counts as 0, like the value of that state: otherwise a policy could earn by ending it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from surefoot.data.trajectories import Trajectories
from surefoot.errors import SurefootError, check_range
from surefoot.task import Task
from surefoot.worlds.world import Acts, Episodes, Steps

Reward = Callable[[Any], Float[Array, "*batch"]]
"""From states ``[..., obs]`` to a number each."""


class RelabelledWorld(eqx.Module):
    """A world whose steps carry another reward. Made by :func:`relabel`."""

    inner: Any
    """The world with its own reward."""
    reward: Any
    prior_weight: float | None = eqx.field(static=True)
    """None: the reward replaces the environment's own."""
    discount: float = eqx.field(static=True)

    @property
    def task(self) -> Task:
        return self.inner.task

    @property
    def compiled(self) -> bool:
        return self.inner.compiled

    @property
    def envs(self) -> int:
        return self.inner.envs

    @property
    def can_save(self) -> bool:
        """Whether the world itself can be saved, and so go on to the bit where a training was stopped."""
        return getattr(self.inner, "can_save", False)

    def fresh(self, key: PRNGKeyArray) -> RelabelledWorld:
        return self._around(self.inner.fresh(key))

    def remembering(self, policy: Acts) -> RelabelledWorld:
        return self._around(self.inner.remembering(policy))

    def save(self) -> dict[str, Any]:
        """What the world itself saves: the reward has no state of its own."""
        return self.inner.save()

    def restored(self, saved: dict[str, Any]) -> RelabelledWorld:
        return self._around(self.inner.restored(saved))

    def close(self) -> None:
        """Closes the simulators, if the world has any."""
        getattr(self.inner, "close", lambda: None)()

    def collect(
        self, policy: Acts, amount: Steps | Episodes, key: PRNGKeyArray
    ) -> tuple[RelabelledWorld, Trajectories]:
        """As the world itself, with the other reward in ``reward``; ``totals`` are the environment's own."""
        inner, batch = self.inner.collect(policy, amount, key)
        rewards = _rewards(self.reward, self.prior_weight, self.discount, batch)
        return self._around(inner), eqx.tree_at(lambda b: b.reward, batch, rewards)

    def _around(self, inner: Any) -> RelabelledWorld:
        return RelabelledWorld(inner, self.reward, self.prior_weight, self.discount)

    @property
    def origin(self) -> str | None:
        """JSON of where the reward can be read from again; ``None`` if nowhere."""
        path = getattr(self.reward, "path", None)
        if path is None:
            return None
        about = {"path": path, "seed": self.reward.seed, "digest": self.reward.digest}
        return json.dumps(about | {"prior_weight": self.prior_weight, "discount": self.discount})


@eqx.filter_jit
def _rewards(
    reward: Reward, prior_weight: float | None, discount: float, batch: Trajectories
) -> Float[Array, "time envs"]:
    now = reward(batch.observation)
    if prior_weight is None:
        return now
    after = jnp.where(batch.terminated, 0.0, reward(batch.next_observation))
    return batch.reward + prior_weight * (discount * after - now)


def relabel(
    world: Any, reward: Reward, *, prior_weight: float | None = None, discount: float = 0.99
) -> RelabelledWorld:
    """``world`` with ``reward`` in the place of its own.

    Args:
        world: what :func:`surefoot.make` returns.
        reward: what :func:`surefoot.load_reward` returns, or any function of states written with
            ``jax.numpy`` (then the run cannot be resumed without giving the world again).
        prior_weight: if given, the environment's own reward stays, and the other one is added as
            potential-based shaping with this weight.
        discount: of the potential; give the learner's. 1 drops it.

    Raises:
        SurefootError: the reward does not fit the states of this world.
    """
    if prior_weight is not None:
        check_range("prior_weight", prior_weight, low=0)
    check_range("discount", discount, low=0, high=1)
    size = world.task.observation.size
    states = jax.ShapeDtypeStruct((2, 3, size), jnp.float32)
    try:
        found = eqx.filter_eval_shape(reward, states)
    except (TypeError, ValueError) as error:
        raise SurefootError(
            f"The reward does not fit '{world.task.name}', whose states have {size} numbers: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if getattr(found, "shape", None) != (2, 3):
        raise SurefootError(
            f"The reward must give one number for each state; for states of shape (2, 3, {size}) it gave "
            f"{getattr(found, 'shape', found)}."
        )
    return RelabelledWorld(world, reward, prior_weight, discount)


def own(world: Any) -> Any:
    """The world with its own reward."""
    return world.inner if isinstance(world, RelabelledWorld) else world
