"""The cross-entropy method for sequences of actions, with or without an actor's sequences (CEM, CEM-AG).

Sikchi 2022, sections 2.4 and 2.5.5; Chua et al. 2018 (arXiv 1805.12114) for the sampling within bounds.

Box, for a mean and a variance of every entry of a sequence [H, A]; :func:`cem` follows it line by line.
  1  v' <- min(v, ((mean - low) / 2)^2, ((high - mean) / 2)^2), not below a floor
  2  n candidates mean + sqrt(v') z, with z a standard normal cut at +-2; then the proposal's own sequences.
     ``held`` of the n (LOOP sets it with limits) repeat one action instead, uniform in a box twice as wide as
     the bounds and cut to them
  3  score them; those whose score is not a number are dropped
  4  elites: the best e. With limits on costs, those that exceed them come behind those that keep them, and
     are no elites as long as any keeps them
  5  mean <- alpha mean + (1 - alpha) mean of the elites;  v <- alpha v + (1 - alpha) variance of the elites

The floor of line 1 is ours: without it an entry whose mean has come to a bound could never leave it again.
With limits the mean so far is one of the n candidates, and what is to be done is the best candidate of the
last iteration: the mean of sequences that keep a limit need not keep it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from surefoot.errors import SurefootError, check_range


class Scores(eqx.Module):
    """What an objective says of n candidates."""

    returns: Float[Array, " n"]
    """To be maximised."""
    costs: Float[Array, "n costs"] | None = None
    """To be kept within limits."""
    aux: Any = None
    """Anything else that is to come out of the search; each array gets the iterations as its first axis."""


Objective = Callable[[Float[Array, "n horizon act"], PRNGKeyArray], Scores | Float[Array, " n"]]
"""(candidates, key) -> scores, or returns alone; a pure function, which may ignore the key."""


class Proposal(eqx.Module):
    """Where a search starts."""

    mean: Float[Array, "horizon act"]
    low: Float[Array, " act"]
    high: Float[Array, " act"]
    variance: Float[Array, "horizon act"] | None = None
    """((high - low) / 4)^2 of each entry if not given."""
    extra: Float[Array, "m horizon act"] | None = None
    """Sequences that are candidates in every iteration: an actor's, for CEM-AG."""


def middle(
    low: Float[Array, " act"], high: Float[Array, " act"], horizon: int
) -> Float[Array, "horizon act"]:
    """The mean to start with where nothing is known: the middle of the bounds."""
    return jnp.broadcast_to((jnp.asarray(low) + jnp.asarray(high)) / 2, (horizon, len(low)))


def shifted(mean: Float[Array, "*batch horizon act"]) -> Float[Array, "*batch horizon act"]:
    """The warm start one step later: without its first action, the last one repeated."""
    return jnp.concatenate([mean[..., 1:, :], mean[..., -1:, :]], axis=-2)


class Cem(eqx.Module):
    """How the search goes."""

    population: int = 100
    """n: candidates drawn in each iteration (thesis, Table 2.2)."""
    elites: int = 20
    """e: how many of the best make the next mean and variance."""
    iterations: int = 5
    """N: rounds of drawing and choosing."""
    smoothing: float = 0.25
    """alpha, in [0, 1]."""
    smoothing_on: Literal["old", "new"] = "old"
    """Whether alpha weighs the old statistics (Chua et al.'s code) or the new ones (Eq. 2.4 as printed)."""
    smooth_mean: bool = True
    """Whether the mean is smoothed as well; otherwise it is replaced by that of the elites."""
    floor: float = 0.01
    """Least deviation that the bounds may press an entry to, as a share of its range."""
    held: int = 0
    """So many of the population hold one action from beginning to end: ways out that lie far from the mean,
    for searches with limits. It is drawn uniformly from a box twice as wide as the bounds and cut to them, so
    that each entry is at a bound half of the time, where the strongest brake is."""

    def __check_init__(self) -> None:
        check_range("population", self.population, low=1)
        check_range("elites", self.elites, low=1)
        check_range("iterations", self.iterations, low=1)
        check_range("smoothing", self.smoothing, low=0, high=1)
        check_range("floor", self.floor, low=0, high=1)
        check_range("held", self.held, low=0, high=self.population)
        if self.smoothing_on not in ("old", "new"):
            raise SurefootError(f"smoothing_on = '{self.smoothing_on}': give 'old' or 'new'.")


