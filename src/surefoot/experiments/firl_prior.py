"""A recovered reward as prior: does it help in a task whose own reward is rare?

Paper: Ni et al. 2020, arXiv 2011.04709; Figure 3.4 of the thesis version. First a reward is recovered from
the uniform density in a room of 6 x 6: it must draw an agent that starts in one corner everywhere, so it
grows towards the corner that is farthest away. Then plain SAC is trained in the same room on a task with a
goal in that corner and two distracting goals, all of them tiny; the recovered reward r is added to the task's
own as potential-based shaping, w (gamma r(s') - r(s)), with several weights w and temperatures alpha.

Settings are those of the paper and its published code. Where these two differ, or we do:
  the potential         with gamma = 0.99, as in the text (the code has 1)
  SAC's networks        64 x 64 at ``laptop``, 256 x 256 of the code at ``paper``
  an epoch of a reward  900 steps at ``paper`` as in the code (the text has 300); see ``SCALES`` for others
  which reward          that of the last epoch and of the first seed, at every scale
  the number of a cell  the mean return of the final policy, sampled actions, in fresh episodes (the code: of
                        the last ten tests, 30 steps apart)
Not made: f-MAX and GAIL, whose discriminators stand in for a reward in the paper's figure. Their runs do not
keep a reward, for the reason that the figure shows: a discriminator is none.

What is cut at ``laptop``: fewer weights and temperatures, shorter recovery of the rewards, and of the four
rewards only two are tried as prior.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.experiments import Cell, Experiment

ENVIRONMENT = "PointMass-v0"
SIZE = 6.0
"""Side of the room."""
NO_PRIOR = "no prior"
"""Label of plain SAC."""
REWARD = "reward"
"""Setting and group of the cells that recover a reward."""
GRID = "grid"
"""Group of the cells that are trained on the task."""
DISCOUNT = 0.99
STEPS = 8_100
"""Of SAC on the task: 270 episodes of 30."""

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "FKL f-IRL": ("firl", {"divergence": "fkl"}),
    "RKL f-IRL": ("firl", {"divergence": "rkl"}),
    "JS f-IRL": ("firl", {"divergence": "js"}),
    "MaxEnt IRL": ("maxent-irl", {}),
}
"""Label -> algorithm that recovers a reward, and its settings."""

# Written out although the methods fill these in: only what stands in a cell is part of its identity.
RECOVERY: dict[str, Any] = {
    "density": "point-mass/uniform",
    "state_indices": [0, 1],
    "bandwidth": 0.2,
    "learning_rate": 3e-3,
    "alpha": 1.0,
    "batch_size": 256,
    "replay_capacity": 12_000,
    "warm_up": 150,
    "updates_per_step": 1.0,
    "steps_per_round": 50,
    "steps_per_iteration": 900,
    "trajectories": 1_000,
    "expert_samples": 10_000,
    "reward_activation": "tanh",
    "reward_learning_rate": 1e-3,
    "reward_decay": 0.0,
    "reward_updates": 1,
}
"""Settings of the methods that recover a reward."""

TASK: dict[str, Any] = {
    "learning_rate": 3e-3,
    "batch_size": 256,
    "replay_capacity": 12_000,
    "warm_up": 3_000,
    "steps_per_iteration": 30,
    "updates_per_step": 1.0,
    "discount": DISCOUNT,
}
"""Settings of SAC on the task."""


@dataclass(frozen=True)
class Scale:
    """What differs between the scales."""

    epochs: int
    """Updates of the reward, each after ``steps_per_iteration`` steps."""
    reward_seeds: int
    weights: tuple[float, ...]
    """w of the prior; plain SAC is added."""
    alphas: tuple[float, ...]
    seeds: int
    """Of SAC on the task."""
    episodes: int
    priors: tuple[str, ...] = tuple(METHODS)
    """Methods whose reward is tried as prior; all recover one."""
    steps: int = STEPS
    recovery: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the methods that recover a reward."""
    task: Mapping[str, Any] = field(default_factory=dict)
    """Settings of SAC on the task."""


SWEEP = (0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Weights and temperatures of the published figure."""

_FEW = ("FKL f-IRL", "MaxEnt IRL")

SCALES = {
    "smoke": Scale(
        epochs=2,
        reward_seeds=1,
        weights=(0.1,),
        alphas=(0.1,),
        seeds=1,
        episodes=5,
        priors=_FEW,
        steps=240,
        recovery={
            "hidden": [16, 16],
            "batch_size": 32,
            "warm_up": 50,
            "steps_per_iteration": 100,
            "trajectories": 20,
            "expert_samples": 300,
        },
        task={"hidden": [16, 16], "batch_size": 32, "warm_up": 120},
    ),
    "laptop": Scale(
        epochs=200,
        reward_seeds=2,
        weights=(0.01, 0.05, 0.1, 0.3),
        alphas=(0.05, 0.15, 0.3),
        seeds=10,
        episodes=100,
        priors=_FEW,
        recovery={"steps_per_iteration": 300, "trajectories": 300, "reward_updates": 3, "kl_every": 5},
    ),
    "paper": Scale(
        epochs=800,
        reward_seeds=3,
        weights=SWEEP,
        alphas=SWEEP,
        seeds=3,
        episodes=200,
        recovery={"hidden": [256, 256]},
        task={"hidden": [256, 256]},
    ),
}


def cells(scale: str) -> tuple[Cell, ...]:
    """The rewards first, then the task with every weight and temperature."""
    at = SCALES[scale]
    rewards = {method: _recovery(scale, method) for method in METHODS}
    made = list(rewards.values())
    for alpha in at.alphas:
        made.append(_task(scale, NO_PRIOR, None, alpha, 0.0))
        made += [
            _task(scale, method, rewards[method], alpha, weight)
            for weight in at.weights
            for method in at.priors
        ]
    return tuple(made)


def setting(alpha: float, weight: float) -> str:
    """Label of a place in the grid."""
    return f"alpha={alpha:g},w={weight:g}"


def _recovery(scale: str, method: str) -> Cell:
    at = SCALES[scale]
    algorithm, own = METHODS[method]
    options = RECOVERY | dict(at.recovery) | own
    return Cell(
        method=method,
        algorithm=algorithm,
        setting=REWARD,
        group=REWARD,
        environment=ENVIRONMENT,
        options=options,
        world={"size": SIZE, "envs": 10},
        steps=at.epochs * options["steps_per_iteration"],
        seeds=tuple(range(at.reward_seeds)),
        episodes=at.episodes,
        training_metrics=("forward_kl", "reverse_kl"),
    )


def _task(scale: str, method: str, source: Cell | None, alpha: float, weight: float) -> Cell:
    at = SCALES[scale]
    prior = {"seed": 0, "weight": weight, "discount": DISCOUNT}
    return Cell(
        method=method,
        algorithm="sac",
        setting=setting(alpha, weight),
        group=GRID,
        environment=ENVIRONMENT,
        options=TASK | dict(at.task) | {"alpha": alpha},
        world={"size": SIZE, "reward": "goals", "envs": 1},
        steps=at.steps,
        seeds=tuple(range(at.seeds)),
        episodes=at.episodes,
        source=source,
        takes={} if source is None else {"prior": prior},
    )


EXPERIMENT = Experiment(
    "firl-prior",
    "a reward recovered from a uniform density as prior for a task with a rare reward",
    cells,
    claims="firl_prior_page:claims",
    page="firl_prior_page:write",
)
