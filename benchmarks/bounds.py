"""How often does an upper bound of the expected cost hold, and how far is it from the truth?

Costs of episodes of at most 1000 are drawn from six distributions as safe policies show them: most episodes
cost little, a few much. Each bound should hold in 95 % of the trials. `holds` is the share in which it did,
`median` its median. Ours are the bootstrap-t (`mean_bounds`) and the betting bound; the others are there to
compare.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from common import finish, machine, parser

LARGEST, LEVEL = 1000.0, 0.95


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--trials", type=int, default=1000)
    options.add_argument("--episodes", type=int, nargs="+", default=[50, 200])
    options.add_argument("--resamples", type=int, default=1000, help="of the bootstrap")
    given = options.parse_args()
    import numpy as np

    rng = np.random.default_rng(0)
    about = machine()
    costs = distributions(rng)
    found: dict[str, Any] = {}
    for name, draw in costs.items():
        expected = float(np.mean([draw(100_000).mean() for _ in range(40)]))
        found[name] = {"expected cost": round(expected, 2)}
        for episodes in given.episodes:
            rows = [
                [bound(x) for bound in bounds(given.resamples).values()]
                for x in draws(draw, episodes, given.trials)
            ]
            table = np.minimum(np.nan_to_num(np.array(rows), nan=LARGEST), LARGEST)
            found[name][f"{episodes} episodes"] = {
                label: {
                    "holds": float(np.mean(column >= expected)),
                    "median": round(float(np.median(column)), 1),
                }
                for label, column in zip(bounds(0), table.T, strict=True)
            }
    finish({"benchmark": "bounds", "trials": given.trials, "machine": about, "costs": found}, given.out)


def draws(draw: Callable[[int], Any], episodes: int, trials: int) -> Any:
    return (draw(episodes) for _ in range(trials))


def distributions(rng: Any) -> dict[str, Callable[[int], Any]]:
    """Name -> so many costs of episodes."""
    import numpy as np

    return {
        "Poisson": lambda n: rng.poisson(20, n).astype(float),
        "geometric": lambda n: np.minimum(rng.geometric(1 / 26, n) - 1.0, LARGEST),
        "lognormal": lambda n: np.minimum(np.exp(rng.normal(2.5, 1.2, n)), LARGEST),
        "nine tenths are 0": lambda n: (rng.random(n) < 0.1) * np.minimum(rng.gamma(1, 250, n), LARGEST),
        "2 % cost 500": lambda n: (rng.random(n) < 0.02) * 500.0,
        "Pareto": lambda n: np.minimum(10 * rng.pareto(1.5, n), LARGEST),
    }


def bounds(resamples: int) -> dict[str, Callable[[Any], float]]:
    """Name -> upper bound of the mean of the costs."""
    import numpy as np
    from scipy import stats

    from surefoot.evaluation.statistics import betting_bound, mean_bounds

    def student(x: Any) -> float:
        return x.mean() + stats.t.ppf(LEVEL, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))

    def johnson(x: Any) -> float:
        """Student's t, corrected for skewness (Johnson 1978)."""
        spread = x.std(ddof=1)
        if spread == 0:
            return x.mean()
        third = ((x - x.mean()) ** 3).mean() / (6 * spread**2 * len(x))
        return student(x) + third * (1 + 2 * stats.norm.ppf(LEVEL) ** 2)

    def anderson(x: Any) -> float:
        """The whole distribution lies within a band (Anderson 1969, with Massart's constant)."""
        band = math.sqrt(math.log(1 / (1 - LEVEL)) / (2 * len(x)))
        below = np.maximum(0, np.arange(1, len(x) + 1) / len(x) - band)
        return LARGEST - float(np.diff(np.append(np.sort(x), LARGEST)) @ below)

    def maurer_pontil(x: Any) -> float:
        """Empirical Bernstein (Maurer and Pontil 2009)."""
        log, n = math.log(2 / (1 - LEVEL)), len(x)
        return x.mean() + math.sqrt(2 * x.var(ddof=1) * log / n) + LARGEST * 7 * log / (3 * (n - 1))

    return {
        "Student": student,
        "Johnson": johnson,
        "bootstrap-t": lambda x: mean_bounds([x], resamples=resamples).upper,
        "betting": lambda x: betting_bound(x, LARGEST),
        "Maurer and Pontil": maurer_pontil,
        "Anderson": anderson,
    }


if __name__ == "__main__":
    main()
