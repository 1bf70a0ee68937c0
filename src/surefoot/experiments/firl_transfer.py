"""Does a reward carry over to another body? It is learned from a healthy ant and tried on a disabled one.

Paper: Ni et al. 2020, arXiv 2011.04709; Tables 3.5 and 3.9 of the thesis version. An expert is trained on
``CustomAnt-v0``; a reward is learned from the states of its best episodes; on ``DisabledAnt-v0``, two of
whose legs are short and nearly powerless, SAC is trained from scratch on that reward. Beside it: SAC on the
true reward, and the healthy expert's policy moved as it is. The two models' motors are in different orders,
so that a policy must be rewired; the row ``unpermuted`` is that of a policy which was not, and drives the
wrong legs.

The reward is that of the last iteration and the first seed; the published code chose one by the true reward.
Published numbers of GAIL and AIRL are quoted there from the paper of AIRL (Fu et al. 2018) and of policies.

At ``paper`` the settings are those of the published code, with 32 trajectories (its text has 32 in one place
and 16 in another). What is cut at ``laptop``: one seed; networks of 64 x 64; half a million steps of the
expert, 300,000 of the learning of rewards (the code: 3.75 million), 400,000 of each SAC on the disabled ant
(1 million); 16 trajectories; three updates of the reward an iteration instead of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.experiments import POLICY, Cell, Experiment
from surefoot.experiments.firl_benchmark import IRL, RATIO
from surefoot.experiments.firl_reward_recovery import SAC

HEALTHY, DISABLED = "healthy", "disabled"
"""Settings."""
EXPERT = "SAC on the true reward"
"""Label of SAC on the environment's own reward, on either body."""
MOVED, UNPERMUTED = "policy of the expert", "policy of the expert (unpermuted)"
ORDER = (2, 3, 4, 5, 6, 7, 0, 1)
"""Places of the disabled ant's actions (hip and ankle of legs 1, 2, 3, 4) among those of the healthy one
(legs 4, 1, 2, 3)."""

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "JS f-IRL": ("firl", {"divergence": "js"}),
    "MaxEnt IRL": ("maxent-irl", {}),
}
"""Label -> algorithm that learns a reward, and its settings."""

PUBLISHED = {EXPERT: 315.5, "JS f-IRL": 141.1, "MaxEnt IRL": 145.5}
"""Label -> return on the disabled ant (Table 3.5)."""
QUOTED = {"GAIL, policy": -29.9, "AIRL, policy": 130.3, "f-IRL, best seed, up to 50 trajectories": 232.5}
"""Further published returns (Tables 3.5 and 3.9), of which there is no cell."""


@dataclass(frozen=True)
class Scale:
    """What differs between the scales."""

    expert_steps: int
    irl_steps: int
    disabled_steps: int
    trajectories: int
    """Of the expert, the best of 64 that it plays."""
    seeds: int
    """Of everything but the expert."""
    episodes: int
    hidden: tuple[int, int] = (64, 64)
    played: int = 64
    sac: Mapping[str, Any] = field(default_factory=dict)
    """Settings of SAC that differ."""
    irl: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ of the methods that learn a reward."""
    ratio: Mapping[str, Any] = field(default_factory=dict)
    """Those of f-IRL's discriminator."""


SCALES = {
    "smoke": Scale(
        expert_steps=400,
        irl_steps=400,
        disabled_steps=400,
        trajectories=2,
        seeds=1,
        episodes=2,
        hidden=(16, 16),
        played=3,
        sac={
            "batch_size": 16,
            "replay_capacity": 2_000,
            "warm_up": 100,
            "steps_per_iteration": 100,
            "updates_per_step": 0.5,
        },
        irl={
            "batch_size": 16,
            "replay_capacity": 2_000,
            "warm_up": 100,
            "steps_per_iteration": 200,
            "updates_per_step": 0.5,
            "trajectories": 2,
            "reward_hidden": 8,
        },
        ratio={"ratio_hidden": 8, "ratio_blocks": 1, "ratio_updates": 10, "ratio_batch_size": 16},
    ),
    "laptop": Scale(
        expert_steps=500_000,
        irl_steps=300_000,
        disabled_steps=400_000,
        trajectories=16,
        seeds=1,
        episodes=20,
        sac={"replay_capacity": 200_000},
        irl={"replay_capacity": 200_000, "trajectories": 5, "reward_updates": 3},
        ratio={"ratio_updates": 300, "ratio_batch_size": 400},
    ),
    "paper": Scale(
        expert_steps=1_000_000,
        irl_steps=3_750_000,
        disabled_steps=1_000_000,
        trajectories=32,
        seeds=3,
        episodes=50,
        hidden=(256, 256),
    ),
}


def cells(scale: str) -> tuple[Cell, ...]:
    """The expert; the rewards; what becomes of them, and of its policy, on the disabled ant."""
    expert = _sac(scale, HEALTHY, EXPERT)
    made = [expert, _sac(scale, DISABLED, EXPERT), _moved(scale, expert, True), _moved(scale, expert, False)]
    for method in METHODS:
        learned = _irl(scale, method, expert)
        made += [learned, _sac(scale, DISABLED, method, source=learned)]
    return tuple(made)


def _sac(scale: str, setting: str, method: str, source: Cell | None = None) -> Cell:
    at, healthy = SCALES[scale], setting == HEALTHY
    options = SAC | {"warm_up": 5_000, "hidden": list(at.hidden)} | dict(at.sac)
    return Cell(
        method=method,
        algorithm="sac",
        setting=setting,
        environment="CustomAnt-v0" if healthy else "DisabledAnt-v0",
        options=options,
        world={"envs": 10},
        steps=at.expert_steps if healthy else at.disabled_steps,
        seeds=(0,) if healthy else tuple(range(at.seeds)),
        episodes=at.episodes,
        published={} if healthy else {"return": PUBLISHED[method]},
        source=source,
        takes={} if source is None else {"reward": {"seed": 0}},
    )


def _irl(scale: str, method: str, expert: Cell) -> Cell:
    at = SCALES[scale]
    algorithm, own = METHODS[method]
    own_ratio = RATIO | {"ratio_blocks": 5} | dict(at.ratio) if algorithm == "firl" else {}
    changed = {"steps_per_iteration": 2_500, "warm_up": 500, "reward_hidden": 128, "hidden": list(at.hidden)}
    return Cell(
        method=method,
        algorithm=algorithm,
        setting=HEALTHY,
        environment="CustomAnt-v0",
        options=IRL | changed | own_ratio | dict(at.irl) | own,
        world={"envs": 10},
        steps=at.irl_steps,
        seeds=tuple(range(at.seeds)),
        episodes=at.episodes,
        training_metrics=("return",),
        source=expert,
        takes={"demonstrations": {"played": at.played, "kept": at.trajectories}},
    )


def _moved(scale: str, expert: Cell, rewired: bool) -> Cell:
    at = SCALES[scale]
    return Cell(
        method=MOVED if rewired else UNPERMUTED,
        algorithm=POLICY,
        setting=DISABLED,
        environment="DisabledAnt-v0",
        world={"envs": 10},
        steps=0,
        seeds=(0,),
        episodes=at.episodes,
        source=expert,
        takes={"policy": {"actions": list(ORDER)} if rewired else {}},
    )


EXPERIMENT = Experiment(
    "firl-transfer",
    "a reward learned from a healthy ant, tried on one with two disabled legs",
    cells,
    claims="firl_transfer_page:claims",
    page="firl_transfer_page:write",
)
