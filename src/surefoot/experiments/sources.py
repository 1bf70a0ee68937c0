"""What a cell uses of another cell's run: its reward, its demonstrations, its policies.

``takes`` of a cell says what, and how:

| key | value | meaning |
| --- | --- | --- |
| ``reward`` | ``{"seed": 0}`` | the reward learned with that seed, in the place of the world's own |
| ``prior`` | ``{"seed": 0, "weight": 0.1, "discount": 0.99}`` | the same, added as potential-based shaping |
| ``demonstrations`` | ``{"played": 64, "kept": 16}`` | the best episodes of the first seed's policy |
| ``controller`` | ``{"name": "noisy_walk:WalkBack", "episodes": 300}`` | demonstrations, too: what a controller plays that comes with the environment; needs no source |
| ``start`` | ``{"critics": true}`` | the policy of the first seed, to start from, and its critics if so wanted |
| ``policy`` | ``{"actions": [2, 3, 0, 1]}`` | its policies, evaluated here; the order of their actions |

A source must be finished: the runner sees to it, and a cell whose source is not stops with an error.
"""  # noqa: E501

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.errors import SurefootError
from surefoot.experiments import UNTRAINED, Cell
from surefoot.experiments.identity import digests
from surefoot.experiments.results import read_json

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations
    from surefoot.experiments.worker import Place
    from surefoot.task import Task
    from surefoot.training.policy_io import DeployedPolicy


def finished(cell: Cell, place: Place) -> Place:
    """Where the run of the cell's source is; raises :class:`SurefootError` unless it is finished."""
    assert cell.source is not None
    there = place.of(cell.source)
    state = read_json(there.state) or {}
    if not state.get("record") or state.get("training") != digests(cell.source)[0]:
        raise SurefootError(
            f"{cell.name} uses the run of {cell.source.name}, which is not finished; run that first."
        )
    return there


def demonstrations(cell: Cell, place: Place) -> Demonstrations | None:
    """What the cell learns from: a set, the first episodes of it, what its source's policy plays, or what a
    controller does."""
    from surefoot.data import demonstrations as sets

    how = cell.takes.get("demonstrations")
    controller = cell.takes.get("controller")
    if controller is not None:
        found = played(cell, controller)
    elif how is not None:
        from surefoot.experiments.experts import record

        there = finished(cell, place)
        found = record(there.run, episodes=how["kept"], played=how["played"], name=f"best of {there.cell}")
    elif cell.demonstrations is None:
        return None
    else:
        found = sets.load(cell.demonstrations)
    if cell.first is None:
        return found
    if cell.first > found.episodes:
        raise SurefootError(
            f"{cell.name} takes {cell.first} episodes of '{found.name}', which has {found.episodes}."
        )
    return replace(found.slice(range(cell.first)), name=f"first {cell.first} of {found.name}")


def played(cell: Cell, how: Mapping[str, Any]) -> Demonstrations:
    """Every episode that a controller plays in the cell's world, whatever it costs."""
    from surefoot import worlds

    module, _, name = how["name"].partition(":")
    controller = getattr(import_module(f"surefoot.envs.{module}"), name)()
    own = worlds.make(cell.environment, **cell.world)
    return worlds.demonstrate(own, controller, episodes=how["episodes"], name=name, keep_all=True)


def start(cell: Cell, place: Place) -> Path | None:
    """The run, or the policy alone, that the cell starts from; ``None`` if it starts from nothing."""
    how = cell.takes.get("start")
    if how is None:
        return None
    run = finished(cell, place).run
    return run if how["critics"] else run / "policy"


def world(cell: Cell, place: Place, own: Any) -> Any:
    """The world that the cell is trained in: its ``own``, or that with a learned reward."""
    from surefoot.training.reward_io import load_reward
    from surefoot.worlds.relabel import relabel

    for key in ("reward", "prior"):
        how: Mapping[str, Any] | None = cell.takes.get(key)
        if how is not None:
            reward = load_reward(finished(cell, place).run, how["seed"])
            if key == "reward":
                return relabel(own, reward)
            return relabel(own, reward, prior_weight=how["weight"], discount=how["discount"])
    return own


def policies(cell: Cell, place: Place, task: Task) -> Any:
    """One policy a seed, stacked: those of the cell's source, or fresh networks."""
    import jax

    from surefoot.evaluation.rollouts import stack
    from surefoot.networks.policies import SquashedGaussianPolicy
    from surefoot.training.policy_io import load_policy, revive

    if cell.algorithm == UNTRAINED:
        hidden = tuple(cell.options["hidden"])
        return stack([SquashedGaussianPolicy.create(task, hidden, jax.random.key(s)) for s in cell.seeds])
    run = finished(cell, place).run
    order = cell.takes["policy"].get("actions")
    found = [load_policy(run, seed) for seed in cell.seeds]
    return stack([revive(policy if order is None else reordered(policy, order)) for policy in found])


def reordered(policy: DeployedPolicy, order: Sequence[int]) -> DeployedPolicy:
    """The policy with its actions in another order: the new entry i is the old entry ``order[i]``.

    For robots of the same kind whose motors are wired in different orders.
    """
    assert policy.kind == "squashed-gaussian" and policy.low is not None and policy.high is not None
    columns = [*order, *(len(order) + i for i in order)]  # means, then logarithms of deviations
    return replace(
        policy,
        weights=(*policy.weights[:-1], policy.weights[-1][:, columns]),
        biases=(*policy.biases[:-1], policy.biases[-1][columns]),
        low=policy.low[list(order)],
        high=policy.high[list(order)],
    )


def adopt(place: Place, training: str) -> bool:
    """Takes over the run of a cell of the same name that another experiment has finished at this scale.

    Only if it is the same training to the last setting: ``training`` is its digest. The run is copied.
    """
    for state in sorted(place.runs.parent.parent.glob(f"*/{place.runs.name}/.cells/{place.cell}.json")):
        found = read_json(state)
        there = type(place)(state.parents[2], place.cell)
        if state == place.state or not isinstance(found, dict) or found.get("training") != training:
            continue
        if not found.get("record") or not there.run.exists():
            continue
        halfway = place.state.with_suffix(".copy")
        shutil.rmtree(halfway, ignore_errors=True)
        shutil.copytree(there.run, halfway)
        shutil.rmtree(place.run, ignore_errors=True)
        place.run.parent.mkdir(parents=True, exist_ok=True)
        os.replace(halfway, place.run)
        return True
    return False
