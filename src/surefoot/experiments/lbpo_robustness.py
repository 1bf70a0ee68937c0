"""Errors of the critics: how often do safe methods break the limit when an epoch has few samples?

Thesis: Sikchi 2022, Sec. 4.4.3, Figure 4.4, on the noisy walk (``NoisyWalk-v0``), where reward and cost are
the same number and 2 is allowed: 100 epochs, five seeds, beta = 0.005, counted are the epochs whose
behaviour policy breaks the limit. Its figure has no printed numbers, and the thesis does not say how the
violations were judged. We count them twice: from the mean cost of the epoch's own episodes, which is what
the methods see, and from 2,000 fresh episodes of the policy.

Where the thesis is silent, or we differ:
  samples      those of an epoch, 1 to 100 (at ``paper`` 300) episodes of ten steps, for all that is
               estimated: the thesis varies those that the cost's critic is fitted to, and does not say how
               many they were
  the start    the walk back, a = -clip(p), brought into a network by regression, which costs 1.26 an
               episode, 1.4 with the noise of exploration; a fresh network is not safe here. Critics start
               fresh.
  exploration  0.05 for all methods; that of CPO is learned from there. (Its usual 0.61 half widths would more
               than double the noise of the problem.)
  networks     64 x 64 at ``laptop``, 256 x 256 at ``paper``; the thesis does not say
  fresh ones   are played by the policy that an epoch leaves, which acts in the next epoch
All else is as in the benchmark. Ours is LBPO whose critics take the noise in the place of the action (see
docs/lbpo.md): the errors in question are smaller then.

A prediction: with reward and cost the same, LBPO's step turns around where the price of the cost is 1, at
beta / eps = 1. With a discount of 0.99 that is at a cost of 2 - 100 beta = 1.5. So LBPO keeps a margin here
that the others do not, whatever its critics are like.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.experiments import Cell, Experiment

ENVIRONMENT = "NoisyWalk-v0"
HORIZON = 10
LIMIT = 2.0
START = "start"
"""Setting of the cell that makes the start."""
BETA = 0.005
EXPLORATION = 0.05
MARGIN = 2.0 - 100 * BETA
"""Cost at which LBPO is expected to settle."""

NOISE = "LBPO, critics of the noise"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "LBPO": ("lbpo", {"beta": BETA, "exploration": EXPLORATION}),
    NOISE: ("lbpo", {"beta": BETA, "exploration": EXPLORATION, "critic_action": "noise"}),
    "CPO": ("cpo", {"initial_std": EXPLORATION / 0.2}),
    "SDDPG": ("sddpg", {"exploration": EXPLORATION}),
}
"""Label -> algorithm and its own settings."""


@dataclass(frozen=True)
class Scale:
    """What differs between the scales."""

    counts: tuple[int, ...]
    """Episodes an epoch."""
    epochs: int
    seeds: int
    fresh: int
    """Episodes by which each epoch's policy is judged."""
    hidden: int
    """Width of the two hidden layers of every network."""
    cloning: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the cell that makes the start."""


COUNTS = (1, 3, 10, 30, 100)

SCALES = {
    "smoke": Scale((2, 10), epochs=4, seeds=2, fresh=50, hidden=16, cloning={"cloning_steps": 200}),
    "laptop": Scale(COUNTS, epochs=100, seeds=5, fresh=2_000, hidden=64),
    "paper": Scale((1, 2, 5, 10, 20, 50, 100, 300), epochs=100, seeds=20, fresh=2_000, hidden=256),
}


def cells(scale: str) -> tuple[Cell, ...]:
    """The start, then every method with every number of episodes, the fewest first."""
    at = SCALES[scale]
    begin = start(at.hidden, at.fresh, at.cloning)
    made = [begin]
    for count in at.counts:
        made += [
            walk(
                begin,
                method,
                setting=setting(count),
                algorithm=algorithm,
                options=own,
                count=count,
                hidden=at.hidden,
                epochs=at.epochs,
                seeds=at.seeds,
                fresh=at.fresh,
            )
            for method, (algorithm, own) in METHODS.items()
        ]
    return tuple(made)


def setting(count: int) -> str:
    """Label of a number of episodes an epoch."""
    return f"episodes={count}"


def start(hidden: int, fresh: int, cloning: Mapping[str, Any]) -> Cell:
    """The walk back as a network; one epoch, in which it stands still, since its cost is low enough."""
    return Cell(
        method="walk back",
        algorithm="safe-start",
        setting=START,
        group=START,
        environment=ENVIRONMENT,
        options={
            "target_cost": LIMIT,
            "calm_epochs": 1,
            "batch_steps": 1_000,
            "exploration": EXPLORATION,
            **networks("safe-start", hidden),
            **cloning,
        },
        takes={"controller": {"name": "noisy_walk:WalkBack", "episodes": 300}},
        steps=1_000,
        seeds=(0,),
        episodes=fresh,
    )


def walk(
    begin: Cell,
    method: str,
    *,
    setting: str,
    algorithm: str,
    options: Mapping[str, Any],
    count: int,
    hidden: int,
    epochs: int,
    seeds: int,
    fresh: int,
    watched: bool = True,
) -> Cell:
    """One method from the start ``begin``, with ``count`` episodes an epoch, judged after every epoch if it
    is ``watched``. Other experiments on the same problem are made of these, too."""
    steps = HORIZON * count
    measured = ("unsafe_epochs", "cost/distance")
    return Cell(
        method=method,
        algorithm=algorithm,
        setting=setting,
        environment=ENVIRONMENT,
        options={"batch_steps": steps, **networks(algorithm, hidden), **options},
        steps=epochs * steps,
        seeds=tuple(range(seeds)),
        episodes=fresh,
        training_metrics=(*measured, *(f"eval_{name}" for name in measured if watched)),
        source=begin,
        takes={"start": {"critics": False}},
        log_every=steps,
        evaluate_every=steps if watched else None,
        evaluate_episodes=fresh,
    )


def networks(algorithm: str, hidden: int) -> dict[str, Any]:
    """The settings that make every network of an algorithm two layers of ``hidden``."""
    other = "value_hidden" if algorithm == "cpo" else "critic_hidden"
    return {"hidden": [hidden, hidden], other: [hidden, hidden]}


EXPERIMENT = Experiment(
    "lbpo-robustness",
    "LBPO, CPO and SDDPG on the noisy walk: violations against samples per epoch",
    cells,
    claims="lbpo_robustness_page:claims",
    page="lbpo_robustness_page:write",
)
