"""The benchmark of f-IRL: how much of an expert's return is reached from 1, 4 or 16 of its trajectories?

Paper: Ni et al. 2020, arXiv 2011.04709; Tables 3.3, 3.7 and 3.8 of the thesis version. Four bodies are to do
what an expert did; all methods but BC see its states only. The demonstrations are those that come with the
package (``mujoco/hopper`` and so on, 16 episodes, the highest returns first); the first 1, 4 or 16 are used.
The number of a cell is the return of the final policy by the environment's own reward, and its share of the
mean return of the demonstrations that were used.

At ``paper`` the settings are those of the published code. Where its text differs, or we do:
  SAC's networks    256 x 256 (the text has 64 x 64, which ``laptop`` uses)
  an iteration      5000 steps with as many updates (the text has ten episodes)
  the numbers       of the final policy, sampled actions (the paper: the mean of the last tenth of the run)
  AIRL              with the right log-density of an action, and one update in every ten steps; the published
                    row came from another log-density and one update in 500 to 1000 steps. Its falls are
                    absorbing: where they end the episode it learns to fall, since its reward comes to
                    about -10 wherever the agent goes, and nothing is paid after a fall
  BC                on all pairs, shuffled, with the likelihood of the squashed action; the published code's
                    batches of 1000 leave nothing of a single trajectory, so that it was never trained. The
                    cells ``untrained`` show this: fresh networks, beside the published row of BC.

What is cut at ``laptop``: one seed; 4 and 16 trajectories on the Hopper only; AIRL on the Hopper only;
networks of 64 x 64; half a million steps, 300,000 of the Ant and of AIRL, 150,000 of f-MAX (the code has 1 to
7.5 million, f-MAX 10 and AIRL 20). To make up for that, an iteration has 2500 steps, 5 trajectories, a fourth
of the discriminator's updates on half as many states, and three updates of the reward (with one, FKL came to
half the expert's return on the Hopper); and f-MAX and AIRL update their policies once a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.experiments import UNTRAINED, Cell, Experiment

COUNTS = (1, 4, 16)
"""Expert trajectories."""


@dataclass(frozen=True)
class Task:
    """A body, what the code of the paper sets for it alone, and its iterations there."""

    title: str
    environment: str
    demonstrations: str
    iterations: int
    """Of f-IRL and MaxEnt IRL, in the published code."""
    expert: tuple[float, float, float]
    """Published return of the expert, by number of trajectories."""
    reward_hidden: int = 64
    ratio_blocks: int = 2
    """Residual blocks of f-IRL's discriminator."""
    fmax: Mapping[str, Any] = field(default_factory=dict)
    """Where f-MAX differs from ``FMAX``."""


TASKS = {
    "hopper": Task("Hopper", "FixedHopper-v0", "mujoco/hopper", 200, (3570.87, 3585.59, 3496.62)),
    "walker2d": Task("Walker2d", "FixedWalker2d-v0", "mujoco/walker2d", 1500, (5468.36, 5337.85, 5368.01)),
    "half-cheetah": Task(
        "HalfCheetah",
        "FixedHalfCheetah-v0",
        "mujoco/half-cheetah",
        600,
        (12258.71, 11944.45, 12406.29),
        fmax={
            "normalise": False,
            "reward_factor": 2.0,
            "penalty": 2.0,
            "replay_capacity": 20_000,
            "batch_size": 100,
            "ratio_network": "residual",
            "ratio_hidden": 256,
            "ratio_blocks": 1,
        },
    ),
    "ant": Task(
        "Ant",
        "FixedAnt-v0",
        "mujoco/ant",
        600,
        (5926.18, 5859.09, 5928.87),
        reward_hidden=128,
        ratio_blocks=5,
    ),
}
"""Name in settings -> what it is."""

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "BC": ("bc", {}),
    "MaxEnt IRL": ("maxent-irl", {}),
    "f-MAX-RKL": ("fmax", {"divergence": "rkl"}),
    "AIRL": ("airl", {}),
    "FKL f-IRL": ("firl", {"divergence": "fkl"}),
    "RKL f-IRL": ("firl", {"divergence": "rkl"}),
    "JS f-IRL": ("firl", {"divergence": "js"}),
}
"""Label -> algorithm and its settings, in the order of the paper's tables."""
FRESH = "untrained"
"""Label of networks that nothing was done to."""

