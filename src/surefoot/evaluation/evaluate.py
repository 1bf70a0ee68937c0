"""From a run folder, or policies in a world, to estimates. JAX is imported when something is played."""

from __future__ import annotations

import io
import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.envs import marble_maze_board as geometry
from surefoot.errors import SurefootError, check_range, check_seed, unknown
from surefoot.evaluation import episodes as tables_of
from surefoot.evaluation.episodes import EpisodeTable, summarise
from surefoot.evaluation.safety import ENOUGH, Evidence, evidence, limits_of, while_training
from surefoot.evaluation.statistics import RATES, Estimate
from surefoot.task import Box, Task
from surefoot.training.metrics import faults
from surefoot.training.run import Run, atomic_write, iteration_of, write_json

if TYPE_CHECKING:
    from surefoot.worlds.world import World
else:
    World = Any  # a world brings JAX, which is imported when something is played

FORMAT = 1
KEPT_PATHS = 30
"""Paths a seed that ``rollouts.npz`` keeps."""
DEFAULT_TAIL = 0.1
"""Share of the episodes, the worst, that ``cvar`` is about."""
NO_COST = "violations cannot be measured: the environment reports no cost"
MODES = ("auto", "sample", "greedy", "both")
"""``auto`` is ``both`` where actions are real and there are costs, so that exploration noise has its price,
else ``sample``."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found; :func:`table` prints it."""

    metrics: dict[str, Estimate]
    """By name, see ``surefoot.evaluation.episodes.DEFINITIONS``."""
    environment: str
    constraints: tuple[str, ...]
    mode: str
    """``sample``, ``greedy`` or ``both`` (the greedy numbers then carry ``greedy_`` in front)."""
    episodes: int
    """Episodes a seed and set of starts."""
    seeds: tuple[int, ...]
    """Seeds of the training, one policy each."""
    seed: int
    """Seed of the evaluation: starts and sampled actions."""
    steps: int = 0
    """Environment steps of training behind the policies."""
    method: str = ""
    """Name of the algorithm."""
    warnings: tuple[str, ...] = ()
    """Signs of failure that the episodes show."""
    notes: tuple[str, ...] = ()
    """What could not be measured, and why."""
    limits: tuple[float, ...] = ()
    """Largest expected cost of an episode that counts as safe, one a constraint; 0 says nothing."""
    tail: float = DEFAULT_TAIL
    """Share of the episodes, the worst, that ``cvar`` is the mean of."""
    evidence: tuple[Evidence, ...] = ()
    """Whether each expected cost is below its limit."""
    tables: Mapping[str, EpisodeTable] = field(default_factory=dict, repr=False)
    """The episodes by prefix (``""``, ``test_``, ``greedy_``, ``greedy_test_``); none if read from a file."""

    @property
    def violation_rate(self) -> Estimate:
        """Share of episodes with a violation; :class:`SurefootError` if the environment reports no cost."""
        if "violating_episodes" not in self.metrics:
            raise SurefootError(f"{self.environment}: {NO_COST}.")
        return self.metrics["violating_episodes"]

    @property
    def table(self) -> EpisodeTable:
        """The episodes from the starts of the run's own world."""
        if "" not in self.tables:
            raise SurefootError("This evaluation holds no episodes; read them from rollouts.npz.")
        return self.tables[""]

    def as_dict(self) -> dict[str, Any]:
        """What ``evaluation.json`` holds."""
        return {
            "format": FORMAT,
            "method": self.method,
            "environment": self.environment,
            "constraints": list(self.constraints),
            "steps": self.steps,
            "seeds": list(self.seeds),
            "mode": self.mode,
            "episodes": self.episodes,
            "seed": self.seed,
            "metrics": {name: value.as_dict() for name, value in self.metrics.items()},
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "limits": list(self.limits),
            "tail": self.tail,
            "evidence": [each.as_dict() for each in self.evidence],
        }


