"""Behavioural cloning (Pomerleau 1991): maximum likelihood of the demonstrated actions.

Box:
  1  draw a batch of D, uniformly from all of its pairs
  2  theta <- step on  - mean log pi_theta(a|s)
It never acts in the world; ``steps`` counts gradient steps.

The policy is categorical for discrete actions. For continuous ones it is the squashed Gaussian of SAC, and
the likelihood is that of the squashed action: log N(u) - sum log(1 - tanh(u)^2) at u = atanh(a). An action on
a bound, where atanh is infinite, counts as one just inside. (Fitting the Gaussian to ``a`` itself, while
acting still squashes, would shrink every action: 1 would become tanh(1) = 0.76.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from surefoot.algorithms.learner import Metrics
from surefoot.data.pairs import Pairs
from surefoot.errors import SurefootError, check_range
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import CategoricalPolicy, SquashedGaussianPolicy
from surefoot.task import Discrete, Task
from surefoot.worlds.world import World

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations


Actor = CategoricalPolicy | SquashedGaussianPolicy


class State(eqx.Module):
    """All that a resumed run needs."""

    actor: Actor
    optimiser: optax.OptState
    demonstrations: Pairs


class Bc(eqx.Module):
    """Behavioural cloning, discrete and continuous actions."""

    needs_demonstrations: ClassVar[bool] = True
    interacts: ClassVar[bool] = False

    hidden: tuple[int, ...] = (32, 32)
    """Hidden layers of the actor."""
    learning_rate: float = 1e-3
    """Adam's step."""
    batch_size: int = 256
    """Demonstrated pairs a gradient step."""
    max_gradient_norm: float = 5.0
    """Gradients are clipped to this global norm."""
    steps_per_iteration: int = 100
    """Gradient steps per iteration."""

    def __check_init__(self) -> None:
        if not self.hidden or any(width < 1 for width in self.hidden):
            raise SurefootError(f"hidden = {self.hidden}: give the width of at least one hidden layer.")
        check_range("learning_rate", self.learning_rate, low=0, open_low=True)
        check_range("batch_size", self.batch_size, low=1)
        check_range("max_gradient_norm", self.max_gradient_norm, low=0, open_low=True)
        check_range("steps_per_iteration", self.steps_per_iteration, low=1)

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Demonstrations | None = None) -> State:
        """A fresh actor and the demonstrations; :class:`SurefootError` if none are given."""
        if demonstrations is None:
            raise SurefootError("bc learns from demonstrations; give some, see `surefoot demos list`.")
        actor = create_actor(task, self.hidden, key)
        pairs = Pairs.of(demonstrations)
        return State(actor, self._adam().init(eqx.filter(actor, eqx.is_array)), pairs)

    def policy(self, state: State) -> Actor:
        return state.actor

    def iteration(self, state: State, world: World, key: PRNGKeyArray) -> tuple[State, World, Metrics]:
        state, nll = self.update(state, key)
        return state, world, {"demo_nll": nll}

    @eqx.filter_jit
    def update(self, state: State, key: PRNGKeyArray) -> tuple[State, Float[Array, ""]]:
        """``steps_per_iteration`` gradient steps; returns their mean loss too."""

        def step(carry: tuple[Actor, optax.OptState], key: PRNGKeyArray):
            actor, optimiser = carry
            batch = state.demonstrations.sample(key, self.batch_size)  # 1
            nll, gradient = jax.value_and_grad(negative_log_likelihood)(actor, batch)
            update, optimiser = self._adam().update(gradient, optimiser)
            return (eqx.apply_updates(actor, update), optimiser), nll  # 2

        keys = jax.random.split(key, self.steps_per_iteration)
        (actor, optimiser), nll = jax.lax.scan(step, (state.actor, state.optimiser), keys)
        return State(actor, optimiser, state.demonstrations), jnp.mean(nll)

    def _adam(self) -> optax.GradientTransformation:
        clip = optax.clip_by_global_norm(self.max_gradient_norm)
        return optax.chain(clip, optax.adam(self.learning_rate))


def create_actor(task: Task, hidden: tuple[int, ...], key: PRNGKeyArray) -> Actor:
    """A fresh policy; raises :class:`SurefootError` for continuous actions without bounds."""
    if not isinstance(task.action, Discrete):
        return SquashedGaussianPolicy.create(task, hidden, key)
    sizes = (task.observation.size, *hidden, task.action.n)
    return CategoricalPolicy(Mlp.create(sizes, key, last_scale=0.01))


def negative_log_likelihood(actor: Actor, batch: Pairs) -> Float[Array, ""]:
    """- mean_D log pi(a|s), in nats (of continuous actions scaled to [-1, 1])."""
    return -jnp.mean(actor.log_prob(batch.observation, batch.action))