class Plan(eqx.Module):
    """What a search finds."""

    actions: Float[Array, "horizon act"]
    """What is to be done: the mean; with limits the best candidate of the last iteration."""
    mean: Float[Array, "horizon act"]
    variance: Float[Array, "horizon act"]
    elite_return: Float[Array, ""]
    """Mean return of the last iteration's elites."""
    usage: Float[Array, ""]
    """Share of the proposal's own sequences that are among the elites, mean over iterations (thesis, Figure
    2.7); elites / candidates if they are no better than the others, NaN if there are none."""
    frozen: Float[Array, ""]
    """Share of entries whose spread a bound had pressed to the floor, mean over iterations."""
    dropped: Float[Array, ""]
    """Candidates of all iterations without a finite score."""
    feasible: Float[Array, ""]
    """Share of candidates that keep the limits, mean over iterations; 1 without limits."""
    aux: Any = None
    """The objective's ``aux`` of every iteration."""

    @property
    def action(self) -> Float[Array, " act"]:
        """The first action, to be executed."""
        return self.actions[0]

    @property
    def metrics(self) -> dict[str, Float[Array, ""]]:
        """What can be logged."""
        names = ("elite_return", "usage", "frozen", "dropped", "feasible")
        return {f"plan_{name}": getattr(self, name) for name in names}


def cem(
    objective: Objective,
    proposal: Proposal,
    key: PRNGKeyArray,
    settings: Cem | None = None,
    *,
    limits: Float[Array, " costs"] | tuple[float, ...] | None = None,
) -> Plan:
    """The best sequence of actions for ``objective``, by the box above.

    Args:
        objective: a pure function of the candidates ``[n, H, A]`` and a key.
        proposal: mean, bounds and further sequences.
        key: consumed for candidates, and handed to the objective, anew in each iteration.
        settings: see :class:`Cem`.
        limits: largest cost that is allowed, one a cost; the objective must then give ``costs``.

    Batched by ``jax.vmap`` over proposals and keys. If every candidate is dropped, mean and variance stay.

    >>> goal = jnp.array([0.3, -0.6])
    >>> far = lambda actions, key: -jnp.sum((actions - goal) ** 2, axis=(1, 2))
    >>> low, high = jnp.full(2, -1.0), jnp.full(2, 1.0)
    >>> plan = cem(far, Proposal(middle(low, high, 3), low, high), jax.random.key(0), Cem(iterations=20))
    >>> [round(float(x), 1) for x in plan.action]
    [0.3, -0.6]

    Raises:
        SurefootError: more elites than candidates, a horizon of 0, bounds that are not finite, or limits that
            do not fit the costs.
    """
    settings = Cem() if settings is None else settings
    extra = proposal.mean[None][:0] if proposal.extra is None else proposal.extra
    n = settings.population + len(extra)
    check_proposal(proposal, settings)
    span = proposal.high - proposal.low
    variance = jnp.broadcast_to((span / 4) ** 2, proposal.mean.shape)
    if proposal.variance is not None:
        variance = proposal.variance
    usable = jnp.isfinite(extra)
    limits = None if limits is None else jnp.asarray(limits)

    def iteration(
        carry: tuple[Array, Array], key: PRNGKeyArray
    ) -> tuple[tuple[Array, Array], tuple[Any, ...]]:
        mean, variance = carry
        key_draw, key_score = jax.random.split(key)
        spread, frozen = within_bounds(mean, variance, proposal.low, proposal.high, settings.floor)  # 1
        z = jax.random.truncated_normal(key_draw, -2.0, 2.0, (settings.population, *mean.shape))
        drawn = mean + jnp.sqrt(spread) * z  # 2
        if settings.held:
            shape = (settings.held, 1, mean.shape[1])
            key_held = jax.random.fold_in(key_draw, 1)
            wide = proposal.low - span / 2, proposal.high + span / 2
            one = jax.random.uniform(key_held, shape, minval=wide[0], maxval=wide[1])
            drawn = jnp.concatenate([drawn[settings.held :], jnp.broadcast_to(one, (len(one), *mean.shape))])
        if limits is not None:
            drawn = drawn.at[0].set(mean)
        candidates = jnp.concatenate([drawn, jnp.where(usable, extra, mean)])
        candidates = jnp.clip(candidates, proposal.low, proposal.high)
        scores = _scores(objective(candidates, key_score), n, limits)  # 3
        valid = jnp.isfinite(scores.returns) & jnp.isfinite(excess(scores, limits))
        whole = jnp.all(usable, axis=(1, 2))
        valid &= jnp.concatenate([jnp.ones(settings.population, bool), whole])
        best = ranking(scores, limits, valid)[: settings.elites]  # 4
        keeps = valid & (excess(scores, limits) <= 0)
        counts = jnp.where(jnp.any(keeps), keeps, valid)
        weight = counts[best].astype(mean.dtype)
        some = jnp.sum(weight) > 0
        new_mean, new_variance = moments(candidates[best], weight)
        alpha = settings.smoothing if settings.smoothing_on == "old" else 1 - settings.smoothing
        kept = alpha if settings.smooth_mean else 0.0
        new_mean = jnp.clip(kept * mean + (1 - kept) * new_mean, proposal.low, proposal.high)  # rounding
        after = (  # 5
            jnp.where(some, new_mean, mean),
            jnp.where(some, alpha * variance + (1 - alpha) * new_variance, variance),
        )
        elite_return = jnp.sum(jnp.where(weight > 0, scores.returns[best], 0.0)) / jnp.sum(weight)
        used = jnp.sum((best >= settings.population) & (weight > 0)) / max(len(extra), 1)
        kept_limits = jnp.mean(excess(scores, limits) <= 0)
        first = jnp.where(some, candidates[best[0]], mean)
        return after, (first, elite_return, used, frozen, jnp.sum(~valid), kept_limits, scores.aux)

    keys = jax.random.split(key, settings.iterations)
    (mean, variance), seen = jax.lax.scan(iteration, (proposal.mean, variance), keys)
    first, elite_return, used, frozen, dropped, feasible, aux = seen
    usage = jnp.mean(used) if len(extra) else jnp.full((), jnp.nan)
    return Plan(
        mean if limits is None else first[-1],
        mean,
        variance,
        elite_return[-1],
        usage,
        jnp.mean(frozen),
        jnp.sum(dropped).astype(jnp.float32),
        jnp.mean(feasible),
        aux,
    )


