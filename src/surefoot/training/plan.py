"""What is settled before a training starts: its length, its seeds, its demonstrations, its world."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.algorithms import name_of
from surefoot.data import demonstrations as sets
from surefoot.data.demonstrations import Demonstrations
from surefoot.errors import SurefootError, check_range, check_seed
from surefoot.training.reward_io import load_reward
from surefoot.training.run import Run, atomic_write, learner_from, options_of
from surefoot.worlds import describe, from_description
from surefoot.worlds.relabel import RelabelledWorld, own, relabel

_GIVEN = "given_reward"
"""Folder in a run with a copy of the reward that it was trained on, if that was not the environment's own."""


_WITHOUT_DEMONSTRATIONS = frozenset(
    {
        "sac",
        "discrete-sac",
        "td3",
        "ppo",
        "ppo-lagrangian",
        "cpo",
        "lbpo",
        "backtrack",
        "sddpg",
        "loop",
        "mbpo",
    }
)
"""Algorithms that would ignore demonstrations."""
_WITHOUT_REWARD = frozenset({"bc", "firl", "maxent-irl", "airl", "gail", "fmax", "smm"})
"""Algorithms that would ignore a reward: they make their own, or have none."""


@dataclass(frozen=True)
class Plan:
    """How many iterations, and how many of them make a block."""

    iterations: int
    block: int
    """Iterations between two rows of metrics; the unit of checkpoints too."""
    steps_per_iteration: int
    evaluate_blocks: int | None
    """Blocks between two evaluations."""

    @property
    def log_every(self) -> int:
        """Steps between two rows."""
        return self.block * self.steps_per_iteration

    @property
    def steps(self) -> int:
        """Steps a seed in all."""
        return self.iterations * self.steps_per_iteration

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Plan:
        """The plan that a run's config holds."""
        every = config["evaluate_every"]
        return cls(
            config["iterations"],
            config["block"],
            config["steps_per_iteration"],
            every and every // config["log_every"],
        )

    def longer(self, steps: int) -> Plan:
        """The same plan for ``steps`` in all, rounded up to whole blocks.

        Raises :class:`SurefootError` if that is less than it has.
        """
        if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < self.steps:
            raise SurefootError(
                f"steps = {steps!r}: the run is planned for {self.steps:,}; give at least as many, in all."
            )
        return replace(self, iterations=self.block * math.ceil(steps / self.log_every))


def make_plan(learner: Any, steps: int, log_every: int | None, evaluate_every: int | None) -> Plan:
    """Lengths in iterations from lengths in steps; raises :class:`SurefootError` if one is of no use."""
    each = int(learner.steps_per_iteration)
    for name, value in (("steps", steps), ("log_every", log_every), ("evaluate_every", evaluate_every)):
        if value is not None and (not isinstance(value, int | np.integer) or value < 1):
            raise SurefootError(f"{name} = {value!r}: give a whole number of steps, at least 1.")
    if steps < each:
        raise SurefootError(
            f"steps = {steps} is less than one iteration of {name_of(learner)}, which takes {each} steps; "
            f"train for at least {each}."
        )
    iterations = math.ceil(steps / each)
    block = _block_size(iterations) if log_every is None else min(max(1, round(log_every / each)), iterations)
    iterations = block * math.ceil(iterations / block)
    every = evaluate_every and max(1, round(evaluate_every / (block * each)))
    return Plan(iterations, block, each, every)


