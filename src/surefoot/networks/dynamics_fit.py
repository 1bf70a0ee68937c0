"""Fitting probabilistic ensembles by maximum likelihood (Chua et al. 2018, arXiv 1805.12114).

Each member sees all transitions, in an order of its own, with targets y = (s' - s, r), scaled to mean 0 and
variance 1:

    loss = sum_e mean_batch mean_d [ (mu_e - y)^2 exp(-l_e) + l_e ]
         + 0.01 mean_e sum_d (max - min) + sum_layers c_layer |W_layer|^2 / 2

The networks for the costs, where there are some, are fitted along with them by

    sum_e mean_batch sum_j [ c_j - y_j log c_j ],    c = softplus(50 mu) / 50:

Poisson's quasi-likelihood, whose minimum is the expected cost whatever its distribution, as long as costs are
not below 0. A cost is rare, and 0 or 1; a Gaussian that may choose its width takes the ones for noise, and
squared error leaves a little cost everywhere, which over the steps of a plan adds up.

Departures from common implementations: transitions held out stay held out in every later fit; members are
compared by the share of the variance that they leave unexplained, not by errors in raw units, where the
widest entry decides; stopping early goes back to the best weights.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from surefoot.errors import SurefootError, check_range
from surefoot.networks.dynamics import Ensemble, Members
from surefoot.numerics.shuffle import Split, shuffle_keys, shuffled

WEIGHT_DECAY = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)
"""c of each layer of 4 x 200, from input to output (Chua et al.'s code)."""
NEARLY_CONSTANT = 1e-6
"""Inputs and targets with a smaller standard deviation are centred, but not scaled."""
KNEE = 50.0
"""How sharply an expected cost bends at 0: softplus(50 mu) / 50 is max(mu, 0) to within 0.014."""
TINY = 1e-8
"""Added to an expected cost before its logarithm is taken."""
CHUNK = 1024
"""Transitions at once where statistics and errors are summed."""


class Experience(eqx.Module):
    """Transitions as arrays. A replay's ``data`` has these names too and may be given in its place."""

    observation: Float[Array, "capacity obs"]
    action: Float[Array, "capacity act"]
    next_observation: Float[Array, "capacity obs"]
    reward: Float[Array, " capacity"] | None = None
    """Needed by models that predict it."""
    cost: Float[Array, "capacity costs"] | None = None
    """Needed by models that predict them."""


class Fit(eqx.Module):
    """How a model is fitted."""

    epochs: int = 5
    """M: times that each member sees every transition; the most of them where it may stop early."""
    batch_size: int = 256
    """Transitions a minibatch, for each member its own."""
    learning_rate: float = 1e-3
    """Adam's step."""
    max_minibatches: int | None = 2000
    """Most minibatches a fit, drawn uniformly from all transitions, so that its time does not grow with the
    buffer for ever; ``None`` is no limit, as in the thesis."""
    weight_decay: tuple[float, ...] = WEIGHT_DECAY
    """c of each layer, from input to output; the last one stands for those beyond."""
    bound_penalty: float = 0.01
    """Price of the width between the bounds of the log-variances."""
    scale_targets: bool = True
    """Scale changes of the state and rewards to mean 0 and variance 1; ``False`` as in Chua et al.'s code."""
    holdout: float = 0.0
    """Share of transitions that are never trained on, in [0, 0.5]; the same ones in every fit."""
    patience: int | None = None
    """Stop after more than so many epochs in a row without progress on the transitions held out, and go back
    to each member's best weights; ``None`` keeps the last weights after all epochs."""
    progress: float = 0.01
    """Share by which a member's error must fall below that of its last progress to count as progress: small
    gains add up."""
    max_holdout: int = 5000
    """Most transitions held out that an error is measured on."""

    def __check_init__(self) -> None:
        check_range("epochs", self.epochs, low=1)
        check_range("batch_size", self.batch_size, low=1)
        check_range("learning_rate", self.learning_rate, low=0, open_low=True)
        if self.max_minibatches is not None:
            check_range("max_minibatches", self.max_minibatches, low=1)
        check_range("bound_penalty", self.bound_penalty, low=0)
        check_range("holdout", self.holdout, low=0, high=0.5)
        check_range("progress", self.progress, low=0, high=1)
        check_range("max_holdout", self.max_holdout, low=1)
        if self.patience is not None:
            check_range("patience", self.patience, low=0)
            if self.holdout == 0:
                raise SurefootError("patience needs transitions held out; set holdout, say to 0.2.")

    def decay(self, layers: int) -> tuple[float, ...]:
        """c of each of so many layers."""
        given = self.weight_decay or (0.0,)
        return tuple(given[min(layer, len(given) - 1)] for layer in range(layers))


def init_optimiser(ensemble: Ensemble, settings: Fit) -> optax.OptState:
    """Adam's state; it carries over from fit to fit, as the weights do."""
    return _adam(settings).init(eqx.filter(ensemble.members, eqx.is_array))


def _adam(settings: Fit) -> optax.GradientTransformation:
    return optax.adam(settings.learning_rate)


def fit(
    ensemble: Ensemble,
    optimiser: optax.OptState,
    data: Any,
    count: Int[Array, ""] | int,
    key: PRNGKeyArray,
    settings: Fit | None = None,
) -> tuple[Ensemble, optax.OptState, dict[str, Float[Array, ""]]]:
    """Maximum likelihood on the first ``count`` transitions of ``data`` (:class:`Experience` or alike).

    Compiled once for a capacity: ``count`` may grow. Does nothing if it is 0. The statistics of inputs and
    targets are taken anew from what is trained on. Metrics: ``model_loss`` (training loss of the last epoch;
    NaN if nothing was fitted), ``model_minibatches``, ``model_epochs``, and with a holdout
    ``model_holdout_error`` (share of the variance that is left unexplained, mean over members). Raises
    :class:`SurefootError` for data that lack what the model predicts.
    """
    settings = Fit() if settings is None else settings
    check_data(ensemble, data)
    return _fit(ensemble, optimiser, data, jnp.asarray(count, jnp.int32), key, settings)


def check_data(ensemble: Ensemble, data: Any) -> None:
    """Raises :class:`SurefootError` unless ``data`` has what the model is to predict, in its sizes."""
    reward, cost = getattr(data, "reward", None), getattr(data, "cost", None)
    if data.action.ndim != 2:
        raise SurefootError("A model needs real actions [transitions, act]; these are discrete.")
    ensemble.check_sizes(data.observation.shape[-1], data.action.shape[-1])
    if ensemble.rewards and reward is None:
        raise SurefootError("The model predicts rewards, but the transitions have none.")
    if ensemble.costs and (cost is None or cost.shape[-1] != ensemble.costs):
        have = 0 if cost is None else cost.shape[-1]
        raise SurefootError(f"The model predicts {ensemble.costs} costs, but the transitions have {have}.")


class _Progress(eqx.Module):
    """Where a fit is."""

    members: Members
    optimiser: optax.OptState
    best: Members
    best_error: Float[Array, " members"]
    reference: Float[Array, " members"]
    """Error at the last progress."""
    waited: Int[Array, ""]
    """Epochs in a row without progress."""
    epochs: Int[Array, ""]
    minibatches: Int[Array, ""]
    loss: Float[Array, ""]


@eqx.filter_jit
def _fit(
    ensemble: Ensemble, optimiser: Any, data: Any, count: Array, key: PRNGKeyArray, settings: Fit
) -> tuple[Ensemble, Any, dict[str, Float[Array, ""]]]:
    size, batch, adam = ensemble.size, settings.batch_size, _adam(settings)
    split = Split.of(jnp.minimum(count, data.observation.shape[0]), settings.holdout)
    ensemble, variance = with_statistics(ensemble, data, split, settings)
    epoch_batches = -(-split.train // batch)
    limit = epoch_batches * settings.epochs
    if settings.max_minibatches is not None:
        limit = jnp.minimum(limit, settings.max_minibatches)

    def loss(members: Members, x: Array, y: Array, weight: Array) -> Array:
        return negative_log_likelihood(members, x, y, weight) + regulariser(members, settings)

    def minibatch(number: Array, carry: tuple[Any, ...], round_keys: Array) -> tuple[Any, ...]:
        members, state, total = carry
        rank = number * batch + jnp.arange(batch)
        weight = (rank < split.train).astype(jnp.float32)
        order = shuffled(rank, split.train, round_keys)
        x, y = rows(ensemble, data, split.trained(order))
        value, gradient = jax.value_and_grad(loss)(members, x, y, weight)
        step, state = adam.update(gradient, state, members)
        return eqx.apply_updates(members, step), state, total + value

    def epoch(now: _Progress) -> _Progress:
        todo = jnp.minimum(epoch_batches, limit - now.minibatches)
        round_keys = shuffle_keys(jax.random.fold_in(key, now.epochs), size)
        start = now.members, now.optimiser, jnp.zeros(())
        members, state, total = jax.lax.fori_loop(
            0, todo, lambda i, carry: minibatch(i, carry, round_keys), start
        )
        best, best_error, reference, waited = now.best, now.best_error, now.reference, now.waited
        if settings.patience is not None:
            new = eqx.tree_at(lambda e: e.members, ensemble, members)
            error = holdout_error(new, data, split, variance, settings)
            none = split.held == 0  # nothing to go by: all epochs, last weights
            progress = error < (1 - settings.progress) * reference
            reference = jnp.where(progress, error, reference)
            waited = jnp.where(jnp.any(progress) | none, 0, waited + 1)
            better = (error < best_error) | none
            best = jax.tree.map(
                lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old), members, best
            )
            best_error = jnp.minimum(error, best_error)
        epochs, minibatches = now.epochs + 1, now.minibatches + todo
        return _Progress(
            members, state, best, best_error, reference, waited, epochs, minibatches, total / todo
        )

    def more(now: _Progress) -> Array:
        going = now.minibatches < limit
        return going if settings.patience is None else going & (now.waited <= settings.patience)

    zero = jnp.zeros((), jnp.int32)
    if settings.patience is None:
        first, first_error = ensemble.members, jnp.zeros(size)
    else:
        first, first_error = ensemble.members, holdout_error(ensemble, data, split, variance, settings)
    start = _Progress(
        first, optimiser, first, first_error, first_error, zero, zero, zero, jnp.full((), jnp.nan)
    )
    done = jax.lax.while_loop(more, epoch, start)

    members = done.members if settings.patience is None else done.best
    ensemble = eqx.tree_at(lambda e: e.members, ensemble, members)
    metrics = {
        "model_loss": done.loss,
        "model_minibatches": done.minibatches.astype(jnp.float32),
        "model_epochs": done.epochs.astype(jnp.float32),
    }
    if settings.holdout:
        error = holdout_error(ensemble, data, split, variance, settings)
        elites = jnp.argsort(error)[: len(ensemble.elites)].astype(jnp.int32)
        ensemble = eqx.tree_at(lambda e: e.elites, ensemble, elites)
        metrics["model_holdout_error"] = jnp.where(split.held > 0, jnp.mean(error), jnp.nan)
    return ensemble, done.optimiser, metrics


def negative_log_likelihood(
    members: Members,
    x: Float[Array, "members batch in"],
    y: Float[Array, "members batch outputs"],
    weight: Float[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """sum_e mean_batch ( mean_d [ (mu - y)^2 exp(-l) + l ] + sum_j [ c_j - y_j log c_j ] ).

    The first is twice the negative log-likelihood of an output, up to a constant; the second that of costs,
    which are the last outputs, by Poisson's quasi-likelihood.
    """
    mean, log_variance = members(x)
    drawn = log_variance.shape[-1]
    gauss = (mean[..., :drawn] - y[..., :drawn]) ** 2 * jnp.exp(-log_variance) + log_variance
    expected = jax.nn.softplus(KNEE * mean[..., drawn:]) / KNEE
    poisson = expected - y[..., drawn:] * jnp.log(expected + TINY)
    each = jnp.mean(gauss, axis=-1) + jnp.sum(poisson, axis=-1)
    if weight is None:
        return jnp.sum(jnp.mean(each, axis=-1))
    return jnp.sum(each * weight) / jnp.maximum(jnp.sum(weight), 1.0)


def regulariser(members: Members, settings: Fit) -> Float[Array, ""]:
    """Weight decay, but for the costs' networks, and the price of wide bounds."""
    decay = settings.decay(len(members.weights))
    weights = sum(c * jnp.sum(w**2) / 2 for c, w in zip(decay, members.weights, strict=True))
    width = jnp.sum(members.max_log_variance - members.min_log_variance) / len(members.max_log_variance)
    return weights + settings.bound_penalty * width


def rows(
    ensemble: Ensemble, data: Any, index: Int[Array, "*batch"]
) -> tuple[Float[Array, "*batch in"], Float[Array, "*batch outputs"]]:
    """Normalised inputs, and targets (s' - s, r, costs) of which costs keep their unit."""
    observation = data.observation[index]
    x = jnp.concatenate([observation, data.action[index]], axis=-1)
    targets = [data.next_observation[index] - observation]
    if ensemble.rewards:
        targets.append(data.reward[index][..., None])
    x, y = (x - ensemble.input_mean) / ensemble.input_scale, jnp.concatenate(targets, axis=-1)
    y = (y - ensemble.target_mean) / ensemble.target_scale
    return x, jnp.concatenate([y, data.cost[index]], axis=-1) if ensemble.costs else y


def with_statistics(
    ensemble: Ensemble, data: Any, split: Split, settings: Fit
) -> tuple[Ensemble, Float[Array, " outputs"]]:
    """The ensemble with mean and deviation of what is trained on, and the variance of its scaled targets."""

    def statistics(e: Any) -> Any:
        return e.input_mean, e.input_scale, e.target_mean, e.target_scale

    inputs, drawn = len(ensemble.input_mean), len(ensemble.target_mean)
    raw = eqx.tree_at(
        statistics, ensemble, (jnp.zeros(inputs), jnp.ones(inputs), jnp.zeros(drawn), jnp.ones(drawn))
    )

    def mean_of(function: Any) -> Array:
        def add(chunk: Array, total: Array) -> Array:
            rank = chunk * CHUNK + jnp.arange(CHUNK)
            inside = rank < split.train
            index = split.trained(jnp.where(inside, rank, 0))
            both = jnp.concatenate(rows(raw, data, index), axis=-1)
            return total + jnp.sum(jnp.where(inside[:, None], function(both), 0.0), axis=0)

        total = jax.lax.fori_loop(
            0, -(-split.train // CHUNK), add, jnp.zeros(inputs + drawn + ensemble.costs)
        )
        return total / jnp.maximum(split.train, 1)

    mean = mean_of(lambda both: both)
    variance = mean_of(lambda both: (both - mean) ** 2)
    scaled = jnp.arange(len(mean)) < inputs + drawn * settings.scale_targets  # costs keep their unit
    mean = jnp.where(scaled, mean, 0.0)
    scale = jnp.where(scaled & (variance >= NEARLY_CONSTANT**2), jnp.sqrt(variance), 1.0)
    end = inputs + drawn
    new = mean[:inputs], scale[:inputs], mean[inputs:end], scale[inputs:end]
    new = tuple(jnp.where(split.train > 0, x, old) for x, old in zip(new, statistics(ensemble), strict=True))
    return eqx.tree_at(statistics, ensemble, new), (variance / scale**2)[inputs:]


def holdout_error(
    ensemble: Ensemble, data: Any, split: Split, variance: Float[Array, " outputs"], settings: Fit
) -> Float[Array, " members"]:
    """Mean over outputs of squared error / variance on transitions held out; 0 if there are none."""
    n = jnp.minimum(split.held, settings.max_holdout)
    variance = jnp.where(variance < NEARLY_CONSTANT**2, 1.0, variance)
    drawn = len(ensemble.target_mean)

    def add(chunk: Array, total: Array) -> Array:
        rank = chunk * CHUNK + jnp.arange(CHUNK)
        inside = rank < n
        spaced = jnp.floor(rank * (split.held / jnp.maximum(n, 1))).astype(jnp.int32)
        x, y = rows(ensemble, data, split.held_out(jnp.where(inside, spaced, 0)))
        mean, _ = ensemble.members(jnp.broadcast_to(x, (ensemble.size, *x.shape)))
        mean = mean.at[..., drawn:].set(jnp.maximum(mean[..., drawn:], 0.0))  # as costs are predicted
        error = jnp.mean((mean - y) ** 2 / variance, axis=-1)
        return total + jnp.sum(jnp.where(inside, error, 0.0), axis=-1)

    total = jax.lax.fori_loop(0, -(-n // CHUNK), add, jnp.zeros(ensemble.size))
    return total / jnp.maximum(n, 1)
