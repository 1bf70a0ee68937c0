"""Numbers of a run: their CSV file, what is not finite, and signatures of failure. NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from surefoot.errors import SurefootError

INDEX = ("iteration", "steps", "seed")
"""First columns of ``metrics.csv``: iterations and steps done at the end of the block, and the seed."""


def is_episode_metric(name: str) -> bool:
    """Whether a metric is a mean over episodes that ended, and so NaN where none did."""
    name = name.removeprefix("eval_")
    base = name.partition("/")[0]
    return (
        name in ("return", "length", "success")
        or base in ("violating_steps_per_episode", "violating_episodes")
        or name.startswith("cost/")
    )


def episode_names(constraints: Sequence[str]) -> list[str]:
    """Names of the metrics of episodes, as :func:`surefoot.data.trajectories.episode_metrics` gives them."""
    names = ["return", "length", "success", "violating_steps_per_episode", "violating_episodes"]
    for constraint in constraints:
        kinds = ("cost", "violating_steps_per_episode", "violating_episodes")
        names += [f"{kind}/{constraint}" for kind in kinds]
    return names


def ordered(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """In the order of the columns: metrics of episodes, those of learning, those of evaluation.

    A compiled program returns its metrics in the order of the alphabet, one on the host in any order.
    """

    def place(name: str) -> tuple[int, str]:
        if name.startswith("eval_"):
            return 2, ""
        return (0, "") if name == "episodes" or is_episode_metric(name) else (1, name)

    base = [name for name in episode_names(()) if name in values]
    rest = sorted((name for name in values if name not in base), key=place)
    return {name: values[name] for name in base + rest}


# Reduction over a block ------------------------------------------------------------------------------


def reduce(block: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Mean of each metric over the iterations of a block: ``[iterations, seeds]`` to ``[seeds]``.

    NaN entries are left out, and a metric that is NaN throughout stays NaN. Metrics of episodes are
    weighted by ``episodes``, the number that ended in an iteration, if that is given; ``episodes``
    itself is summed.
    """
    episodes = block.get("episodes")
    reduced = {}
    for name, values in block.items():
        values = np.asarray(values, np.float64)
        if name == "episodes":
            reduced[name] = values.sum(axis=0)
            continue
        weights = np.ones_like(values)
        if episodes is not None and is_episode_metric(name):
            weights = np.asarray(episodes, np.float64)
        weights = np.where(np.isnan(values), 0.0, weights)
        total = weights.sum(axis=0)
        summed = np.where(weights > 0, values * weights, 0.0).sum(axis=0)
        reduced[name] = np.where(total > 0, summed / np.maximum(total, 1.0), np.nan)
    return reduced


def first_non_finite(
    block: Mapping[str, np.ndarray], seen: Mapping[str, np.ndarray]
) -> tuple[str, int, int, float] | None:
    """Name, iteration within the block, position of the seed and value of the first bad number, if any.

    ``block`` holds ``[iterations, seeds]``; ``seen[name]`` says, for each seed, whether the metric was
    a number in an earlier block. Infinity is bad everywhere. NaN is good in metrics of episodes (no
    episode ended), and in others as long as they never were a number (before the first update, say).
    """
    worst = None
    for name, values in block.items():
        bad = np.isinf(values)
        if not is_episode_metric(name):
            started = np.logical_or.accumulate(np.isfinite(values), axis=0)
            bad |= np.isnan(values) & (started | seen.get(name, np.zeros(1, bool)))
        if bad.any():
            iteration, seed = (int(i) for i in np.argwhere(bad)[0])
            if worst is None or iteration < worst[1]:
                worst = (name, iteration, seed, float(values[iteration, seed]))
    return worst


# The CSV file ------------------------------------------------------------------------------------------


def header(names: Sequence[str]) -> bytes:
    """First line of the file."""
    for name in names:
        if not name or set(name) & set(',"\r\n'):
            raise SurefootError(f"A metric cannot be named '{name}': no commas, quotes or line breaks.")
    return (",".join((*INDEX, *names)) + "\n").encode()


def rows(iteration: int, steps: int, seeds: Sequence[int], values: Mapping[str, np.ndarray]) -> bytes:
    """One line a seed; floats have as many digits as it takes to read them back to the bit."""
    lines = []
    for position, seed in enumerate(seeds):
        numbers = (repr(float(column[position])) for column in values.values())
        lines.append(",".join((str(iteration), str(steps), str(seed), *numbers)) + "\n")
    return "".join(lines).encode()