def _block_size(iterations: int) -> int:
    """For 100 to 200 blocks (fewer if there are fewer iterations), with as little left over as possible."""
    low = math.ceil(iterations / 200)
    high = max(low, iterations // 100)
    return min(range(low, high + 1), key=lambda size: (-iterations % size, size))


def checked_seeds(seeds: Iterable[int] | int) -> tuple[int, ...]:
    """The seeds, if they can be used; a number stands for the first so many."""
    if isinstance(seeds, int | np.integer) and not isinstance(seeds, bool):
        check_range("seeds", int(seeds), low=1)
        seeds = range(int(seeds))
    if not isinstance(seeds, Iterable):
        raise SurefootError(f"seeds = {seeds!r}: say how many (5), or which, such as (0, 3, 7).")
    seeds = tuple(seeds)
    if not seeds:
        raise SurefootError("seeds is empty; give at least one, such as seeds=(0,).")
    for seed in seeds:
        check_seed(seed)
    if len(set(seeds)) < len(seeds):
        raise SurefootError(f"seeds = {seeds} names a seed twice; each must be different.")
    return tuple(int(seed) for seed in seeds)


def check_demonstrations(
    learner: Any, world: Any, demonstrations: Demonstrations | None, description: Mapping[str, Any]
) -> None:
    """Raises :class:`SurefootError` unless the learner can learn from this set, or from none."""
    if demonstrations is not None:
        demonstrations.check(world.task, description.get("options") or {})
    elif learner.needs_demonstrations:
        raise SurefootError(
            f"{name_of(learner)} learns from demonstrations; give some (--demos NAME, demonstrations=...). "
            "See `surefoot demos list`."
        )


def check_takes_demonstrations(learner: Any) -> None:
    """Raises :class:`SurefootError` for a learner that would ignore them: no run is to seem to use them."""
    if (name := name_of(learner)) in _WITHOUT_DEMONSTRATIONS:
        raise SurefootError(
            f"{name} does not learn from demonstrations; leave out --demos (demonstrations=...)."
        )


def check_reads_reward(learner: Any) -> None:
    """Raises :class:`SurefootError` for a learner that would ignore the reward that it is given."""
    if (name := name_of(learner)) in _WITHOUT_REWARD:
        raise SurefootError(
            f"{name} learns from no reward of the environment, so another one would change nothing; leave "
            "out --reward and --prior (relabel)."
        )


def load_demonstrations(source: str | os.PathLike[str]) -> Demonstrations:
    """The set of that name, or in that folder."""
    return sets.load(os.fspath(source))


def origin_of(demonstrations: Demonstrations, source: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Where the set can be loaded from again; ``source`` is ``None`` if nowhere."""
    digest = demonstrations.digest()
    if source is not None:
        found = load_demonstrations(source)
        if found.digest() != digest:
            raise SurefootError(f"source = '{source}' holds other demonstrations than those given.")
        return {"source": _absolute(source), "digest": digest}
    if demonstrations.name:
        try:
            if load_demonstrations(demonstrations.name).digest() == digest:
                return {"source": _absolute(demonstrations.name), "digest": digest}
        except SurefootError:  # a name only, or that of a larger set: a copy is kept instead
            pass
    return {"source": None, "digest": digest}


def _absolute(source: str | os.PathLike[str]) -> str:
    """Folders with their full path, so that a run can be resumed from elsewhere; names as they are."""
    name = os.fspath(source)
    return str(Path(name).resolve()) if name not in sets.bundled() and Path(name).exists() else name


def keep_demonstrations(demonstrations: Demonstrations, run: Run) -> None:
    """A copy in the run folder."""
    sets.save(demonstrations, run.path / "demonstrations")


def reload_demonstrations(run: Run) -> Demonstrations | None:
    """Those that the run began with; raises :class:`SurefootError` if they have changed."""
    origin = run.config["demonstrations"]
    if origin is None:
        return None
    source = origin["source"] or run.path / "demonstrations"
    found = load_demonstrations(source)
    if found.digest() != origin["digest"]:
        raise SurefootError(
            f"The demonstrations in '{source}' have changed since this run began; "
            "restore them, or train again."
        )
    return found


def describe_task(world: Any) -> dict[str, Any]:
    """What reports need to know of the task."""
    task = world.task
    return {
        "name": task.name,
        "constraints": list(task.constraints),
        "limits": list(task.limits),
        "horizon": task.horizon,
        "reports_success": task.reports_success,
    }


def same_learner(config: Mapping[str, Any], learner: Any) -> Any:
    """The learner of a run: made again, or the given one if it is the same."""
    recorded = config["learner"]
    if learner is None:
        return learner_from(recorded["name"], recorded["options"])
    given = {"name": name_of(learner), "options": options_of(learner)}
    if given != recorded:
        raise SurefootError(f"The run was trained with {recorded}, not with {given}; give the same learner.")
    return learner


def same_world(run: Run, world: Any) -> Any:
    """The world of a run: made again, or the given one if it is the same."""
    recorded, reward = run.config["world"], run.config.get("reward")
    if world is None:
        return _relabelled(from_description(recorded), run, reward)
    given = json.loads(json.dumps(describe(own(world))))
    same = given == recorded if recorded.get("id") else describe_task(world) == run.config["task"]
    if not same:
        raise SurefootError(f"The run was trained in {recorded}, not in {given}; give the same world.")
    if _decisive(describe_reward(world)) != _decisive(reward):
        raise SurefootError(
            f"The run was trained with the reward {reward or 'of the environment'}, not with "
            f"{describe_reward(world) or 'that of the environment'}; give the same world."
        )
    return world


def _decisive(reward: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if reward is None:
        return None
    return {key: value for key, value in reward.items() if key != "path" or value is None}


def describe_reward(world: Any) -> dict[str, Any] | None:
    """Where the reward comes from that replaces the environment's own or is added to it, if any."""
    if not isinstance(world, RelabelledWorld):
        return None
    return {"path": None} if world.origin is None else json.loads(world.origin)


def keep_reward(world: Any, run: Run) -> None:
    """A copy of the reward's files in the run folder."""
    origin = describe_reward(world)
    if origin is not None and origin["path"] is not None:
        for name in ("reward.json", f"seed-{origin['seed']}.safetensors"):
            atomic_write(run.path / _GIVEN / name, (Path(origin["path"]) / name).read_bytes())


def _relabelled(world: Any, run: Run, origin: Mapping[str, Any] | None) -> Any:
    if origin is None:
        return world
    if origin["path"] is None:
        raise SurefootError(
            "The reward of this run was a function, which is not kept; give the world again (world=...)."
        )
    reward = load_reward(run.path / _GIVEN, origin["seed"])
    if reward.digest != origin["digest"]:
        raise SurefootError(f"{run.path / _GIVEN} has changed since this run began; train again.")
    return relabel(world, reward, prior_weight=origin["prior_weight"], discount=origin["discount"])