PUBLISHED: dict[str, dict[str, tuple[float, float, float]]] = {
    "hopper": {
        "BC": (17.39, 468.49, 553.56),
        "MaxEnt IRL": (3309.72, 3300.81, 3298.50),
        "f-MAX-RKL": (3349.62, 3326.83, 3165.51),
        "AIRL": (49.12, 49.33, 48.63),
        "FKL f-IRL": (3329.94, 3243.83, 3260.35),
        "RKL f-IRL": (3276.55, 3303.44, 3250.74),
        "JS f-IRL": (3282.37, 3351.99, 3269.49),
    },
    "walker2d": {
        "BC": (-2.03, 303.24, 431.60),
        "MaxEnt IRL": (4823.82, 4697.11, 4884.30),
        "f-MAX-RKL": (2683.11, 2628.10, 2498.78),
        "AIRL": (9.8, 9.24, 8.45),
        "FKL f-IRL": (4927.02, 4809.80, 4851.81),
        "RKL f-IRL": (4847.12, 4806.72, 4578.39),
        "JS f-IRL": (4888.09, 4935.42, 4725.78),
    },
    "half-cheetah": {
        "BC": (-367.56, 209.59, 287.05),
        "MaxEnt IRL": (11637.41, 11685.92, 11228.32),
        "f-MAX-RKL": (8688.37, 4920.66, 8108.81),
        "AIRL": (2366.84, 2343.17, 2267.68),
        "FKL f-IRL": (11556.23, 11556.51, 11642.72),
        "RKL f-IRL": (11612.46, 11644.19, 11899.50),
        "JS f-IRL": (11413.47, 11686.09, 11711.77),
    },
    "ant": {
        "BC": (-113.60, 1321.69, 2799.34),
        "MaxEnt IRL": (3179.23, 4171.28, 4784.78),
        "f-MAX-RKL": (3585.03, 3810.56, 3653.53),
        "AIRL": (-54.7, -14.15, -49.68),
        "FKL f-IRL": (4859.86, 4861.91, 4971.11),
        "RKL f-IRL": (3707.32, 4814.58, 4813.80),
        "JS f-IRL": (4590.11, 4745.11, 4342.39),
    },
}
"""Task -> method -> return from 1, 4, 16 trajectories (Tables 3.7 and 3.8)."""
BC_SPREAD = {"hopper": 5.99, "walker2d": 1.05, "half-cheetah": 23.57, "ant": 12.86}
"""Published standard deviation over seeds of BC's return from one trajectory."""