def columns(path: Path, *, block: int = 1) -> dict[str, np.ndarray]:
    """Columns of a metrics file by name; a torn last line, or a last block with fewer than ``block``
    rows, is dropped. Raises :class:`SurefootError` if a line before the end is damaged."""
    names, lines = _read(path, block)
    if not names:
        return {}
    table = np.array(lines, np.float64).reshape(len(lines), len(names))
    # Through Python's integers: a step count above 2^53 has no float of its own.
    return {
        name: np.array([int(line[i]) for line in lines], np.int64) if name in INDEX else table[:, i]
        for i, name in enumerate(names)
    }


def cut(path: Path, iteration: int, *, block: int = 1) -> bytes | None:
    """The content of a metrics file up to and with ``iteration``; ``None`` if no row is left."""
    if not path.exists():
        return None
    names, lines = _read(path, block)
    kept = [line for line in lines if int(line[0]) <= iteration]
    if not kept:
        return None
    return "".join(",".join(line) + "\n" for line in [names, *kept]).encode()


def _read(path: Path, block: int) -> tuple[list[str], list[list[str]]]:
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SurefootError(f"{path} cannot be read: {error}.") from error
    whole = text.split("\n")[:-1]  # what follows the last line break was torn, or is empty
    if not whole:
        return [], []
    names, *lines = (line.split(",") for line in whole)
    if tuple(names[:3]) != INDEX:
        raise SurefootError(f"{path} is not a metrics file: it must begin with {','.join(INDEX)}.")
    for number, line in enumerate(lines):
        if not _sound(line, len(names)):
            if number == len(lines) - 1:
                lines.pop()
                break
            raise SurefootError(
                f"{path}, line {number + 2} is damaged; put back a copy of the file, or delete all lines of "
                "that iteration, whose numbers are then lost."
            )
    last = [line for line in lines if line[0] == lines[-1][0]]
    if len(last) < block:
        del lines[len(lines) - len(last) :]
    return names, lines


def _sound(line: list[str], width: int) -> bool:
    try:
        _ = [int(entry) for entry in line[:3]], [float(entry) for entry in line[3:]]
    except ValueError:
        return False
    return len(line) == width


# Signatures of failure -------------------------------------------------------------------------------

_ROWS = 20
"""Logged blocks of a seed below which nothing is said."""
_GROWTH = 10.0
"""A multiplier that grew by more than this over the last half is running away."""
_SWING = 0.1
"""Standard deviation of the smoothed violation rate above which a run may be oscillating."""
_COLD = 1e-3
"""A temperature below this no longer counts."""

Series = Mapping[str, np.ndarray]


def signatures(columns: Series) -> dict[str, str]:
    """Signatures of failure, by what they are about, such as ``"runaway lambda, seed 0"``.

    - runaway lambda: a multiplier grew steadily, and more than tenfold, over the last half of the run,
      while the share of violating episodes did not fall;
    - oscillation: return and violations swing together or against each other, again and again;
    - temperature collapse: the entropy's weight alpha stays below 0.001, so that it does not count;
    - limit never kept: every epoch of the last half broke a cost limit;
    - no end: not one episode has ended, so that returns and costs are not known.

    Mode collapse cannot be seen in these numbers; the paths of evaluation show it.
    """
    found: dict[str, str] = {}
    for seed in np.unique(columns.get("seed", np.zeros(0))):
        mine = {name: values[columns["seed"] == seed] for name, values in columns.items()}
        if len(mine["seed"]) < _ROWS:
            continue
        for kind, detector in _DETECTORS.items():
            text = detector(mine)
            if text:
                found[f"{kind}, seed {int(seed)}"] = text
    return found