def within_bounds(
    mean: Float[Array, "horizon act"],
    variance: Float[Array, "horizon act"],
    low: Float[Array, " act"],
    high: Float[Array, " act"],
    floor: float,
) -> tuple[Float[Array, "horizon act"], Float[Array, ""]]:
    """v' of line 1, and the share of entries that are at the floor for being near a bound."""
    to_bound = jnp.minimum((mean - low) ** 2, (high - mean) ** 2) / 4
    least = jnp.minimum((floor * (high - low)) ** 2, variance)
    return jnp.maximum(jnp.minimum(to_bound, variance), least), jnp.mean(to_bound < least)


def excess(scores: Scores, limits: Float[Array, " costs"] | None) -> Float[Array, " n"]:
    """By how much each candidate's costs exceed their limits, summed over the costs."""
    if limits is None or scores.costs is None:
        return jnp.zeros_like(scores.returns)
    return jnp.sum(jnp.maximum(scores.costs - limits, 0.0), axis=-1)


def ranking(
    scores: Scores, limits: Float[Array, " costs"] | None, valid: Bool[Array, " n"]
) -> Int[Array, " n"]:
    """Numbers of the candidates, best first.

    Those that keep the limits by return; then those that do not, by excess (return decides between equals);
    then those that are not valid.
    """
    over = jnp.where(valid, excess(scores, limits), 0.0)
    worth = jnp.where(valid, scores.returns, 0.0)
    return jnp.lexsort((-worth, over, ~valid))


def moments(
    chosen: Float[Array, "e horizon act"], weight: Float[Array, " e"]
) -> tuple[Float[Array, "horizon act"], Float[Array, "horizon act"]]:
    """Mean and variance (divided by their number) of those with weight 1; zeros if there are none."""
    weight = (weight / jnp.maximum(jnp.sum(weight), 1.0))[:, None, None]
    mean = jnp.sum(weight * chosen, axis=0)
    return mean, jnp.sum(weight * (chosen - mean) ** 2, axis=0)


def _scores(given: Scores | Array, n: int, limits: Array | None) -> Scores:
    scores = given if isinstance(given, Scores) else Scores(given)
    if scores.returns.shape != (n,):
        raise SurefootError(
            f"The objective must give one return a candidate, [{n}]; it gave {scores.returns.shape}."
        )
    if limits is None:
        return scores
    if scores.costs is None:
        raise SurefootError("There are limits on costs, but the objective gives none.")
    if scores.costs.shape != (n, *limits.shape):
        raise SurefootError(
            f"The objective must give one cost a limit, {(n, *limits.shape)}; it gave {scores.costs.shape}."
        )
    return scores


def check_proposal(proposal: Proposal, settings: Cem) -> None:
    """Raises :class:`SurefootError` if the search could not work: see :func:`cem`."""
    if proposal.mean.ndim != 2 or not proposal.mean.shape[0]:
        raise SurefootError(f"A plan needs a horizon of at least 1; the mean is {proposal.mean.shape}.")
    extra = 0 if proposal.extra is None else len(proposal.extra)
    if settings.elites > settings.population + extra:
        raise SurefootError(
            f"elites = {settings.elites} is more than the {settings.population + extra} candidates; "
            "raise population or lower elites."
        )
    for bound in (proposal.low, proposal.high):
        if not isinstance(bound, Tracer) and not np.all(np.isfinite(np.asarray(bound))):
            raise SurefootError(
                "Planning needs actions with finite bounds; wrap the environment in ClipAction."
            )
