"""The density experiment of f-IRL: how near do the methods bring an agent's states to a given density?

Paper: Ni et al. 2020, arXiv 2011.04709; Figures 3.2, 3.6 and 3.7 of the thesis version. An arm and a dot
are given a density over positions and no reward. After every epoch the forward KL(expert || agent) and the
reverse KL(agent || expert) are estimated from the states of 1000 episodes, by nearest neighbours (k = 3).

Settings are those of the paper and its published code. Where these two differ:
  SAC's networks        64 x 64 of the text at ``laptop``, 256 x 256 of the code at ``paper``
  steps of the reward   2 an epoch for the arm, 5 for the dot (code; the text has 2)
  the discriminators    an update after every 15 steps of the arm and 5 of the dot (code), from the first
                        500 steps on; the density of their replay counts written rows only
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.experiments import Cell, Experiment

FORWARD, REVERSE = "forward_kl", "reverse_kl"
"""Names of the metrics: KL(expert || agent) and KL(agent || expert), in nats."""
STEPS_PER_EPOCH = 300
"""Environment steps, and as many updates of SAC."""


@dataclass(frozen=True)
class Setting:
    """An environment and the density that the agent is to have in it."""

    title: str
    environment: str
    world: Mapping[str, Any]
    density: str
    indices: tuple[int, ...]
    """Entries of the observation that the density is over."""
    bandwidth: float
    irl: Mapping[str, Any]
    """Settings of the methods that learn a reward."""
    round: int
    """Environment steps between two updates of a discriminator."""
    extent: tuple[float, float, float, float]
    """Left, right, lower and upper edge of what can be reached, for pictures."""


_ARM: dict[str, Any] = {
    "environment": "ReacherTrace-v0",
    "world": {},
    "indices": (0, 1),
    "bandwidth": 0.02,
    "irl": {"reward_activation": "relu", "reward_updates": 2},
    "round": 15,
    "extent": (-0.21, 0.21, -0.21, 0.21),
}

SETTINGS = {
    "reacher-gaussian": Setting(title="arm, one Gaussian", density="reacher/gaussian", **_ARM),
    "reacher-mixture": Setting(title="arm, two Gaussians", density="reacher/mixture", **_ARM),
    "point-mass": Setting(
        title="dot, one Gaussian",
        environment="PointMass-v0",
        world={"size": 4.0},
        density="point-mass/gaussian",
        indices=(0, 1),
        bandwidth=0.2,
        irl={"reward_activation": "tanh", "reward_updates": 5},
        round=5,
        extent=(0.0, 4.0, 0.0, 4.0),
    ),
}
"""Name of the setting in tables -> what it is."""

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "FKL f-IRL": ("firl", {"divergence": "fkl"}),
    "RKL f-IRL": ("firl", {"divergence": "rkl"}),
    "JS f-IRL": ("firl", {"divergence": "js"}),
    "MaxEnt IRL": ("maxent-irl", {}),
    "f-MAX-RKL": ("fmax", {"divergence": "rkl"}),
    # The published code's reward, which is never positive; episodes here cannot end early.
    "GAIL": ("gail", {"form": "log-d"}),
    "FAIRL": ("fmax", {"divergence": "fkl"}),
    "SMM": ("smm", {}),
}
"""Label -> algorithm and its settings."""

BESIDE = ("FAIRL", "SMM")
"""Methods that the paper's figures do not show, so that its claims are not about them."""

LEARN_A_REWARD = ("firl", "maxent-irl")
"""Algorithms; the others have a discriminator instead."""


# Written out although the methods fill these in: only what stands in a cell is part of its identity.
SAC: dict[str, Any] = {
    "learning_rate": 3e-3,
    "alpha": 1.0,
    "batch_size": 256,
    "replay_capacity": 12_000,
    "updates_per_step": 1.0,
    "trajectories": 1_000,
    "expert_samples": 10_000,
}
"""Settings of every method."""
IRL: dict[str, Any] = {
    "warm_up": 150,
    "reward_learning_rate": 1e-3,
    "reward_decay": 0.0,
    "steps_per_round": 50,
}
"""Of those that learn a reward; they collect with ten environments."""
ADVERSARIAL: dict[str, Any] = {
    "learning_starts": 500,
    "ratio_network": "batch-norm",
    "ratio_hidden": 128,
    "ratio_blocks": 5,
    "ratio_updates": 1,
    "ratio_batch_size": 128,
    "ratio_learning_rate": 3e-4,
}
"""Of those with a discriminator instead."""
SMM: dict[str, Any] = {"learning_starts": 500}
"""Of SMM, which has densities alone."""


@dataclass(frozen=True)
class Scale:
    """What differs between the scales."""

    epochs: int
    seeds: int
    episodes: int
    """In the evaluation, which only shows where the agent goes: there is no reward."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of every algorithm."""
    irl: Mapping[str, Any] = field(default_factory=dict)
    """Those of the methods that learn a reward."""
    adversarial: Mapping[str, Any] = field(default_factory=dict)
    """Those of the ones with a discriminator."""
    smm: Mapping[str, Any] = field(default_factory=dict)
    """Those of SMM."""
    full: bool = True
    """Whether every method is run in every setting, or all in the first and one in the others."""


SCALES = {
    "smoke": Scale(
        epochs=3,
        seeds=2,
        episodes=5,
        options={"hidden": [16, 16], "batch_size": 32, "trajectories": 20, "expert_samples": 300},
        irl={"warm_up": 60},
        adversarial={"learning_starts": 90, "ratio_hidden": 16, "ratio_blocks": 1, "ratio_batch_size": 32},
        smm={"learning_starts": 90},
        full=False,
    ),
    "laptop": Scale(epochs=200, seeds=3, episodes=50, options={"kl_every": 5}),
    "paper": Scale(epochs=800, seeds=3, episodes=200, options={"hidden": [256, 256]}),
}


def cells(scale: str) -> tuple[Cell, ...]:
    """Every cell at that scale, one setting after the other."""
    first = next(iter(SETTINGS))
    return tuple(
        _cell(scale, setting, method)
        for setting in SETTINGS
        for index, method in enumerate(METHODS)
        if SCALES[scale].full or setting == first or index == 0
    )


def _cell(scale: str, name: str, method: str) -> Cell:
    at, setting = SCALES[scale], SETTINGS[name]
    algorithm, own = METHODS[method]
    options: dict[str, Any] = {
        "density": setting.density,
        "state_indices": list(setting.indices),
        "bandwidth": setting.bandwidth,
        "steps_per_iteration": STEPS_PER_EPOCH,
        **SAC,
    }
    if algorithm in LEARN_A_REWARD:
        envs = 10
        options |= IRL | dict(setting.irl) | dict(at.irl)
    else:
        envs = setting.round
        own_kind = SMM | dict(at.smm) if algorithm == "smm" else ADVERSARIAL | dict(at.adversarial)
        options |= {"steps_per_round": setting.round} | own_kind
    return Cell(
        method=method,
        algorithm=algorithm,
        setting=name,
        environment=setting.environment,
        options=options | dict(at.options) | own,
        world={**setting.world, "envs": envs},
        steps=at.epochs * STEPS_PER_EPOCH,
        seeds=tuple(range(at.seeds)),
        episodes=at.episodes,
        training_metrics=(FORWARD, REVERSE),
    )


EXPERIMENT = Experiment(
    "firl-density",
    "f-IRL, MaxEnt IRL, f-MAX, GAIL and SMM brought to a state density; KL against epochs",
    cells,
    claims="firl_density_page:claims",
    page="firl_density_page:write",
)
