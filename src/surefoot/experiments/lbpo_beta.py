"""The barrier's weight: how conservative is LBPO with another beta?

Thesis: Sikchi 2022, Sec. 4.4.4, Figure 4.1 (the barrier) and Figure 4.5 (return and cost with several beta),
neither with printed numbers. Its search was over 0.005, 0.008, 0.01 and 0.02.

Two parts:
  the noisy walk  where it can be said beforehand what beta does: reward and cost are the same, so LBPO's step
                  turns around where the price of the cost is 1, at beta / eps = 1, which is a cost of
                  2 - 100 beta; below the walk back's 1.4 no policy goes. Ours: the same with critics of the
                  noise (docs/lbpo.md), whose errors are smaller
  PointGoal1      with the betas of the thesis and, at ``laptop``, a larger one; one seed
The cells with the usual beta, which is 0.005 on the noisy walk, are those of ``lbpo-robustness`` and
``lbpo-benchmark``, which are taken over if they are finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from surefoot.experiments import Cell, Experiment, lbpo_benchmark, lbpo_robustness
from surefoot.experiments.lbpo_robustness import EXPLORATION

TASK = "PointGoal1"
USUAL = 0.005
"""Of ``lbpo-robustness``; that of ``lbpo-benchmark`` differs between scales."""
SEARCHED = (0.005, 0.008, 0.01, 0.02)
"""Values of the thesis."""
WALKED = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01)
"""Values on the noisy walk: the last two are expected to hold the policy at its start."""
RAW: Mapping[str, Any] = {}
NOISE: Mapping[str, Any] = {"critic_action": "noise"}
"""Settings of the two kinds of critics."""
FLOOR = 1.4
"""Cost of the walk back with exploration: about the least that is possible."""


@dataclass(frozen=True)
class Scale:
    """What differs between the scales."""

    count: int
    """Episodes an epoch of the noisy walk."""
    epochs: int
    walked: tuple[float, ...] = WALKED
    searched: tuple[float, ...] = SEARCHED
    seeds: int = 1
    """Of the safety task."""


SCALES = {
    "smoke": Scale(2, 4, walked=(0.001, 0.005), searched=(0.005, 0.02)),
    "laptop": Scale(30, 100, searched=(*SEARCHED, 0.05)),
    "paper": Scale(300, 100, seeds=3),
}


def cells(scale: str) -> tuple[Cell, ...]:
    """The noisy walk first, with rising beta, then the safety task."""
    at, walk = SCALES[scale], lbpo_robustness.SCALES[scale]
    begin = lbpo_robustness.start(walk.hidden, walk.fresh, walk.cloning)
    made = [begin]
    made += [
        lbpo_robustness.walk(
            begin,
            label(beta, noise=critics is NOISE),
            setting=lbpo_robustness.setting(at.count),
            algorithm="lbpo",
            options={"beta": beta, "exploration": EXPLORATION, **critics},
            count=at.count,
            hidden=walk.hidden,
            epochs=at.epochs,
            seeds=walk.seeds,
            fresh=walk.fresh,
        )
        for critics in (RAW, NOISE)
        for beta in at.walked
    ]
    usual = lbpo_benchmark.SCALES[scale].beta_of(TASK)
    for seed in range(at.seeds):
        made.append(lbpo_benchmark.start(scale, TASK, seed))
        for beta in at.searched:
            made.append(lbpo_benchmark.cell(scale, TASK, seed, "LBPO", label=label(beta, usual), beta=beta))
    return tuple(made)


def label(beta: float, usual: float = USUAL, *, noise: bool = False) -> str:
    """Of the method with that beta, and with critics of the noise; the usual one has that of the other
    experiments."""
    if noise:
        return lbpo_robustness.NOISE if beta == usual else f"beta={beta:g}, critics of the noise"
    return "LBPO" if beta == usual else f"beta={beta:g}"


def expected(beta: float) -> float:
    """Cost at which it should settle on the noisy walk."""
    return max(FLOOR, 2.0 - 100 * beta)


EXPERIMENT = Experiment(
    "lbpo-beta",
    "LBPO with other weights of the barrier: conservativeness against beta",
    cells,
    claims="lbpo_beta_page:claims",
    page="lbpo_beta_page:write",
)
