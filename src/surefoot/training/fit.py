"""The driver: trains any learner in any world, keeps everything in a run folder, resumes from it.

It is the only loop of the library. It knows no method, and no method knows it: learners neither log,
nor save, nor know about seeds. A run killed at any moment goes on with :func:`resume`; what it ends with
is to the bit what it would have ended with (in a world on the host, from fresh episodes instead).
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from surefoot.algorithms import name_of
from surefoot.algorithms.idle import idle_settings
from surefoot.algorithms.learner import Targeted
from surefoot.data.demonstrations import Demonstrations
from surefoot.errors import SurefootError, check_range
from surefoot.training import checkpoint, enable_compilation_cache, metrics, policy_io, reward_io
from surefoot.training.engine import EVALUATION_EPISODES, Compiled, Hosted, engine_for
from surefoot.training.log import Guard, Log
from surefoot.training.plan import (
    Plan,
    check_demonstrations,
    check_reads_reward,
    check_takes_demonstrations,
    checked_seeds,
    describe_reward,
    describe_task,
    keep_demonstrations,
    keep_reward,
    load_demonstrations,
    make_plan,
    origin_of,
    reload_demonstrations,
    same_learner,
    same_world,
)
from surefoot.training.progress import Progress
from surefoot.training.run import (
    Run,
    atomic_write,
    iteration_of,
    locked,
    options_of,
    sweep,
    versions,
)
from surefoot.worlds import describe
from surefoot.worlds.relabel import own

ENDLESS = (
    "nothing says how long an episode may be. If one may never end, the run cannot be evaluated: give "
    "--horizon STEPS (horizon=STEPS)."
)
"""What is told of a world without a horizon."""
_CHECKPOINTS = 2
"""How many checkpoints are kept: the newest, and one to fall back on."""


def fit(
    learner: Any,
    world: Any,
    *,
    demonstrations: Demonstrations | str | None = None,
    steps: int = 100_000,
    seeds: Iterable[int] | int = (0,),
    run: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    log_every: int | None = None,
    evaluate_every: int | None = None,
    evaluate_episodes: int = EVALUATION_EPISODES,
    checkpoint_every: float | int = 60.0,
    progress: bool = True,
    command: str | None = None,
    source: str | os.PathLike[str] | None = None,
    start: str | os.PathLike[str] | None = None,
) -> Run:
    """Trains ``learner`` in ``world`` once for each seed, and returns the run.

    Args:
        learner: the algorithm with its settings, such as ``Scopil()``.
        world: what :func:`surefoot.make` returns.
        demonstrations: for learners that take them (others refuse them); a set, or the name or folder of one.
        steps: environment steps a seed (gradient steps for a learner that does not act); rounded up
            to whole blocks, the number is in the run's config. A learner with a target stops when all seeds
            have reached it.
        seeds: different integers from 0, or how many (3 for 0, 1, 2); they are trained side by side.
        run: the folder to make; ``runs/NAME`` with a new name if left out.
        overwrite: replace a run that is in that folder; it is kept aside until the new one has a checkpoint.
        log_every: steps between two rows of metrics; chosen for 100 to 200 rows if left out.
        evaluate_every: steps between two evaluations (from fresh starts, sampled actions), logged with
            ``eval_`` in front of the names; none if left out. What is evaluated is the policy that the block
            has left, which collects the next one.
        evaluate_episodes: episodes a seed in each of these.
        checkpoint_every: seconds between two checkpoints.
        progress: show progress on stderr.
        command: what to record as the way to train this again.
        source: where the demonstrations can be loaded from again; their name if left out. A set that
            cannot be loaded again is copied into the run folder.
        start: a run, or a policy folder, whose policy of the first seed all seeds start from, together with
            its critics where the learner takes them; for learners with ``start_from``. The run has its own
            copy from its first moment on, a checkpoint.

    Raises:
        SurefootError: anything that the caller gave does not fit; training diverged (the last good
            checkpoint is kept); the disk is full.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM, after the block is finished and saved.

    Example:
        >>> world = make("MarbleMaze-v0")                                      # doctest: +SKIP
        >>> fit(DiscreteSac(), world, steps=100_000, seeds=range(5)).progress  # doctest: +SKIP
        100000
    """
    enable_compilation_cache()
    _check_kinds(learner, world, demonstrations)
    seeds = checked_seeds(seeds)
    check_range("checkpoint_every", checkpoint_every, low=0)
    check_range("evaluate_episodes", evaluate_episodes, low=1)
    plan = make_plan(learner, steps, log_every, evaluate_every)
    if plan.evaluate_blocks and world.compiled and world.task.horizon is None:
        raise SurefootError(
            f"'{world.task.name}' has no horizon, so its episodes cannot be evaluated; "
            "leave out evaluate_every."
        )
    description = describe(own(world))
    if own(world) is not world:
        check_reads_reward(learner)
    if demonstrations is not None:
        check_takes_demonstrations(learner)
    if isinstance(demonstrations, str):
        demonstrations, source = load_demonstrations(demonstrations), source or demonstrations
    check_demonstrations(learner, world, demonstrations, description)
    if start is not None:
        start = os.path.abspath(start)  # the run may be resumed from elsewhere
    engine = engine_for(learner, world, demonstrations, seeds, plan.block, starting_point(learner, start))
    engine.check()
    config: dict[str, Any] = {
        "learner": {"name": name_of(learner), "options": options_of(learner)},
        "world": description,
        "reward": describe_reward(world),
        "demonstrations": None if demonstrations is None else origin_of(demonstrations, source),
        "start": start,
        "task": describe_task(world),
        "seeds": list(seeds),
        "steps": plan.steps,
        "iterations": plan.iterations,
        "steps_per_iteration": plan.steps_per_iteration,
        "block": plan.block,
        "log_every": plan.log_every,
        "evaluate_every": plan.evaluate_blocks and plan.evaluate_blocks * plan.log_every,
        "evaluate_episodes": evaluate_episodes,
        "checkpoint_every": float(checkpoint_every),
        "command": command,
        "versions": versions(),
    }
    if run is not None and overwrite:
        reward = (config["reward"] or {}).get("path")
        check_kept(Path(run), {"start": start, "reward": reward, "demonstrations": source})
    made = Run.create(run, config, overwrite=overwrite)
    with locked(made.path):  # which refuses a folder that another process has overwritten and trains
        try:
            if demonstrations is not None and config["demonstrations"]["source"] is None:
                keep_demonstrations(demonstrations, made)
            keep_reward(world, made)
            return _train(made, engine, plan, show=progress)
        except BaseException:  # Ctrl-C, too
            if not made.metrics_path.exists() or (made.replaces and not made.checkpoints()):
                made.withdraw()  # it never came to anything: leave no empty run behind
            raise


def _check_kinds(learner: Any, world: Any, demonstrations: Any) -> None:
    """Raises :class:`SurefootError` for what is often given in place of a learner, a world and a set."""
    if isinstance(learner, str | type):
        name = learner if isinstance(learner, str) else learner.__name__
        raise SurefootError(f"The learner is {name!r}; give an instance of its class, such as sf.Scopil().")
    if not hasattr(world, "task") or not hasattr(world, "collect"):
        raise SurefootError(f"The world is {world!r}; make one from its name: sf.make('MarbleMaze-v0').")
    if demonstrations is not None and not isinstance(demonstrations, str | Demonstrations):
        raise SurefootError(
            f"The demonstrations are of type {type(demonstrations).__name__}; give the name or folder of a "
            "set, or make one of arrays: sf.demonstrations.Demonstrations(...), see docs/demonstrations.md."
        )


def resume(
    path: str | os.PathLike[str] | Run,
    world: Any = None,
    *,
    steps: int | None = None,
    learner: Any = None,
    progress: bool = True,
) -> Run:
    """Trains the rest of a run that was stopped or killed; a finished run is returned as it is.

    With ``steps`` (a seed, in all) the run is made longer first, a finished one too; its numbers are those
    of a run that was as long from the beginning, but for an evaluation where it first ended.
    ``world`` is needed only if it was made from a function that cannot be imported, ``learner`` only if
    its class cannot. Raises :class:`SurefootError` if something does not fit the run any more, and if it
    is planned for more than ``steps``.
    """
    run = path if isinstance(path, Run) else Run(path)
    plan = Plan.of(run.config) if steps is None else Plan.of(run.config).longer(steps)
    if run.finished and (steps is None or run.steps == plan.steps):
        return run if policy_io.readable(run.path, run.seeds) else export_again(run, world, learner=learner)
    enable_compilation_cache()
    learner = same_learner(run.config, learner)
    world = same_world(run, world)
    demonstrations = reload_demonstrations(run)
    check_demonstrations(learner, world, demonstrations, run.config["world"])
    engine = engine_for(learner, world, demonstrations, run.seeds, plan.block, _start_of(learner, run))
    run.lengthen(plan)  # last, so that a run that cannot go on stays as it was
    with locked(run.path):
        return _train(run, engine, plan, show=progress)


def export_again(path: str | os.PathLike[str] | Run, world: Any = None, *, learner: Any = None) -> Run:
    """Writes the policies of a run anew, from its newest checkpoint, and its reward if it recovers one.

    Takes the same arguments, and raises the same errors, as :func:`resume`.
    """
    run = path if isinstance(path, Run) else Run(path)
    engine = _engine_of(run, world, learner)
    with locked(run.path):
        found = _newest(run, engine)
        if found is None:
            raise SurefootError(f"{run.path} has no checkpoint, so its policies cannot be exported again.")
        _export(run, engine, *found)
    return run


def restore(path: str | os.PathLike[str] | Run, world: Any = None, *, learner: Any = None) -> Restored:
    """The newest state of a run, for a closer look: learner, world and state of all seeds.

    Takes the same arguments, and raises the same errors, as :func:`resume`. To use a policy, read the
    exported one instead (:mod:`surefoot.training.policy_io`).
    """
    run = path if isinstance(path, Run) else Run(path)
    engine = _engine_of(run, world, learner)
    found = _newest(run, engine)
    if found is None:
        again = f"surefoot resume {shlex.quote(str(run.path))}"
        raise SurefootError(f"{run.path} has no checkpoint yet; resume it with `{again}`.")
    tree, iteration = found
    return Restored(engine.learner, engine.world, tree["state"], iteration)


def _engine_of(run: Run, world: Any, learner: Any) -> Compiled | Hosted:
    """What trained ``run``, made anew for a look at its checkpoints."""
    learner, world = same_learner(run.config, learner), same_world(run, world)
    demonstrations, given = reload_demonstrations(run), _start_of(learner, run)
    return engine_for(learner, world, demonstrations, run.seeds, run.config["block"], given)


@dataclass(frozen=True)
class Restored:
    """What :func:`restore` returns."""

    learner: Any
    world: Any
    """A world like that of the training, at its start."""
    state: Any
    """In a compiled world one tree with the seeds as the first axis of every array, else a list."""
    iteration: int
    """Iterations done."""


def starting_point(learner: Any, path: str | os.PathLike[str] | None) -> tuple[Any, Any] | None:
    """Policy and critics (``None`` if there are none) of the first seed of a run, or of a policy folder.

    Raises :class:`SurefootError` for a learner that starts from nothing, and for a run without checkpoints,
    whose critics are lost.
    """
    if path is None:
        return None
    if not hasattr(learner, "start_from"):
        raise SurefootError(f"{name_of(learner)} cannot start from another run; leave out --from.")
    policy = policy_io.revive(policy_io.load_policy(path))
    if not os.path.exists(os.path.join(path, "config.json")):
        return policy, None
    if not Run(path).checkpoints():
        raise SurefootError(
            f"The run {path} has no checkpoint, so its critics are lost; start from its policy alone: "
            f"{os.path.join(path, 'policy')}."
        )
    restored = restore(path)
    critics = getattr(
        restored.state[0] if isinstance(restored.state, list) else restored.state, "critics", None
    )
    if not isinstance(restored.state, list):  # the seeds are the first axis
        critics = jax.tree.map(lambda x: x[0], critics)
    return policy, critics


def _start_of(learner: Any, run: Run) -> tuple[Any, Any] | None:
    """What ``run`` was given to start from, so that its state can be built.

    Once it has a checkpoint, which holds all of that, its own policy says what sizes the networks have: the
    run that it started from may be gone by then, or be another one.
    """
    start = run.config.get("start")
    if start is None or not run.checkpoints() or not (run.path / "policy").exists():
        return starting_point(learner, start)
    return policy_io.revive(policy_io.load_policy(run.path)), None


# Training ----------------------------------------------------------------------------------------------


def _train(run: Run, engine: Compiled | Hosted, plan: Plan, *, show: bool) -> Run:
    """From the newest checkpoint, or the start, to the end or an interrupt. The caller holds the lock."""
    title = f"{run.config['learner']['name']} on {run.config['task']['name']}"
    with _interrupts(show) as interrupted, Progress(title, show=show) as display:
        tree, done = _begin(run, engine, display)
        display.start(plan.steps, done * plan.steps_per_iteration, len(run.seeds))
        with Log(run, display, plan, done) as log:
            cautions = getattr(engine.learner, "cautions", lambda task, iterations: {})
            cautions = cautions(engine.world.task, plan.iterations)
            if engine.world.task.horizon is None and engine.learner.interacts:
                cautions = cautions | {"horizon": ENDLESS}
            for about, sentence in (cautions | idle_settings(engine.learner)).items():
                log.warn_once(about, sentence)
            guard = Guard(run, engine, plan, tree, log.columns)
            if run.config.get("start") is not None and not run.checkpoints():
                _save(run, engine, tree, done, log)  # from now on it needs nothing of that other run
            saved = time.monotonic()
            finished = done >= plan.iterations
            while not finished:
                tree, block, finite = engine.run(tree, done)
                guard.check(block, finite, done)
                done += plan.block
                reached, level = _target(engine.learner, block, run.seeds)
                finished = reached or done >= plan.iterations
                evaluated = _evaluation(run, engine, plan, tree, done, finished)
                log.write(done, metrics.reduce(block) | evaluated)
                stop = interrupted() and not finished
                if finished and level:
                    log.end(done, reached, level)
                if finished or stop or time.monotonic() - saved >= run.config["checkpoint_every"]:
                    _save(run, engine, tree, done, log)
                    run.settle()
                    saved = time.monotonic()
                if stop:
                    raise KeyboardInterrupt(
                        f"Stopped after {done * plan.steps_per_iteration:,} steps, which are saved. "
                        f"Go on with: surefoot resume {shlex.quote(str(run.path))}"
                    )
    return run


def check_kept(folder: Path, needed: Mapping[str, str | os.PathLike[str] | None]) -> None:
    """Raises :class:`SurefootError` if overwriting the run ``folder`` would delete what the new one needs."""
    for what, path in needed.items():
        if path is None or not Path(path).exists():
            continue
        if Path(path).resolve().is_relative_to(folder.resolve()):
            raise SurefootError(
                f"The {what} of this training is in {path}, which would be deleted with the run {folder}; "
                "choose another run folder."
            )


def _begin(run: Run, engine: Compiled | Hosted, display: Progress) -> tuple[Any, int]:
    """Training state and iterations done; what was logged after them is cut off."""
    sweep(run.path)
    run.forget_end()
    tree, done = _newest(run, engine, display.warn) or (engine.start(), 0)
    if done and not engine.exact_resume:
        display.say("The simulators cannot be saved, so training goes on from fresh episodes.")
    if run.metrics_path.exists():
        kept = metrics.cut(run.metrics_path, done, block=len(run.seeds))
        if kept is None:
            run.metrics_path.unlink()
        else:
            atomic_write(run.metrics_path, kept)
    return tree, done


def _newest(
    run: Run, engine: Compiled | Hosted, warn: Callable[[str], None] | None = None
) -> tuple[Any, int] | None:
    """State and iterations of the newest sound checkpoint; with ``warn`` damaged ones are removed.

    Who gives ``warn`` holds the lock; others only read. Raises :class:`SurefootError` if there are only
    damaged ones, which are kept.
    """
    template, damaged = None, list[tuple[Path, str]]()
    for path in run.checkpoints():
        template = engine.template() if template is None else template
        try:
            saved, notes = checkpoint.load(path, template)
        except checkpoint.CutShort as error:
            damaged.append((path, str(error)))
            continue
        if notes.get("config") != _digest(run.config):
            raise SurefootError(
                f"The checkpoint {path} belongs to a run with other settings than {run.path}/config.json; "
                "restore that file, or train again."
            )
        if warn is not None:
            for other, text in damaged:
                warn(f"{text} Going back to the one before.")
                other.unlink()
        return engine.revive(saved, iteration_of(path)), iteration_of(path)
    if damaged:
        raise SurefootError(
            f"The checkpoint {damaged[0][0]} is cut short or damaged, and {run.path} has no other; put back "
            "a copy of it, or train again with --overwrite."
        )
    return None


def _target(learner: Any, block: Mapping[str, np.ndarray], seeds: Sequence[int]) -> tuple[bool, str]:
    """Whether all seeds have reached the learner's target, and the level of those that have not, else of all.

    ``block`` holds metrics ``[iterations, seeds]``. The level is empty where there is no target.
    """
    if not isinstance(learner, Targeted):
        return False, ""
    rows = [{name: float(x[-1, i]) for name, x in block.items()} for i in range(len(seeds))]
    found = [level for row in rows if (level := learner.target(row)) is not None]
    if len(found) < len(rows):
        return False, ""
    reached = all(there for there, _ in found)
    levels = [
        text if len(seeds) == 1 else f"{text} (seed {seed})"
        for seed, (there, text) in zip(seeds, found, strict=True)
        if reached or not there
    ]
    return reached, "; ".join(levels)


def _export(run: Run, engine: Compiled | Hosted, tree: Any, done: int) -> bool:
    """The policies, if their kind can be exported, and the rewards of a learner that has any."""
    notes, task = {"algorithm": run.config["learner"]["name"], "iteration": done}, engine.world.task
    policies = [policy_io.exported(policy) for policy in engine.policies(tree)]
    known = policy_io.kind_of(policies[0]) is not None
    if known:
        policy_io.save_policy(run.path / "policy", policies, task, run.seeds, notes=notes)
    if hasattr(engine.learner, "reward"):
        reward_io.save_reward(run.path / "reward", engine.rewards(tree), task, run.seeds, notes=notes)
    return known


def _save(run: Run, engine: Compiled | Hosted, tree: Any, done: int, log: Log) -> None:
    """Metrics, policies, checkpoint, in this order: a checkpoint is never ahead of the rest."""
    log.sync()
    if not _export(run, engine, tree, done):
        log.warn_once("export", "this kind of policy cannot be exported; use surefoot.training.fit.restore.")
    path = run.path / "checkpoints" / f"{done}.safetensors"
    checkpoint.save(path, engine.saved(tree), {"iteration": done, "config": _digest(run.config)})
    for old in run.checkpoints()[_CHECKPOINTS:]:
        old.unlink()


def _evaluation(
    run: Run, engine: Compiled | Hosted, plan: Plan, tree: Any, done: int, last: bool
) -> dict[str, np.ndarray]:
    """Columns of an evaluation: NaN where none is due, nothing at all if none was asked for."""
    if plan.evaluate_blocks is None:
        return {}
    due = done % (plan.evaluate_blocks * plan.block) == 0 or last
    episodes = run.config.get("evaluate_episodes", EVALUATION_EPISODES)  # not in runs of 0.1.0
    values = engine.evaluate(tree, done, episodes) if due else {}
    nothing = np.full(len(run.seeds), np.nan)
    names = metrics.episode_names(engine.world.task.constraints)
    others = getattr(engine.learner, "also_evaluated", ())
    names = [prefix + name for prefix in ("", *(f"{other}_" for other in others)) for name in names]
    return {f"eval_{name}": values.get(name, nothing) for name in names}


def _digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of what decides the numbers of a run."""
    origin = config["demonstrations"]
    decisive = {key: config[key] for key in ("learner", "world", "seeds", "block")}
    if config.get("start") is not None:
        decisive["start"] = config["start"]
    reward = config.get("reward")
    if reward is not None:
        decisive["reward"] = {key: value for key, value in reward.items() if key != "path"}
    text = json.dumps([decisive, origin and origin["digest"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _interrupts(show: bool) -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C and SIGTERM only ask to stop; the value says whether they did. A second one stops at
    once. Signals that the process ignores stay ignored; outside the main thread nothing is changed."""
    asked = threading.Event()

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt("Stopped at once; the last checkpoint stands.")
        asked.set()
        if show:  # not through the display, which may be in the middle of drawing
            os.write(2, b"\nStopping after this block; once more stops at once.\n")

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