def evaluate(
    run: Run | str | Path,
    *,
    episodes: int = 200,
    mode: str = "auto",
    seed: int = 12345,
    out: bool = True,
    world: World | None = None,
    cost_limits: Sequence[float] | None = None,
    tail: float = DEFAULT_TAIL,
    actor: bool = False,
    horizon: int | None = None,
) -> Evaluation:
    """Plays the policies of a run and returns estimates with intervals.

    ``episodes`` are played for each seed of the run, in its own world; a world with named sets of
    starts (the Marble Maze) is played from its ``test`` starts as well, with ``test_`` in front of
    the names. ``mode`` is ``sample``, ``greedy`` (no exploration noise), ``both`` or ``auto``, see
    ``MODES``. ``seed`` decides starts and actions: the same seed gives the same starts to every method.
    ``out`` writes ``evaluation.json``, ``rollouts.npz`` and ``summary.json`` into the folder. ``world`` is
    needed if the run's world was made from an environment that cannot be made again by name.

    ``cost_limits`` (one a constraint, or one for all) are compared with the expected costs instead of
    those of the run, or of its task; ``tail`` is the share of episodes that ``cvar`` is about.

    A learner that acts by planning is played as a planner, from the newest checkpoint, which takes a planning
    call a step: ask for few episodes. ``actor`` plays what is exported of it instead.

    ``horizon`` ends episodes after so many steps, in an environment of Gymnasium's form; left out, that of
    the training holds.

    Raises :class:`SurefootError` for fewer than one episode, an unknown mode, ``greedy`` asked of a
    planner, a run without exported policies, policies or limits that do not fit the world, a world
    that cannot be made again, and a horizon for a world that is given or that takes none.
    """
    from surefoot import worlds
    from surefoot.training import enable_compilation_cache

    _check(episodes, mode, tail, seed)
    if horizon is not None and world is not None:
        raise SurefootError("The world that is given has a horizon of its own; leave out horizon.")
    run = run if isinstance(run, Run) else Run(run)
    if mode == "greedy" and not actor and _plans(run):
        raise SurefootError(
            f"{run.path} acts by planning, which has no mode 'greedy'; leave it out, or play the actor alone "
            "(--actor)."
        )
    if out and not os.access(run.path, os.W_OK):
        raise SurefootError(
            f"{run.path}, where the evaluation is kept, cannot be written to; copy the run to another place."
        )
    enable_compilation_cache()
    if world is None:
        changes = {} if horizon is None else {"horizon": horizon}
        world = worlds.from_description(run.config["world"], **changes)
    task = world.task
    options = run.config["learner"].get("options") or {}
    limits = limits_of(task.constraints, task.limits, options, cost_limits)
    of_task = cost_limits is None and not options.get("cost_limits")
    planner, iteration = (None, None) if actor else _planners(run, world)
    mode = chosen_mode(mode, task) if planner is None else "sample"  # a planner has no other
    metrics, tables, warnings, notes = _measure(
        world,
        _policies(run, world) if planner is None else planner,
        episodes=episodes,
        mode=mode,
        seed=seed,
        seeds=tuple(run.seeds),
        limits=task.limits if of_task else limits,  # an infinite one is broken by no policy
        tail=tail,
    )
    exact = limits == limits_of(task.constraints, task.limits, options)
    trained = while_training(run.metrics(), task.constraints, limits, exact)
    found = Evaluation(
        metrics=metrics | trained,
        environment=task.name,
        constraints=task.constraints,
        mode=mode,
        episodes=episodes,
        seeds=tuple(int(s) for s in run.seeds),
        seed=seed,
        steps=_steps_after(run, iteration) if iteration is not None else steps_behind(run, planner=False),
        method=run.config["learner"]["name"],
        warnings=tuple(warnings),
        notes=(
            *_of_planning(run, actor),
            *notes,
            *_of_horizon(horizon),
            *_of_limits(task.constraints, limits),
            *_of_few(episodes, limits),
            *_of_rows(run, trained),
        ),
        tables=tables,
        limits=limits,
        tail=tail,
        evidence=tuple(
            each
            for prefix, table in tables.items()
            for each in evidence(table, task.constraints, limits, task.horizon, prefix)
        ),
    )
    if out:
        write(found, run)
    return found


