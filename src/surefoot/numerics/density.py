"""Densities over states: given ones, sums and products of them, and estimates from samples.

A density says how often a state should be visited, in place of demonstrations::

    Gaussian((2.0, 2.0), 0.5)                                          one hill
    Mixture((Gaussian((1, 3), 0.3), Gaussian((3, 1), 0.3)))            two of them
    Product((Gaussian((2.0, 2.0), 0.5), OutsideDisc((1.0, 1.0), 0.3))) a hill, and never near (1, 1)
    Function("python:mine.log_density")                                any function written with jax.numpy

``log_prob`` takes points ``[..., d]`` and returns the natural logarithm, ``[...]``; it is ``-inf`` where the
density is zero. Given densities hold plain numbers only, so that each can be written down as text and made
again from it, see :mod:`surefoot.numerics.density_text`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from surefoot._importing import compiling, find
from surefoot.errors import SurefootError, check_range, unknown


@runtime_checkable
class Density(Protocol):
    """A density over vectors of ``d`` numbers."""

    @property
    def size(self) -> int | None:
        """d; ``None`` if any number will do."""
        ...

    @property
    def normalised(self) -> bool:
        """Whether it is known to integrate to one."""
        ...

    def log_prob(self, points: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        """Natural logarithm of the density, up to a constant if it is not normalised."""
        ...


def _numbers(values: Any) -> tuple[float, ...]:
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise SurefootError(f"{values!r} is not a vector of numbers, such as (2.0, 2.0).") from None


def _number_or_numbers(value: Any) -> float | tuple[float, ...] | None:
    return value if value is None else float(value) if np.ndim(value) == 0 else _numbers(value)


def _rows(values: Any) -> tuple[tuple[float, ...], ...] | None:
    if values is None:
        return None
    try:
        rows = tuple(map(_numbers, values))
    except (TypeError, SurefootError):
        raise SurefootError(f"{values!r} is not a matrix, such as ((1.0, 0.2), (0.2, 0.5)).") from None
    if len({len(row) for row in rows}) != 1:
        raise SurefootError(f"{values!r} is not a matrix: its rows are not equally long.")
    return rows


def _together(parts: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(parts)


class Gaussian(eqx.Module):
    """A normal distribution: with a standard deviation, or with a covariance matrix."""

    mean: tuple[float, ...] = eqx.field(converter=_numbers)
    std: float | tuple[float, ...] | None = eqx.field(converter=_number_or_numbers, default=None)
    """Standard deviation of independent coordinates: one for all, or one for each."""
    covariance: tuple[tuple[float, ...], ...] | None = eqx.field(converter=_rows, default=None)
    """In the place of ``std``: a matrix ``[d, d]``, symmetric and positive definite."""

    normalised: ClassVar[bool] = True

    def __check_init__(self) -> None:
        _check_finite("mean", self.mean)
        if (self.std is None) == (self.covariance is None):
            raise SurefootError("A Gaussian needs a std or a covariance, one of the two.")
        if self.covariance is not None:
            _check_covariance(self.covariance, self.size)
            return
        for value in self.spread:
            check_range("std", value, low=0, high=math.inf, open_low=True, open_high=True)
        if len(self.spread) != self.size:
            raise SurefootError(
                f"A mean of {self.size} numbers needs one std or {self.size}, not {len(self.spread)}."
            )

    @property
    def size(self) -> int:
        return len(self.mean)

    @property
    def spread(self) -> tuple[float, ...]:
        """Standard deviation of each coordinate."""
        if self.covariance is not None:
            return tuple(math.sqrt(row[i]) for i, row in enumerate(self.covariance))
        return self.std if isinstance(self.std, tuple) else (cast("float", self.std),) * self.size

    def log_prob(self, points: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        _check_size(self, points)
        away = points - jnp.asarray(self.mean)
        if self.covariance is None:
            scale = jnp.asarray(self.spread)
            z = away / scale
        else:
            root = jnp.asarray(_root(self.covariance))
            scale = jnp.diagonal(root)
            z = jax.scipy.linalg.solve_triangular(root, away.reshape(-1, self.size).T, lower=True)
            z = z.T.reshape(away.shape)
        return -jnp.sum(0.5 * z**2 + jnp.log(scale) + 0.5 * math.log(2 * math.pi), axis=-1)

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n d"]:
        """``n`` independent points."""
        noise = jax.random.normal(key, (n, self.size))
        if self.covariance is None:
            return jnp.asarray(self.mean) + jnp.asarray(self.spread) * noise
        return jnp.asarray(self.mean) + noise @ jnp.asarray(_root(self.covariance)).T


class UniformBox(eqx.Module):
    """Constant within a box (bounds included), zero outside."""

    low: tuple[float, ...] = eqx.field(converter=_numbers)
    high: tuple[float, ...] = eqx.field(converter=_numbers)

    normalised: ClassVar[bool] = True

    def __check_init__(self) -> None:
        _check_box(self.low, self.high)

    @property
    def size(self) -> int:
        return len(self.low)

    def log_prob(self, points: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        volume = math.prod(high - low for low, high in zip(self.low, self.high, strict=True))
        return jnp.where(_within(self, points), -math.log(volume), -jnp.inf)

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n d"]:
        """``n`` independent points."""
        low, high = jnp.asarray(self.low), jnp.asarray(self.high)
        return jax.random.uniform(key, (n, self.size), minval=low, maxval=high)


class OutsideDisc(eqx.Module):
    """'Never here': zero within a disc (a ball, in more dimensions), one elsewhere.

    Not normalised, and of no use alone: a factor of a :class:`Product`.
    """

    centre: tuple[float, ...] = eqx.field(converter=_numbers)
    radius: float = eqx.field(converter=float)

    normalised: ClassVar[bool] = False

    def __check_init__(self) -> None:
        _check_finite("centre", self.centre)
        check_range("radius", self.radius, low=0, open_low=True)

    @property
    def size(self) -> int:
        return len(self.centre)

    def log_prob(self, points: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        _check_size(self, points)
        inside = jnp.sum((points - jnp.asarray(self.centre)) ** 2, axis=-1) <= self.radius**2
        return jnp.where(inside, -jnp.inf, 0.0)


class OutsideBox(eqx.Module):
    """'Never here': zero within a box, one elsewhere. A factor of a :class:`Product`."""

    low: tuple[float, ...] = eqx.field(converter=_numbers)
    high: tuple[float, ...] = eqx.field(converter=_numbers)

    normalised: ClassVar[bool] = False

    def __check_init__(self) -> None:
        _check_box(self.low, self.high)

    @property
    def size(self) -> int:
        return len(self.low)

    def log_prob(self, points: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        return jnp.where(_within(self, points), -jnp.inf, 0.0)


class InsideDisc(eqx.Module):
    """'Only here': one within a disc (or ball), zero elsewhere. A factor of a :class:`Product`."""

    centre: tuple[float, ...] = eqx.field(converter=_numbers)
    radius: float = eqx.field(converter=float)

    normalised: ClassVar[bool] = False

    def __check_init__(self) -> None:
        _check_finite("centre", self.centre)
        check_range("radius", self.radius, low=0, open_low=True)

    @property
    def size(self) -> int:
        return len(self.centre)

    def log_prob(self, points: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        _check_size(self, points)
        inside = jnp.sum((points - jnp.asarray(self.centre)) ** 2, axis=-1) <= self.radius**2
        return jnp.where(inside, 0.0, -jnp.inf)


_REGIONS = (OutsideDisc, OutsideBox, InsideDisc)
"""Densities that are one or zero."""


class Mixture(eqx.Module):
    """One of several densities, chosen with a probability proportional to its weight."""

    parts: tuple[Any, ...] = eqx.field(converter=_together)
    weights: tuple[float, ...] = eqx.field(converter=_numbers, default=())
    """Each above 0; scaled to sum to one. All the same if left out."""

    def __check_init__(self) -> None:
        _check_parts(self, self.parts)
        _check_weights(self.parts, self.weights)
        if not all(part.normalised for part in self.parts):
            raise SurefootError(
                "The parts of a Mixture must integrate to one, or its weights mean nothing; "
                "normalise() them, or take a Sum."
            )

    normalised: ClassVar[bool] = True

    @property
    def size(self) -> int | None:
        return _common_size(self.parts)

    @property
    def shares(self) -> tuple[float, ...]:
        """The weights, scaled to sum to one."""
        weights = self.weights or (1.0,) * len(self.parts)
        return tuple(weight / sum(weights) for weight in weights)

    def log_prob(self, points: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        return _log_sum(self.parts, self.shares, points)

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n d"]:
        """``n`` independent points; raises :class:`SurefootError` if a part cannot be drawn from."""
        key_choice, *keys = jax.random.split(key, len(self.parts) + 1)
        drawn = jnp.stack([_sampler(part)(k, n) for part, k in zip(self.parts, keys, strict=True)])
        choice = jax.random.choice(key_choice, len(self.parts), (n,), p=jnp.asarray(self.shares))
        return drawn[choice, jnp.arange(n)]


class Sum(eqx.Module):
    """Weighted sum of densities, not normalised."""

    parts: tuple[Any, ...] = eqx.field(converter=_together)
    weights: tuple[float, ...] = eqx.field(converter=_numbers, default=())
    """Each above 0; one each if left out."""

    normalised: ClassVar[bool] = False

    def __check_init__(self) -> None:
        _check_parts(self, self.parts)
        _check_weights(self.parts, self.weights)

    @property
    def size(self) -> int | None:
        return _common_size(self.parts)

    def log_prob(self, points: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        return _log_sum(self.parts, self.weights or (1.0,) * len(self.parts), points)


class Product(eqx.Module):
    """Product of densities, not normalised: what is zero in one is zero in all."""

    parts: tuple[Any, ...] = eqx.field(converter=_together)

    normalised: ClassVar[bool] = False

    def __check_init__(self) -> None:
        _check_parts(self, self.parts)

    @property
    def size(self) -> int | None:
        return _common_size(self.parts)

    def log_prob(self, points: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        logs = [part.log_prob(points) for part in self.parts]
        # A factor that is zero wins over one that is infinite.
        return jnp.where(jnp.any(jnp.isneginf(jnp.stack(logs)), axis=0), -jnp.inf, sum(logs))

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n d"]:
        """``n`` independent points, by rejection: for one density times regions that are one or zero.

        Raises :class:`SurefootError` for other products. Points are NaN if hardly any of its draws lie
        where the product is not zero.
        """
        drawable = [part for part in self.parts if not isinstance(part, _REGIONS)]
        if len(drawable) != 1:
            raise SurefootError("A Product can be drawn from only if all its parts but one are regions.")
        draw = _sampler(drawable[0])

        def again(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
            drawn, filled, tries, key = state
            key, key_draw = jax.random.split(key)
            points = draw(key_draw, n)
            good = self.log_prob(points) > -jnp.inf
            rows = jnp.where(good, filled + jnp.cumsum(good) - 1, n)  # row n does not exist: dropped
            return drawn.at[rows].set(points, mode="drop"), filled + jnp.sum(good), tries + 1, key

        start = (jnp.full(_shape_of(draw, n), jnp.nan), jnp.zeros((), int), jnp.zeros((), int), key)
        return jax.lax.while_loop(lambda s: (s[1] < n) & (s[2] < 1_000), again, start)[0]


class Scaled(eqx.Module):
    """A density times a constant, by the logarithm of the constant; :func:`normalise` makes it.

    It counts as normalised: who makes one says so. (Those of ``reacher/...`` are truncated and not made
    larger, as in Ni et al. 2020.)
    """

    part: Any
    log_scale: float = eqx.field(converter=float)

    normalised: ClassVar[bool] = True

    @property
    def size(self) -> int | None:
        return self.part.size

    def log_prob(self, points: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        return self.part.log_prob(points) + self.log_scale

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n d"]:
        """``n`` independent points; raises :class:`SurefootError` if the part cannot be drawn from."""
        return _sampler(self.part)(key, n)


class Function(eqx.Module):
    """A density that is the user's own function: points ``[n, d]`` to ``[n]``, written with ``jax.numpy``."""

    path: str | Callable[[Array], Array]
    """``"python:MODULE.FUNCTION"``, or the function itself."""
    gives: str = "log"
    """Whether it returns the logarithm (log) or the density itself (density)."""
    normalised: bool = False
    """Whether it integrates to one."""
    size: int | None = None
    """d, if it is fixed."""

    def __check_init__(self) -> None:
        if self.gives not in ("log", "density"):
            raise unknown("value of gives", self.gives, ("log", "density"))
        if isinstance(self.path, str):
            imported(self.path)

    def log_prob(self, points: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        function = imported(self.path) if isinstance(self.path, str) else self.path
        with compiling(f"The density {self.path}"):
            values = jnp.asarray(function(points.reshape(-1, points.shape[-1])))
        batch = points.shape[:-1]
        if values.shape != (math.prod(batch),):
            raise SurefootError(
                f"The density {self.path} returned {values.shape} for {math.prod(batch)} points; "
                "it must return one number a point."
            )
        values = values.reshape(batch)
        return values if self.gives == "log" else jnp.log(values)  # a negative density becomes NaN


class Kde(eqx.Module):
    """Kernel density estimate: the mean of one kernel around each of ``n`` points.

        rho(x) = (1 / n) sum_i K(|x - x_i| / b) / b^d
        epanechnikov:  K(r) = c (1 - r^2) for r < 1,   c = (d + 2) / (2 V_d),  V_d the volume of the unit ball
        gaussian:      K(r) = (2 pi)^(-d/2) exp(-r^2 / 2)

    An Epanechnikov estimate is zero, its logarithm ``-inf``, further than ``b`` from all points. Memory is
    linear in the number of points, see :func:`_kernel_sums`.
    """

    points: Float[Array, "n d"]
    bandwidth: float
    """b, in the unit of the points."""
    kernel: str = "epanechnikov"
    """epanechnikov or gaussian."""

    normalised: ClassVar[bool] = True

    def __check_init__(self) -> None:
        check_range("bandwidth", self.bandwidth, low=0, open_low=True)
        if self.kernel not in ("epanechnikov", "gaussian"):
            raise unknown("kernel", self.kernel, ("epanechnikov", "gaussian"))
        if self.points.ndim != 2 or 0 in self.points.shape:
            raise SurefootError(f"A KDE needs points [n, d], at least one, not of shape {self.points.shape}.")

    @property
    def size(self) -> int:
        return self.points.shape[1]

    def log_prob(self, points: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        _check_size(self, points)
        n, d = self.points.shape
        b, epanechnikov = self.bandwidth, self.kernel == "epanechnikov"
        sums = _kernel_sums(
            points.reshape(-1, d) / b,
            self.points / b,
            (lambda r2: jnp.maximum(1.0 - r2, 0.0)) if epanechnikov else (lambda r2: jnp.exp(-0.5 * r2)),
            1.0 if epanechnikov else math.inf,
        )
        volume = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
        constant = (d + 2) / (2 * volume) if epanechnikov else (2 * math.pi) ** (-d / 2)
        return jnp.log(sums).reshape(points.shape[:-1]) + math.log(constant / n) - d * math.log(b)

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n d"]:
        """``n`` independent points: one of the given ones, moved by a draw of the kernel."""
        key_row, key_kernel = jax.random.split(key)
        centre = self.points[jax.random.randint(key_row, (n,), 0, len(self.points))]
        if self.kernel == "gaussian":
            return centre + self.bandwidth * jax.random.normal(key_kernel, centre.shape)
        # The first d of d + 4 coordinates of a point uniform on the unit sphere have density ~ 1 - r^2.
        sphere = jax.random.normal(key_kernel, (n, self.size + 4))
        sphere = sphere / jnp.linalg.norm(sphere, axis=1, keepdims=True)
        return centre + self.bandwidth * sphere[:, : self.size]


_QUERIES, _CHUNK = 128, 128
"""Points that are evaluated together, and centres that they see together: fast on a CPU."""


def _kernel_sums(
    queries: Float[Array, "m d"],
    centres: Float[Array, "n d"],
    kernel: Callable[[Array], Array],
    reach: float,
) -> Float[Array, " m"]:
    """For each query the sum over all centres of ``kernel(squared distance)``.

    Both sets are sorted by their first coordinate; a block of queries looks only at the centres whose first
    coordinate is within ``reach``, chunk after chunk. Nothing of size m times n is ever made. For 30,000
    points this was measured 4 to 20 times faster than looking at all of them.
    """
    m, d = queries.shape
    order = jnp.argsort(queries[:, 0])
    blocks = jnp.pad(queries[order], ((0, -m % _QUERIES), (0, 0)), mode="edge").reshape(-1, _QUERIES, d)
    # A window may begin at the last centre: behind them a whole chunk infinitely far away.
    columns = jnp.pad(centres[jnp.argsort(centres[:, 0])].T, ((0, 0), (0, _CHUNK)), constant_values=jnp.inf)

    def block(points: Float[Array, "block d"]) -> Float[Array, " block"]:
        start = jnp.searchsorted(columns[0], points[0, 0] - reach)
        stop = jnp.minimum(jnp.searchsorted(columns[0], points[-1, 0] + reach, side="right"), len(centres))

        def add(i: Array, total: Array) -> Array:
            window = jax.lax.dynamic_slice(columns, (0, start + i * _CHUNK), (d, _CHUNK))
            squared = jnp.zeros((_QUERIES, _CHUNK))
            for x, centre in zip(points.T, window, strict=True):
                squared += (x[:, None] - centre) ** 2
            return total + jnp.sum(kernel(squared), axis=1)

        return jax.lax.fori_loop(0, (stop - start + _CHUNK - 1) // _CHUNK, add, jnp.zeros(_QUERIES))

    sums = jax.lax.map(block, blocks).reshape(-1)[:m]
    return jnp.zeros(m).at[order].set(sums)


# Constants and checks --------------------------------------------------------------------------------


def normalise(
    density: Any, low: Iterable[float | int], high: Iterable[float | int], *, cells: int = 400
) -> Scaled:
    """``density`` times the constant that makes it integrate to one over a box.

    By the midpoint rule with ``cells`` cells per side (at most 100 in three dimensions). What lies outside
    the box is taken as nothing. Raises :class:`SurefootError` for more than three dimensions, bounds that are
    not finite and increasing, or a density that integrates to 0 or infinity over the box.
    """
    low, high = _numbers(low), _numbers(high)
    _check_box(low, high)
    if len(low) > 3:
        raise SurefootError("normalise() integrates over three dimensions at most.")
    points = grid(low, high, cells if len(low) < 3 else min(cells, 100))
    cell = math.prod(b - a for a, b in zip(low, high, strict=True)) / len(points)
    logs = density.log_prob(jnp.asarray(points))
    log_total = float(jax.scipy.special.logsumexp(logs)) + math.log(cell)
    if not math.isfinite(log_total):
        raise SurefootError(
            f"The density integrates to {math.exp(log_total):g} over the box {low} to {high}."
        )
    return Scaled(density, -log_total)


def grid(low: Iterable[float | int], high: Iterable[float | int], cells: int) -> np.ndarray:
    """Middles of the cells of a regular grid over a box, ``[cells^d, d]`` float32, the last axis fastest."""
    axes = [a + (np.arange(cells) + 0.5) * (b - a) / cells for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes)).astype(np.float32)


def extent(density: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Low and high bounds ``[d]`` of where a density lies, to draw it; ``None`` if it does not say.

    Four standard deviations around a Gaussian; around several densities what holds them all, or what a
    product of them has in common; nothing is known of a function, or of a region that is left out.
    """
    if isinstance(density, Scaled):
        return extent(density.part)
    if isinstance(density, Gaussian):
        mean, reach = np.asarray(density.mean), 4 * np.asarray(density.spread)
        return mean - reach, mean + reach
    if isinstance(density, UniformBox):
        return np.asarray(density.low), np.asarray(density.high)
    if isinstance(density, InsideDisc):
        return np.asarray(density.centre) - density.radius, np.asarray(density.centre) + density.radius
    if isinstance(density, Kde):
        points, reach = np.asarray(density.points), (1 if density.kernel == "epanechnikov" else 4)
        return points.min(axis=0) - reach * density.bandwidth, points.max(axis=0) + reach * density.bandwidth
    if not isinstance(density, Mixture | Sum | Product):
        return None
    found = [each for each in map(extent, density.parts) if each is not None]
    lows, highs = [low for low, _ in found], [high for _, high in found]
    if isinstance(density, Product):
        if not found or (np.max(lows, axis=0) >= np.min(highs, axis=0)).any():
            return None
        return np.max(lows, axis=0), np.min(highs, axis=0)
    return (np.min(lows, axis=0), np.max(highs, axis=0)) if len(found) == len(density.parts) else None


def check_density(density: Any, size: int, points: np.ndarray, everywhere: bool = True) -> None:
    """Raises :class:`SurefootError` unless the density is one over vectors of ``size`` numbers.

    ``points [n, size]`` are places where states can be: it must be a number at each of them, and above zero
    at one of them at least, if they are spread ``everywhere`` that a state can be.
    """
    if density.size not in (None, size):
        raise SurefootError(
            f"The density is one over {density.size} numbers, but {size} numbers of the state are chosen; "
            "set state_indices, such as (0, 1)."
        )
    logs = np.asarray(density.log_prob(jnp.asarray(points, jnp.float32)))
    wrong = np.flatnonzero(np.isnan(logs) | np.isposinf(logs))
    if len(wrong):
        what = "negative or not a number (NaN)" if np.isnan(logs[wrong[0]]) else "infinite"
        place = ", ".join(f"{x:.4g}" for x in points[wrong[0]])
        raise SurefootError(
            f"The density is {what} at ({place}), and at {len(wrong)} of {len(points)} states "
            "that were tried; it must be 0 or above everywhere."
        )
    if everywhere and np.isneginf(logs).all():
        raise SurefootError(
            f"The density is zero at all of {len(points)} states that were tried, so nothing can be learned "
            "from it; check its units and place."
        )


def _sampler(density: Any) -> Callable[[PRNGKeyArray, int], Array]:
    if not hasattr(density, "sample"):
        raise SurefootError(f"Nothing can be drawn from a {type(density).__name__}.")
    return density.sample


def _shape_of(draw: Callable[[PRNGKeyArray, int], Array], n: int) -> tuple[int, ...]:
    return jax.eval_shape(lambda key: draw(key, n), jax.random.key(0)).shape


def _log_sum(parts: tuple[Any, ...], weights: tuple[float, ...], points: Array) -> Array:
    logs = [math.log(weight) + part.log_prob(points) for part, weight in zip(parts, weights, strict=True)]
    return jax.scipy.special.logsumexp(jnp.stack(logs), axis=0)


def _within(box: UniformBox | OutsideBox, points: Array) -> Array:
    _check_size(box, points)
    return jnp.all((points >= jnp.asarray(box.low)) & (points <= jnp.asarray(box.high)), axis=-1)


def _common_size(parts: tuple[Any, ...]) -> int | None:
    return next((part.size for part in parts if part.size is not None), None)


def _check_size(density: Any, points: Array) -> None:
    if points.shape[-1] != density.size:
        raise SurefootError(
            f"A {type(density).__name__} over {density.size} numbers was asked about points of "
            f"{points.shape[-1]}."
        )


def _check_parts(whole: Any, parts: tuple[Any, ...]) -> None:
    name = type(whole).__name__
    if not parts:
        raise SurefootError(f"A {name} needs at least one density.")
    for part in parts:
        if not isinstance(part, Density):
            raise SurefootError(f"A {name} is made of densities, not of a {type(part).__name__}.")
    sizes = {part.size for part in parts} - {None}
    if len(sizes) > 1:
        raise SurefootError(f"The densities of a {name} are over {sorted(sizes)} numbers; give all the same.")


def _check_weights(parts: tuple[Any, ...], weights: tuple[float, ...]) -> None:
    if len(weights) not in (0, len(parts)):
        raise SurefootError(f"{len(parts)} densities need as many weights, not {len(weights)}.")
    for weight in weights:
        check_range("weight", weight, low=0, high=math.inf, open_low=True, open_high=True)


def _check_box(low: tuple[float, ...], high: tuple[float, ...]) -> None:
    if len(low) != len(high) or not low:
        raise SurefootError(f"low = {low} and high = {high}: give as many numbers in each, at least one.")
    if not all(map(math.isfinite, low + high)):
        raise SurefootError(
            f"A box from {low} to {high} has no bound on some side; a density over it needs finite bounds."
        )
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise SurefootError(f"low = {low} must be below high = {high} in every entry.")


def _check_covariance(covariance: tuple[tuple[float, ...], ...], size: int) -> None:
    matrix = np.asarray(covariance)
    if matrix.shape != (size, size):
        raise SurefootError(
            f"A mean of {size} numbers needs a covariance {(size, size)}, not {matrix.shape}."
        )
    if not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T, rtol=1e-6, atol=0):
        raise SurefootError(f"covariance = {covariance} must be symmetric, all of it finite.")
    if np.linalg.eigvalsh(matrix)[0] <= 0:
        raise SurefootError(
            f"covariance = {covariance} must be positive definite: some direction has no variance."
        )


def _root(covariance: tuple[tuple[float, ...], ...]) -> np.ndarray:
    """Its lower triangular root, in double precision, which float32 would lose where it is narrow."""
    return np.linalg.cholesky(np.asarray(covariance))


def _check_finite(name: str, values: tuple[float, ...]) -> None:
    if not values or not all(map(math.isfinite, values)):
        raise SurefootError(f"{name} = {values}: give at least one number, all of them finite.")


def imported(path: str) -> Callable[[Array], Array]:
    """The function that ``python:MODULE.FUNCTION`` means; the working folder is searched as well."""
    try:
        found = find(path.removeprefix("python:"))
    except ImportError as error:
        raise SurefootError(f"The density '{path}' cannot be imported: {error}.") from error
    if not callable(found) or inspect.isclass(found):
        raise SurefootError(f"'{path}' is not a function.")
    return cast("Callable[[Array], Array]", found)