def _runaway_lambda(mine: Series) -> str | None:
    violations = _finite(mine.get("violating_episodes"))
    if len(violations) < 4:
        return None
    quarter = len(violations) // 4
    before, after = violations[-2 * quarter : -quarter].mean(), violations[-quarter:].mean()
    if after < 0.01 or after < 0.9 * before:
        return None  # nothing is broken, or it is being mended
    for name in mine:
        if name.partition("/")[0] not in ("lambda", "multiplier"):
            continue
        late = _finite(mine[name])
        late = late[len(late) // 2 :]
        if len(late) < _ROWS // 2:
            continue
        rises = np.mean(np.diff(late) > 0)
        growth = late[-1] / max(late[0], 0.1)  # from nothing to a tenth is no runaway
        if rises > 0.9 and growth > _GROWTH:
            return (
                f"{name} grew {growth:.0f}-fold to {late[-1]:.3g} over the last half while violations did "
                "not fall; the constraint may be unreachable (loosen its target), or lambda's learning "
                "rate too high."
            )
    return None


def _oscillation(mine: Series) -> str | None:
    if "return" not in mine or "violating_episodes" not in mine:
        return None
    both = np.isfinite(mine["return"]) & np.isfinite(mine["violating_episodes"])
    late = slice(int(both.sum()) // 2, None)
    returns, violations = mine["return"][both][late], mine["violating_episodes"][both][late]
    if len(returns) < _ROWS // 2:
        return None
    returns, violations = _smooth(returns), _smooth(violations)
    if violations.std() < _SWING or returns.std() == 0:
        return None
    together = float(np.corrcoef(returns, violations)[0, 1])
    swings = min(_sign_changes(returns), _sign_changes(violations))
    if abs(together) < 0.5 or swings < 4:
        return None
    how = "rise and fall together" if together > 0 else "take turns"
    return (
        f"return and violations {how} (correlation {together:.2f}, {swings} swings in the last half); "
        "lower lambda's learning rate."
    )


def _temperature_collapse(mine: Series) -> str | None:
    alpha = _finite(mine.get("alpha"))
    if not len(alpha) or np.max(alpha[-max(1, len(alpha) // 4) :]) >= _COLD:
        return None
    return (
        "alpha was below 0.001 for a quarter of the run, so entropy does not count and the policy does not "
        "explore; raise the target entropy or lower alpha's learning rate."
    )


def _limit_never_kept(mine: Series) -> str | None:
    unsafe = _finite(mine.get("unsafe"))
    if len(unsafe) < _ROWS or (unsafe[len(unsafe) // 2 :] < 1).any():
        return None
    return (
        "every epoch of the last half broke a cost limit; perhaps no policy near keeps it, or it is 0: raise "
        "--cost-limits, or begin --from a safer start."
    )


def _no_end(mine: Series) -> str | None:
    ended = mine.get("episodes")
    if ended is None or ended.any():
        return None
    return (
        "no episode has ended so far, so their returns and costs are not known; give a --horizon that a "
        "batch of steps holds."
    )


def faults(values: Mapping[str, np.ndarray], seeds: Sequence[int | str]) -> dict[str, str]:
    """What is wrong in the numbers of one block ``[seeds]`` at any time of a run, by what it is about."""
    dropped = {
        f"plans dropped, seed {seed}": (
            f"{count:.3g} candidates a step were dropped, because the model's prediction of them was not a "
            "number; fit it more often, or lower its learning rate."
        )
        for seed, count in zip(seeds, values.get("plan_dropped", np.zeros(0)), strict=False)
        if count > 0
    }
    nowhere = {
        f"density, seed {seed}": (
            "the density is zero at every state that the agent visited, so nothing tells it where to go; "
            "check the density's units and place, or widen it."
        )
        for seed, share in zip(seeds, values.get("zero_density", np.zeros(0)), strict=False)
        if share >= 1
    }
    negative = {
        f"{name}, seed {seed}": (
            f"an episode costs {cost:.3g} on average, but costs must not be negative, since what one step "
            "saves would excuse another; shift it, so that it is above zero where the constraint is violated."
        )
        for name, costs in values.items()
        if name.startswith("cost/")
        for seed, cost in zip(seeds, costs, strict=False)
        if cost < 0
    }
    return dropped | nowhere | negative


_DETECTORS: dict[str, Callable[[Series], str | None]] = {
    "runaway lambda": _runaway_lambda,
    "oscillation": _oscillation,
    "temperature collapse": _temperature_collapse,
    "limit never kept": _limit_never_kept,
    "no end": _no_end,
}


def _finite(values: np.ndarray | None) -> np.ndarray:
    return np.zeros(0) if values is None else values[np.isfinite(values)]


def _smooth(values: np.ndarray) -> np.ndarray:
    """Moving average over a tenth of the values: single blocks hold few episodes, so they are noisy."""
    width = max(1, len(values) // 10)
    return np.convolve(values, np.full(width, 1 / width), mode="valid")


def _sign_changes(values: np.ndarray) -> int:
    """How often the values cross their mean, not counting excursions under half a standard deviation."""
    away = (values - values.mean()) / values.std()
    sides = np.sign(away[np.abs(away) > 0.5])
    return int(np.sum(sides[1:] != sides[:-1]))
