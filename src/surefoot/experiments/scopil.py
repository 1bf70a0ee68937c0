"""The SCOPIL experiment: does a policy learn to respect constraints that nobody wrote down?

Paper: Papadopoulos et al. 2025, arXiv 2507.06780. Its demonstrations, constraints and seeds are not
published; the maze, its constraints and the demonstrations here are our own.

Groups of cells:
  main         7 methods and the demonstrator x 4 constraint settings
  two-modes    demonstrations that pass an island on both sides: which ways does the policy take?
  sensitivity  beta, lambda's start and learning rate, the target entropy; one at a time, on zone+speed
  robustness   demonstrations that are longer than needed, leave a start out, or violate now and then
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from surefoot.experiments import EXPERT, Cell, Experiment

# Tuned settings -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """What differs between the scales."""

    steps: Mapping[str, int]
    """Algorithm -> environment steps a seed (for ``bc``: gradient steps)."""
    seeds: int
    sensitivity_seeds: int
    episodes: int
    envs: int
    """Parallel environments a seed."""
    settings: tuple[str, ...]
    full: bool
    """Whether every value of the sensitivity and every robustness set is run, or one of each."""


SETTINGS = {
    "zone": ("zone",),
    "speed": ("speed",),
    "zone+speed": ("zone", "speed"),
    "zone+speed+tilt+contact": ("zone", "speed", "tilt", "contact"),
}
"""Constraint settings; the demonstrations have the same names."""

SCALES = {
    "smoke": Scale(
        {"discrete-sac": 3_200, "scopil": 3_200, "bc": 1_000, "icrl": 8_000},
        seeds=2, sensitivity_seeds=1, episodes=10, envs=16, settings=("zone", "zone+speed"), full=False,
    ),
    "laptop": Scale(
        {"discrete-sac": 80_000, "scopil": 80_000, "bc": 20_000, "icrl": 400_000},
        seeds=5, sensitivity_seeds=2, episodes=200, envs=16, settings=tuple(SETTINGS), full=True,
    ),
    "paper": Scale(
        {"discrete-sac": 1_000_000, "scopil": 1_000_000, "bc": 200_000, "icrl": 2_000_000},
        seeds=10, sensitivity_seeds=5, episodes=500, envs=16, settings=tuple(SETTINGS), full=True,
    ),
}  # fmt: skip

OPTIONS: dict[str, dict[str, Any]] = {
    "discrete-sac": {},
    "bc": {},
    # Found by sweeps on zone+speed: PPO first finds the reward, nu starts high and moves slowly, and zeta
    # moves a little at a time. With other values the policy often forgot the goal.
    "icrl": {
        "forward_updates": 2, "warmup": 15, "learning_rate": 1e-3, "entropy_weight": 0.01,
        "gradient_norm": 100.0, "cost_discount": 0.9, "multiplier_start": 3.0,
        "multiplier_learning_rate": 0.01, "constraint_learning_rate": 3e-3, "constraint_hidden": (64, 64),
        "backward_passes": 5, "regulariser": 0.1, "weights": "none",
    },
    "scopil": {},
}  # fmt: skip
"""Settings of each algorithm that differ from its defaults, in every cell."""

SCALE_OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {
        "discrete-sac": {"warm_up": 640},
        "scopil": {"warm_up": 640},
        "icrl": {"forward_updates": 1, "batch_steps": 512, "episodes": 5, "warmup": 2},
    },
}
"""Settings that differ at one scale only."""

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "SAC": ("discrete-sac", {}),
    "BC": ("bc", {}),
    "ICRL": ("icrl", {}),
    "SCOPIL": ("scopil", {}),
    "S-EiC": ("scopil", {"entropy_in_constraint": False}),
    "S-DGD": ("scopil", {"learn_lambda": False}),
    "S-DGD-EiC": ("scopil", {"learn_lambda": False, "entropy_in_constraint": False}),
}
"""Label -> algorithm and what is taken out."""

SENSITIVITY: dict[str, tuple[str, tuple[float, ...]]] = {
    "beta": ("beta", (0.0, 0.25, 0.75, 1.0)),
    "lambda": ("lambda_init", (0.1, 10.0)),
    "lambda-rate": ("lambda_learning_rate", (3e-5, 3e-3)),
    # The default is about 0.4 nats, the absolute target of the maze code; 0.98 is usual for discrete SAC.
    "entropy-ratio": ("target_entropy_ratio", (0.4, 0.98)),
    # The constraint C <= epsilon, a remedy for a multiplier that grows without end.
    "epsilon": ("epsilon", (0.3,)),
}
"""Label -> option of SCOPIL and its values; the value that SCOPIL has anyway is the main cell."""

FAITHFUL = {"learning_rate": 3e-4, "target_entropy_ratio": 0.4}
"""The values of the earlier code, where our defaults differ from them."""

TWO_MODES = {"hidden": (64, 64)}
"""Every method on the island: 32 units a layer blur the line at which the expert chooses a side."""

ROBUSTNESS = ("suboptimal", "partial", "noisy")
"""Demonstrations with a flaw; collected under the constraints of zone+speed."""

BASE = "zone+speed"
"""Setting of the sensitivity and robustness cells."""

PUBLISHED = {"violations_relative_to_sac": 0.1}
"""The paper's claim for SCOPIL in every setting: about ten times fewer violations than SAC."""