def evaluate_policy(
    policies: Any,
    world: World,
    *,
    episodes: int = 200,
    mode: str = "auto",
    seed: int = 12345,
    tail: float = DEFAULT_TAIL,
) -> dict[str, Estimate]:
    """Estimates by name for policies that are at hand: a policy with a leading seeds axis on every array.

    Otherwise like :func:`evaluate`; nothing is written. Raises :class:`SurefootError` for fewer than one
    episode, an unknown mode, and ``greedy`` asked of a policy without ``mode()``.
    """
    _check(episodes, mode, tail, seed)
    mode = chosen_mode(mode, world.task)
    return _measure(world, policies, episodes=episodes, mode=mode, seed=seed, tail=tail)[0]


def _check(episodes: int, mode: str, tail: float, seed: int) -> None:
    check_range("episodes", episodes, low=1)
    check_seed(seed)
    check_range("tail", tail, low=0, high=1, open_low=True)
    if mode not in MODES:
        raise unknown("mode", mode, MODES)


def chosen_mode(mode: str, task: Task) -> str:
    """``mode``, with ``auto`` decided."""
    if mode != "auto":
        return mode
    return "both" if task.constraints and isinstance(task.action, Box) else "sample"


def _of_limits(constraints: Sequence[str], limits: Sequence[float]) -> list[str]:
    """What is said of costs without a limit to compare with."""
    without = [name for name, limit in zip(constraints, limits, strict=True) if limit <= 0]
    if not without:
        return []
    named = f"cost{'s' * (len(without) > 1)} {', '.join(without)}"
    return [
        f"the limit of the {named} is 0 or unknown, and no number of episodes can show that an expected "
        "cost is 0; give a limit above 0 with --cost-limits (cost of an episode)."
    ]


def _of_horizon(horizon: int | None) -> list[str]:
    """What is said of episodes that the evaluation itself cuts."""
    if horizon is None:
        return []
    return [f"episodes end after {horizon} steps at the latest (--horizon), and so do their costs."]


def _of_few(episodes: int, limits: Sequence[float]) -> list[str]:
    """What is said of statements about limits from few episodes."""
    if episodes >= ENOUGH or not any(limit > 0 for limit in limits):
        return []
    return [
        f"{episodes} episodes a policy are few: what is said with 95 % confidence may hold less often; play "
        f"at least {ENOUGH} (--episodes)."
    ]


def _of_rows(run: Run, trained: Mapping[str, Estimate]) -> list[str]:
    """What is said where rows of metrics are coarser than epochs."""
    block = run.config.get("block", 1)
    if block == 1 or not trained:
        return []
    return [
        f"a row of this run's metrics is the mean of {block} epochs, and training_excess is that of rows; "
        "training_unsafe_epochs too, unless the method counts its own epochs."
    ]


def _measure(
    world: World,
    policies: Any,
    *,
    episodes: int,
    mode: str,
    seed: int,
    seeds: tuple[int, ...] | None = None,
    limits: tuple[float, ...] | None = None,
    tail: float = DEFAULT_TAIL,
) -> tuple[dict[str, Estimate], dict[str, EpisodeTable], list[str], list[str]]:
    import jax

    from surefoot.evaluation.rollouts import rollout

    task = world.task
    island = _island(world)
    keep = episodes if island else KEPT_PATHS
    metrics: dict[str, Estimate] = {}
    tables: dict[str, EpisodeTable] = {}
    warnings: list[str] = []
    notes = [] if task.constraints else [NO_COST + "."]
    places = {"": world} | ({"test_": test} if (test := _with_starts(world, "test")) is not None else {})
    for each_mode in ("sample", "greedy") if mode == "both" else (mode,):
        for index, (place, where) in enumerate(places.items()):
            prefix = ("greedy_" if mode == "both" and each_mode == "greedy" else "") + place
            key = jax.random.fold_in(jax.random.key(seed), index)
            found, report = rollout(where, policies, episodes, key, each_mode, keep)
            named = [str(row) for row in range(found.seeds)] if seeds is None else [str(s) for s in seeds]
            warnings += _of_dropped(report, named)
            notes += _of_feasible(report, getattr(policies, "limits", None), place)
            against = task.limits if limits is None else limits
            reported = task.reports_success or bool(found.success.any())  # by some at the end only
            metrics |= summarise(found, task.constraints, reported, prefix, against, tail)
            tables[prefix] = found
            if island:
                passed = tables_of.ways(found, maze_positions, (island.x, island.y))
                metrics[prefix + "way_left"] = tables_of.way_left(passed)
                lost = tables_of.collapsed(passed)
                if lost:
                    which = [named[row] for row in lost]
                    warnings.append(
                        f"mode collapse ({prefix + 'way_left'}): seed{'s' * (len(which) > 1)} "
                        f"{', '.join(which)} take one of the two ways around the island in less than "
                        "10 % of their successful episodes"
                    )
    return metrics, tables, warnings, notes