# Written out although the methods fill some in: only what stands in a cell is part of its identity.
IRL: dict[str, Any] = {
    "learning_rate": 1e-3,
    "alpha": 0.2,
    "batch_size": 100,
    "replay_capacity": 1_000_000,
    "warm_up": 1_000,
    "steps_per_iteration": 5_000,
    "steps_per_round": 50,
    "updates_per_step": 1.0,
    "trajectories": 10,
    "reward_activation": "relu",
    "reward_learning_rate": 1e-4,
    "reward_decay": 1e-3,
    "reward_updates": 1,
}
"""Settings of the methods that learn a reward."""
RATIO: dict[str, Any] = {
    "expert_trajectories": 10,
    "ratio_hidden": 128,
    "ratio_updates": 1_200,
    "ratio_batch_size": 800,
    "ratio_learning_rate": 3e-4,
    "ratio_decay": 1e-4,
}
"""Of f-IRL, whose discriminator is trained anew with every iteration."""
FMAX: dict[str, Any] = {
    "normalise": True,
    "reward_factor": 0.2,
    "penalty": 4.0,
    "ratio_network": "mlp",
    "ratio_hidden": 128,
    "ratio_blocks": 2,
    "ratio_updates": 100,
    "ratio_batch_size": 256,
    "learning_rate": 1e-3,
    "alpha": 0.2,
    "batch_size": 256,
    "replay_capacity": 200_000,
    "steps_per_round": 1_000,
    "steps_per_iteration": 10_000,
    "updates_per_step": 0.1,
    "learning_starts": 5_000,
}
AIRL: dict[str, Any] = {
    "normalise": True,
    "ratio_updates": 100,
    "ratio_batch_size": 256,
    "ratio_learning_rate": 1e-4,
    "learning_rate": 3e-4,
    "alpha": 1.0,
    "batch_size": 100,
    "replay_capacity": 1_000_000,
    "steps_per_round": 1_000,
    "steps_per_iteration": 10_000,
    "updates_per_step": 0.1,
    "learning_starts": 5_000,
}
ABSORBING = {"absorbing": True}
"""World of AIRL: an episode goes on after a fall."""
BC: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 256, "steps_per_iteration": 100}


@dataclass(frozen=True)
class Scale:
    """What differs between the scales."""

    seeds: int
    episodes: int
    steps: Mapping[str, int]
    """Algorithm -> environment steps a seed (for ``bc``: gradient steps). Those of the methods that learn a
    reward, where they are missing here, are ``iterations`` of the task times ``steps_per_iteration``."""
    hidden: tuple[int, int] = (64, 64)
    fresh_seeds: int = 10
    """Of the untrained networks."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Algorithm -> settings that differ."""
    ant: float = 1.0
    """Share of the steps that is taken on the Ant, which is slow to simulate."""
    full: bool = False
    """Whether every method is run on every body with every number of trajectories."""


_LAPTOP_IRL: dict[str, Any] = {
    "steps_per_iteration": 2_500, "trajectories": 5, "reward_updates": 3, "replay_capacity": 500_000,
}  # fmt: skip
_SMOKE: dict[str, Any] = {"batch_size": 16, "replay_capacity": 2_000}
_SMOKE_IRL: dict[str, Any] = {
    **_SMOKE, "warm_up": 100, "steps_per_iteration": 200, "trajectories": 2, "reward_hidden": 8,
}  # fmt: skip
_SMOKE_RATIO: dict[str, Any] = {"ratio_hidden": 8, "ratio_updates": 10, "ratio_batch_size": 16}
_SMOKE_ADVERSARIAL: dict[str, Any] = {
    **_SMOKE, "ratio_updates": 10, "ratio_batch_size": 16, "learning_starts": 100, "steps_per_round": 100,
    "steps_per_iteration": 200, "updates_per_step": 0.2,
}  # fmt: skip

SCALES = {
    "smoke": Scale(
        seeds=1,
        episodes=2,
        fresh_seeds=2,
        hidden=(16, 16),
        steps={"bc": 200, "fmax": 400, "airl": 400, "firl": 400, "maxent-irl": 400},
        options={
            "bc": {"batch_size": 32},
            "firl": {**_SMOKE_IRL, **_SMOKE_RATIO, "ratio_blocks": 1},
            "maxent-irl": _SMOKE_IRL,
            "fmax": {**_SMOKE_ADVERSARIAL, "ratio_hidden": 8},
            "airl": {**_SMOKE_ADVERSARIAL, "reward_hidden": 8},
        },
    ),
    "laptop": Scale(
        seeds=1,
        episodes=20,
        steps={"bc": 20_000, "fmax": 150_000, "airl": 300_000, "firl": 500_000, "maxent-irl": 500_000},
        options={
            "firl": {**_LAPTOP_IRL, "ratio_updates": 300, "ratio_batch_size": 400},
            "maxent-irl": _LAPTOP_IRL,
            "fmax": {"updates_per_step": 1.0},
            "airl": {"updates_per_step": 1.0, "replay_capacity": 300_000},
        },
        ant=0.6,
    ),
    "paper": Scale(
        seeds=3,
        episodes=50,
        hidden=(256, 256),
        steps={"bc": 200_000, "fmax": 10_000_000, "airl": 10_000_000},
        full=True,
    ),
}


