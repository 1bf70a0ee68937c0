"""What LBPO's settings do: the benchmark's run on PointGoal1 with one of them changed at a time.

Source: not in the thesis (Sikchi 2022, chapter 4), which shows beta alone (``lbpo-beta``). Where thesis and
program differ, or leave a choice, these cells say what the choice does, and so which of them may be why our
numbers are not the thesis' (Tables 4.1 and 4.3: 4 % of the epochs unsafe, a return of 11.1).

Five parts, each beside ``LBPO``, the very cell of ``lbpo-benchmark``:
  learning  exploration noise, targets, when and how long critics are fitted; at ``laptop`` towards the
            program's settings, one by one and all at once (with beta of Table 4.4); at the other scales,
            where the benchmark has these, towards those of ``laptop``
  critics   a small trace, transitions of several epochs, critics of the noise
  step      discounted budget, logarithm in the line search, a larger radius, shorter epochs
  start     fresh critics, a start that costs 15
  length    at ``laptop``: as many epochs as the thesis has, 667, with both settings; of one seed
And CPO that only lowers the cost while the limit is broken, beside the benchmark's CPO.

A discounted budget is about ``(1 - gamma^T) / ((1 - gamma) T)`` of the mixed one, so that its cell has so
much of beta, and the same price on the cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from surefoot.experiments import Cell, Experiment, lbpo_benchmark
from surefoot.experiments.lbpo_benchmark import QUICK, SCALES, START

TASK = "PointGoal1"
BASE = "LBPO"
"""Label of the benchmark's cell."""
PROGRAM: dict[str, Any] = {
    "exploration": 0.05,
    "targets": "mc",
    "critic_fit": "after",
    "critic_steps": 80,
    "critic_minibatch": 0,
}
"""Settings of the thesis' program, which are LBPO's defaults."""
DESCENT = "CPO, recovery=descent"
DEAR = 15.0
"""Cost of the start that is not so safe."""
DISCOUNT = 0.99


@dataclass(frozen=True)
class Variant:
    """One change to the benchmark's cell."""

    label: str
    """As one would type it, where it is an option."""
    group: str
    options: Mapping[str, Any] = field(default_factory=dict)
    start: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a safe start of its own; none if empty."""
    critics: bool = True
    """Whether those of the start are taken over."""
    epochs: int = 1
    """How many times as many epochs the same steps are cut into."""
    steps: int = 0
    """How many there are; 0: as many as the benchmark has at that scale."""


def variants(scale: str) -> tuple[Variant, ...]:
    """In the order of the page."""
    at = SCALES[scale]
    program = PROGRAM | {"beta": lbpo_benchmark.TASKS[TASK].beta}
    if at.options.get("lbpo"):
        made = _one_by_one(PROGRAM) + [Variant("program", "learning", program)]
    else:
        made = _one_by_one(QUICK) + [Variant("laptop", "learning", QUICK)]
    short = at.batch // 3 // at.horizon * at.horizon
    left = (1 - DISCOUNT**at.horizon) / ((1 - DISCOUNT) * at.horizon)
    made += [
        Variant("trace=0.8, critic_rounds=10", "critics", _traced(0.8) | {"critic_rounds": 10}),
        Variant("critic_epochs=4", "critics", {"critic_epochs": 4}),
        Variant("critic_action=noise", "critics", {"critic_action": "noise"}, {"critic_action": "noise"}),
        Variant(
            "budget=discounted",
            "step",
            {"budget": "discounted", "beta": round(left * at.beta_of(TASK), 6)},
        ),
        Variant("barrier=log", "step", {"barrier": "log"}),
        Variant("radius=0.05", "step", {"radius": 0.05}),
        Variant(f"batch_steps={short}", "step", {"batch_steps": short}, epochs=at.batch // short),
        Variant("fresh critics", "start", critics=False),
        Variant(f"a start that costs {DEAR:g}", "start", start={"target_cost": DEAR}),
    ]
    if scale == "laptop":
        length = SCALES["paper"].steps["Point"]
        epochs = f"{length // at.batch} epochs"
        made += [
            Variant(epochs, "length", steps=length),
            Variant(f"program, {epochs}", "length", program, steps=length),
        ]
    if scale != "smoke":
        return tuple(made)
    kept = ("exploration", "critic_action", "batch_steps", "fresh")
    return tuple(variant for variant in made if variant.label.startswith(kept))


def _one_by_one(settings: Mapping[str, Any]) -> list[Variant]:
    """One variant a setting; steps and minibatches of a fit belong together."""
    fit = {name: settings[name] for name in ("critic_steps", "critic_minibatch")}
    rest = {name: value for name, value in settings.items() if name not in fit}
    single = [Variant(f"{name}={value}", "learning", {name: value}) for name, value in rest.items()]
    return [*single, Variant(", ".join(f"{n}={v}" for n, v in fit.items()), "learning", fit)]


def _traced(trace: float) -> dict[str, Any]:
    """A trace says something of TD(lambda) targets alone."""
    return {"targets": "td-lambda", "trace": trace}


def cells(scale: str) -> tuple[Cell, ...]:
    """The benchmark's cells first, then the variants."""
    made = []
    for seed in range(SCALES[scale].seeds):
        made += [lbpo_benchmark.start(scale, TASK, seed), lbpo_benchmark.cell(scale, TASK, seed, BASE)]
        for variant in variants(scale):
            if variant.steps and seed > 0:
                continue
            if variant.start:
                made.append(_start(scale, seed, variant))
            made.append(_cell(scale, seed, variant))
        cpo = lbpo_benchmark.cell(scale, TASK, seed, "CPO")
        descent = {**cpo.options, "recovery": "descent"}
        made += [cpo, replace(cpo, method=DESCENT, options=descent, published={}, group="CPO")]
    return tuple(made)


def _start(scale: str, seed: int, variant: Variant) -> Cell:
    """A safe start with settings of its own."""
    usual = lbpo_benchmark.start(scale, TASK, seed)
    changes = ", ".join(f"{name}={value}" for name, value in variant.start.items())
    return replace(usual, method=f"{START}, {changes}", options={**usual.options, **variant.start})


def _cell(scale: str, seed: int, variant: Variant) -> Cell:
    usual = lbpo_benchmark.cell(scale, TASK, seed, BASE)
    world = dict(usual.world)
    world["envs"] //= variant.epochs
    return replace(
        usual,
        method=variant.label,
        group=variant.group,
        options={**usual.options, **variant.options},
        world=world,
        published={},
        source=_start(scale, seed, variant) if variant.start else usual.source,
        takes={"start": {"critics": variant.critics}},
        steps=variant.steps or usual.steps,
        log_every=SCALES[scale].batch // variant.epochs,
    )


EXPERIMENT = Experiment(
    "lbpo-ablations",
    "LBPO with one setting changed at a time, on PointGoal1; CPO that only descends while it is unsafe",
    cells,
    claims="lbpo_ablations_page:claims",
    page="lbpo_ablations_page:write",
)