def _of_dropped(report: Mapping[str, np.ndarray], seeds: Sequence[str]) -> list[str]:
    """Warnings of plans that were not finite; ``report`` holds means of episodes ``[seeds, episodes]``."""
    if "plan_dropped" not in report:
        return []
    told = faults({"plan_dropped": report["plan_dropped"].mean(axis=1)}, seeds)
    return [f"{about}: {text}" for about, text in told.items()]


def _of_feasible(report: Mapping[str, np.ndarray], limits: Any, place: str) -> list[str]:
    """How many candidates kept the limits of a planner that has any."""
    if limits is None or "plan_feasible" not in report:
        return []
    where = " from the test starts" if place else ""
    share = 100 * float(np.mean(report["plan_feasible"]))
    return [f"plan_feasible{where}: {share:.1f} % of the plans that were weighed kept the planner's limits."]


def maze_positions(observations: np.ndarray) -> np.ndarray:
    """Positions ``[..., 2]`` in px from observations of the Marble Maze ``[..., 8]``."""
    return (np.asarray(observations)[..., :2] + 1) * (geometry.SIZE / 2)


def _island(world: World) -> geometry.Disc | None:
    env = getattr(world, "env", None)
    if world.task.name == "MarbleMaze-v0" and getattr(env, "board", None) == "island":
        return geometry.board("island").zones[0]
    return None


def _with_starts(world: World, starts: str) -> World | None:
    """The same world from another named set of starts; ``None`` if its environment has no such sets."""
    env = getattr(world, "env", None)
    if not (world.compiled and is_dataclass(env) and hasattr(env, "starts")):
        return None
    import jax

    from surefoot.worlds.jax_world import JaxWorld

    return JaxWorld.create(replace(env, starts=starts), 1, jax.random.key(0))  # type: ignore[arg-type]


def _policies(run: Run, world: World) -> Any:
    """The exported policies of every seed as one JAX policy with a leading seeds axis."""
    from surefoot.evaluation.rollouts import revive, stack
    from surefoot.training.policy_io import check_action, load_policy

    if not (run.path / "policy" / "policy.json").exists():
        again = f"surefoot resume {shlex.quote(str(run.path))}"
        raise SurefootError(f"{run.path} holds no policy; go on with `{again}`.")
    policies = [load_policy(run.path, seed) for seed in run.seeds]
    size, expected = policies[0].weights[0].shape[0], world.task.observation.size
    if size != expected:
        raise SurefootError(
            f"The policies of {run.path} see {size} numbers, but '{world.task.name}' shows {expected}; "
            "evaluate them in the world that they were trained in."
        )
    check_action(policies[0], world.task, str(run.path))
    return stack([revive(policy) for policy in policies])


def steps_behind(run: Run, *, planner: bool | None = None) -> int:
    """Steps a seed behind what :func:`evaluate` plays: metrics may be further, if the run was killed.

    ``planner`` says whether that is a planner, which comes from the newest checkpoint; as usual if left out.
    """
    from surefoot.training.policy_io import load_policy

    checkpoints = run.checkpoints()
    if (_plans(run) if planner is None else planner) and checkpoints:
        return _steps_after(run, iteration_of(checkpoints[0]))
    exported = (run.path / "policy" / "policy.json").exists()
    iteration = load_policy(run.path).description.get("iteration") if exported else None
    return run.progress if iteration is None else _steps_after(run, iteration)


