"""Experts: SAC with the settings of the f-IRL experiments, and their best episodes as demonstrations.

Ni et al. 2020 (arXiv 2011.04709) train SAC on the environment's own reward and record what the final
policy does; the best episodes are the demonstrations that f-IRL and its relatives learn from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.errors import SurefootError, check_range

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations


@dataclass(frozen=True)
class Preset:
    """How long the experiments trained in one environment, and what their expert reached there."""

    steps: int = 1_000_000
    """Environment steps."""
    warm_up: int = 10_000
    """Steps of random actions at the start: ten episodes."""
    published: float | None = None
    """Return of the experiments' expert (their Table 3 and its header)."""


PRESETS = {
    "Hopper": Preset(published=3592.63),
    "Walker2d": Preset(3_000_000, published=5344.21),
    "HalfCheetah": Preset(3_000_000, published=12427.49),
    "Ant": Preset(3_000_000, published=5926.18),
    "CustomAnt": Preset(warm_up=5_000),
    "DisabledAnt": Preset(warm_up=5_000, published=315.5),
}
"""Name of the body -> preset."""

ENVS = 10
"""Environments side by side: the policy is asked once for all of them."""
STEPS_PER_ITERATION = 50
"""50 gradient steps follow 50 environment steps."""


def preset_of(env: str) -> Preset:
    """The preset of ``gymnasium:Hopper-v5``, ``FixedHopper-v0`` and the like; a general one for others."""
    body = env.rpartition(":")[2].rpartition("/")[2].partition("-v")[0].removeprefix("Fixed")
    return PRESETS.get(body, Preset())


def train_words(env: str) -> list[str]:
    """The options of ``surefoot train`` that train an expert in ``env``."""
    preset = preset_of(env)
    settings = {
        "--env": env,
        "--steps": preset.steps,
        "--envs": ENVS,
        "--steps-per-iteration": STEPS_PER_ITERATION,
        "--warm-up": preset.warm_up,
        "--batch-size": 100,
        "--learning-rate": 1e-3,
        "--alpha": 0.2,
        "--replay-capacity": 1_000_000,
        "--checkpoint-every": 600,  # the replay buffer makes a checkpoint of some hundred megabytes
    }
    return [str(word) for pair in settings.items() for word in pair]


def record(
    run: str | os.PathLike[str],
    *,
    episodes: int = 16,
    played: int | None = None,
    mode: str = "sample",
    policy: int | None = None,
    env: str | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    name: str = "",
) -> Demonstrations:
    """The ``episodes`` with the highest returns of ``played`` ones, the best first.

    Args:
        run: folder of a run, or of an exported policy.
        episodes: how many are kept.
        played: how many are played; ``episodes`` if left out, so that all are kept.
        mode: ``sample`` as in training, or ``greedy``.
        policy: seed of the training whose policy plays; the first one if left out.
        env: environment to play in; that of the run if left out.
        options: of that environment, in place of those of the run.
        seed: decides starts and chance.
        name: of the set.

    Where an environment can make the end of an episode absorbing (``FixedHopper-v0`` and its like), it
    does so unless ``options`` say otherwise: all episodes then have the same length.

    Raises:
        SurefootError: no such run or policy, or it does not fit the environment.
    """
    from surefoot import worlds
    from surefoot.algorithms import plans
    from surefoot.evaluation.rollouts import MODES
    from surefoot.networks.policies import Mode
    from surefoot.training.policy_io import check_action, load_policy, revive

    played = episodes if played is None else played
    check_range("episodes", episodes, low=1)
    if played < episodes:
        raise SurefootError(f"{played} episodes are played, so {episodes} of them cannot be kept; play more.")
    if mode not in MODES:
        raise SurefootError(f"mode = '{mode}': give sample or greedy.")
    deployed = load_policy(run, policy)
    where = _where(Path(run), deployed.description, env, dict(options or {}))
    world = worlds.from_description(where, envs=min(played, 16))
    size, takes = world.task.observation.size, deployed.description["sizes"][0]
    if size != takes:
        raise SurefootError(
            f"The policy of {run} takes {takes} observed numbers, but '{world.task.name}' gives {size}."
        )
    check_action(deployed, world.task, str(run))
    actor: Any = revive(deployed)
    method = deployed.description.get("algorithm")
    part = "actor" if plans(method) else "policy"
    demos = worlds.demonstrate(
        world,
        Mode(actor) if mode == "greedy" else actor,
        episodes=played,
        seed=seed,
        name=name,
        keep_all=True,
    )
    returns = demos.returns
    best = np.argsort(-returns, kind="stable")[:episodes]
    chosen = f"the best {episodes} of {played}" if played > episodes else f"all {episodes}"
    about = {
        "environment": {"id": where["id"], "options": where["options"]},
        "description": f"{chosen} episodes that a trained policy played in {where['id']}",
        "algorithm": f"{part} of {method or 'a run'}, {mode} actions",
        "policy": {"seed": deployed.seed, "iteration": deployed.description.get("iteration")},
        "played": {
            "episodes": played,
            "keep": "all" if played == episodes else "the highest returns",
            "return": {"mean": float(returns.mean()), "std": float(returns.std())},
            "kept_return": {"mean": float(returns[best].mean()), "std": float(returns[best].std())},
            "kept_length": float(demos.lengths[best].mean()),
            "published_return": preset_of(where["id"]).published,
        },
    }
    return replace(demos.slice(best), metadata=demos.metadata | about)


def _where(run: Path, policy: Mapping[str, Any], env: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Description of the world to play in, as :func:`surefoot.worlds.from_description` takes it."""
    description: dict[str, Any] = {"id": env or policy.get("environment"), "envs": 1, "options": {}}
    if env is None and (run / "config.json").exists():
        from surefoot.training.run import Run

        description = {**description, **Run(run).config["world"]}
    if not description["id"]:
        raise SurefootError(f"{run} does not say in which environment it was trained; name one with --env.")
    if str(description["id"]).startswith("Fixed"):
        options = {"absorbing": True, **options}
    from surefoot.worlds import WORLD_OPTIONS

    chosen = {**description["options"], **options}
    if "env_options" in chosen and "env_options" not in options:  # where the run's own may be
        inner = {name: value for name, value in options.items() if name not in WORLD_OPTIONS}
        chosen = {name: value for name, value in chosen.items() if name not in inner}
        chosen["env_options"] = {**chosen["env_options"], **inner}
    return {**description, "options": chosen}