# Cells ----------------------------------------------------------------------------------------------


def cells(scale: str) -> tuple[Cell, ...]:
    """Every cell at that scale, the main table first."""
    return (*_main(scale), *_two_modes(scale), *_sensitivity(scale), *_robustness(scale))


def _main(scale: str) -> list[Cell]:
    made = []
    for setting in SCALES[scale].settings:
        world = {"board": "gap", "constraints": list(SETTINGS[setting])}
        made.append(_expert(scale, setting, world))
        for method in METHODS:
            published = PUBLISHED if method == "SCOPIL" else {}
            made.append(_cell(scale, method, setting, world, setting, published=published))
    return made


def _two_modes(scale: str) -> list[Cell]:
    world = {"board": "island", "constraints": ["zone"]}
    return [
        _cell(scale, method, "two-modes", world, "two-modes", group="two-modes", changes=TWO_MODES)
        for method in ("SAC", "BC", "SCOPIL")
    ]


def _sensitivity(scale: str) -> list[Cell]:
    world = {"board": "gap", "constraints": list(SETTINGS[BASE])}
    usual = _usual(scale)
    made = []
    for label, (option, values) in SENSITIVITY.items():
        others = [value for value in values if not _same(value, usual.get(option))]
        for value in others if SCALES[scale].full else others[:1]:
            setting = f"{BASE},{label}={value:g}"
            made.append(
                _cell(scale, "SCOPIL", setting, world, BASE, group="sensitivity", changes={option: value})
            )
    made.append(
        _cell(scale, "SCOPIL", f"{BASE},faithful", world, BASE, group="sensitivity", changes=FAITHFUL)
    )
    return made


def _robustness(scale: str) -> list[Cell]:
    world = {"board": "gap", "constraints": list(SETTINGS[BASE])}
    flawed = ROBUSTNESS if SCALES[scale].full else ROBUSTNESS[-1:]
    return [
        _cell(scale, method, f"{BASE},{name}", world, name, group="robustness")
        for name in flawed
        for method in ("BC", "SCOPIL")
    ]


def _cell(
    scale: str,
    method: str,
    setting: str,
    world: Mapping[str, Any],
    demonstrations: str,
    *,
    group: str = "main",
    changes: Mapping[str, Any] | None = None,
    published: Mapping[str, float] | None = None,
) -> Cell:
    at = SCALES[scale]
    algorithm, taken_out = METHODS[method]
    few = group in ("sensitivity", "robustness")
    return Cell(
        method=method,
        algorithm=algorithm,
        setting=setting,
        options=_base(scale, algorithm) | taken_out | dict(changes or {}),
        world={**world, "envs": at.envs},
        demonstrations=None if algorithm == "discrete-sac" else f"marble-maze/{demonstrations}",
        steps=at.steps[algorithm],
        seeds=tuple(range(at.sensitivity_seeds if few else at.seeds)),
        episodes=at.episodes,
        group=group,
        published=published or {},
    )


def _expert(scale: str, setting: str, world: Mapping[str, Any]) -> Cell:
    # One seed: the demonstrator does not learn, and it is a function of the observation.
    at = SCALES[scale]
    return Cell(
        "Expert", EXPERT, setting, world=dict(world), steps=0, seeds=(0,), episodes=at.seeds * at.episodes
    )


def _base(scale: str, algorithm: str) -> dict[str, Any]:
    return OPTIONS[algorithm] | SCALE_OPTIONS.get(scale, {}).get(algorithm, {})


DEFAULTS = {
    "beta": 0.5, "lambda_init": 1.05, "lambda_learning_rate": 3e-4, "target_entropy_ratio": 0.18,
    "epsilon": 0.0,
}  # fmt: skip
"""Of ``Scopil``, written down again so that listing cells needs no JAX; a test keeps them equal."""


def _usual(scale: str) -> dict[str, Any]:
    """The values that the main SCOPIL cell has for the options of the sensitivity study."""
    return DEFAULTS | _base(scale, "scopil")


def _same(a: float, b: Any) -> bool:
    """Whether a value is so near the usual one that a cell of its own would say nothing."""
    return isinstance(b, int | float) and math.isclose(a, b, rel_tol=0.02)


EXPERIMENT = Experiment(
    "scopil",
    "SCOPIL, its ablations, SAC, BC and ICRL on the Marble Maze; sensitivity and robustness",
    cells,
    claims="scopil_page:claims",
    page="scopil_page:write",
)