def _steps_after(run: Run, iteration: int) -> int:
    return int(iteration * run.config["steps_per_iteration"])


def _plans(run: Run) -> bool:
    """Whether the run's learner acts by planning."""
    from surefoot.algorithms import plans

    return plans(run.config["learner"]["name"])


def _planners(run: Run, world: World) -> tuple[Any, int | None]:
    """The planners of every seed as one with a leading seeds axis, and after how many iterations they are;
    ``None`` if the learner does not plan."""
    if not _plans(run):
        return None, None
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from surefoot.training.fit import restore
    from surefoot.training.policy_io import unwrap

    named = run.config["world"].get("id")  # then it can be made again, with the reward of the training
    restored = restore(run, None if named else world)
    states = restored.state
    if not isinstance(states, list):
        states = [
            jax.tree.map(lambda x, i=i: x[i] if eqx.is_array(x) else x, states) for i in range(len(run.seeds))
        ]
    planners = [unwrap(restored.learner.policy(state)) for state in states]
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs) if eqx.is_array(xs[0]) else xs[0], *planners)
    return stacked, restored.iteration


def _of_planning(run: Run, actor: bool) -> list[str]:
    """Which of the two that a planning learner has was played."""
    if not _plans(run):
        return []
    return ["played: the actor alone, as it is exported." if actor else "played: the planner."]


def write(evaluation: Evaluation, run: Run) -> None:
    """Writes ``rollouts.npz``, ``evaluation.json`` and ``summary.json`` into the run's folder."""
    arrays: dict[str, Any] = {}
    for prefix, found in evaluation.tables.items():
        arrays |= found.with_paths(KEPT_PATHS).arrays(prefix)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    atomic_write(run.path / "rollouts.npz", buffer.getvalue())
    write_json(run.path / "evaluation.json", evaluation.as_dict())
    write_json(run.path / "summary.json", [summary_cell(run.config, evaluation)])


def read(path: str | Path) -> Evaluation:
    """The evaluation of a run folder, without its episodes (``episodes.read_tables`` reads them).

    Raises :class:`SurefootError` if there is none, or if the file is damaged.
    """
    file = Path(path) / "evaluation.json"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise SurefootError(
                f"{file} has format {data['format']}, this version reads {FORMAT}; "
                f"run `surefoot evaluate {path}` again."
            )
        return Evaluation(
            metrics={name: Estimate.from_dict(value) for name, value in data["metrics"].items()},
            environment=str(data["environment"]),
            constraints=tuple(data["constraints"]),
            mode=str(data["mode"]),
            episodes=int(data["episodes"]),
            seeds=tuple(int(s) for s in data["seeds"]),
            seed=int(data["seed"]),
            steps=int(data["steps"]),
            method=str(data["method"]),
            warnings=tuple(map(str, data["warnings"])),
            notes=tuple(map(str, data["notes"])),
            limits=tuple(map(float, data.get("limits", ()))),  # not in those of 0.1.0's first runs
            tail=float(data.get("tail", DEFAULT_TAIL)),
            evidence=tuple(map(Evidence.from_dict, data.get("evidence", ()))),
        )
    except FileNotFoundError:
        raise SurefootError(f"{path} is not evaluated yet; run `surefoot evaluate {path}`.") from None
    except SurefootError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SurefootError(f"{file} is damaged ({error!r}); run `surefoot evaluate {path}` again.") from None


def setting_of(config: Mapping[str, Any]) -> str:
    """The setting of a run in a few words: its board, if not the usual one, and its constraints."""
    options = config.get("world", {}).get("options", {})
    board = options.get("board", "gap")
    constraints = options.get("constraints")
    words = [] if board == "gap" else [str(board)]
    if constraints is not None:
        words.append("+".join(constraints) or "no constraints")
    return " ".join(words) or "default"