def cells(scale: str) -> tuple[Cell, ...]:
    """Every cell at that scale, one body after the other; a single trajectory first."""
    made = []
    for n in COUNTS:
        for task in TASKS:
            if n == 1:
                made.append(untrained(scale, task))
            made += [cell(scale, task, n, method) for method in METHODS if _is_run(scale, task, n, method)]
    return tuple(made)


def _is_run(scale: str, task: str, n: int, method: str) -> bool:
    if SCALES[scale].full:
        return True
    if scale == "smoke":
        return n == 1 and (task == "hopper" or method == "FKL f-IRL")
    return task == "hopper" or (n == 1 and method != "AIRL")


def setting(task: str, n: int) -> str:
    """Label of a body and a number of trajectories."""
    return f"{task}-{n}"


def cell(scale: str, task: str, n: int, method: str) -> Cell:
    """The cell of one method; other experiments that need its run have it as their own."""
    at, about = SCALES[scale], TASKS[task]
    algorithm, own = METHODS[method]
    options = _options(scale, task, algorithm) | own
    steps = at.steps.get(algorithm, about.iterations * int(options["steps_per_iteration"]))
    if task == "ant" and algorithm != "bc":
        steps = round(at.ant * steps)
    published = PUBLISHED[task][method][COUNTS.index(n)]
    share = max(0.0, round(published / about.expert[COUNTS.index(n)], 2))
    return Cell(
        method=method,
        algorithm=algorithm,
        setting=setting(task, n),
        environment=about.environment,
        options=options,
        world={"envs": 10, **ABSORBING} if algorithm == "airl" else {"envs": 10},
        demonstrations=about.demonstrations,
        first=n,
        steps=steps,
        seeds=tuple(range(at.seeds)),
        episodes=at.episodes,
        published={"return": published, "ratio": share},
        training_metrics=() if algorithm == "bc" else ("return",),
    )


def untrained(scale: str, task: str) -> Cell:
    """Fresh networks, of the size that the published code had, beside the published row of BC."""
    at, about = SCALES[scale], TASKS[task]
    return Cell(
        method=FRESH,
        algorithm=UNTRAINED,
        setting=setting(task, 1),
        environment=about.environment,
        options={"hidden": [256, 256]},
        world={"envs": 10},
        steps=0,
        seeds=tuple(range(at.fresh_seeds)),
        episodes=at.episodes,
        published={"return": PUBLISHED[task]["BC"][0]},
    )


def _options(scale: str, task: str, algorithm: str) -> dict[str, Any]:
    at, about = SCALES[scale], TASKS[task]
    hidden = {"hidden": list(at.hidden)}
    differ = dict(at.options.get(algorithm, {}))
    if algorithm == "bc":
        return hidden | BC | differ
    if algorithm == "airl":
        return hidden | AIRL | differ
    if algorithm == "fmax":
        return hidden | FMAX | dict(about.fmax) | differ
    options = hidden | IRL | {"reward_hidden": about.reward_hidden}
    if algorithm == "firl":
        options |= RATIO | {"ratio_blocks": about.ratio_blocks}
    return options | differ


EXPERIMENT = Experiment(
    "firl-benchmark",
    "f-IRL, MaxEnt IRL, f-MAX, AIRL and BC from 1, 4 and 16 trajectories on MuJoCo bodies",
    cells,
    claims="firl_benchmark_page:claims",
    page="firl_benchmark_page:write",
)