def summary_cell(
    config: Mapping[str, Any], evaluation: Evaluation, method: str | None = None
) -> dict[str, Any]:
    """One cell of a ``summary.json``."""
    return {
        "method": method or evaluation.method,
        "environment": evaluation.environment,
        "setting": setting_of(config),
        "steps": evaluation.steps,
        "seeds": list(evaluation.seeds),
        "metrics": {name: value.as_dict() for name, value in evaluation.metrics.items()},
        "published": {},
        "command": config.get("command"),
        "versions": config.get("versions", {}),
    }


def base_name(name: str) -> str:
    """The metric without prefixes and constraint: ``test_success`` is ``success``, ``cost/zone`` ``cost``."""
    return name.removeprefix("greedy_").removeprefix("test_").partition("/")[0]


def is_rate(name: str) -> bool:
    """Whether a metric is a share, to be shown in percent."""
    return base_name(name) in RATES


def texts(name: str, value: Estimate) -> tuple[str, str]:
    """An estimate and its interval for people; rates in percent. ``-`` and nothing if there is no number."""
    if not np.isfinite(value.estimate):
        return "-", ""
    if not np.isfinite([value.lower, value.upper]).any():
        return texts(name, replace(value, lower=value.estimate, upper=value.estimate))[0], ""
    if is_rate(name):
        return f"{100 * value.estimate:.1f} %", f"[{100 * value.lower:.1f}, {100 * value.upper:.1f}]"
    places = 2 if np.nanmax(np.abs([value.lower, value.upper])) < 100 else 1
    ends = [f"{end:.{places}f}" if np.isfinite(end) else "?" for end in (value.lower, value.upper)]
    return f"{value.estimate:.{places}f}", f"[{', '.join(ends)}]"


STARTS = {
    "": "train starts",
    "test_": "test starts",
    "greedy_": "train starts, greedy",
    "greedy_test_": "test starts, greedy",
}
"""Prefix of a metric's name -> where its episodes start and, where two modes are played, how."""


def names_of_starts(prefixes: Iterable[str]) -> dict[str, str]:
    """What ``prefixes`` are called beside each other: the mode alone, where there is one set of starts."""
    if any("test_" in prefix for prefix in prefixes):
        return STARTS
    return {"": "sampled", "greedy_": "greedy"}


def table(evaluation: Evaluation) -> str:
    """The evaluation as a table of text: one row a metric, one column a set of starts and mode."""
    from rich.console import Console
    from rich.table import Table

    prefixes = [prefix for prefix in STARTS if f"{prefix}return" in evaluation.metrics]
    heads = {"": "estimate"} if prefixes == [""] else names_of_starts(prefixes)
    names = [name for name in evaluation.metrics if not name.startswith(("test_", "greedy_"))]
    title = " on ".join(filter(None, (evaluation.method, evaluation.environment)))
    grid = Table(title=title, title_justify="left", caption_justify="left")
    grid.add_column("metric")
    for prefix in prefixes:
        grid.add_column(heads[prefix], justify="right")
    for name in names:
        cells = [evaluation.metrics.get(prefix + name) for prefix in prefixes]
        grid.add_row(name, *("" if cell is None else " ".join(texts(name, cell)).strip() for cell in cells))
    seeds = len(evaluation.seeds)
    n = evaluation.episodes * seeds
    ends = " (expected_cost: each end is a 95 % bound)" if evaluation.constraints else ""
    grid.caption = (
        f"{seeds} seed{'s' * (seeds != 1)} x {evaluation.episodes} episodes (n = {n}); "
        f"95 % intervals{ends}; mode: {evaluation.mode}"
    )
    if evaluation.constraints and evaluation.tail != DEFAULT_TAIL:
        grid.caption += f"; cvar: the worst {100 * evaluation.tail:g} %"
    console = Console(file=io.StringIO(), width=200)  # a table is as wide as it needs to be
    console.print(grid)
    for each in evaluation.evidence:
        console.print(each.sentence, markup=False, highlight=False, soft_wrap=True)
    for note in evaluation.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    for warning in evaluation.warnings:
        console.print(f"warning: {warning}", markup=False)
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]
