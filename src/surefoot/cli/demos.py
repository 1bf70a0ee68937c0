"""``surefoot demos collect | show | import | list``: makes, looks at and converts demonstrations."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from surefoot.cli._common import find_run, parse, parse_pairs, table
from surefoot.errors import SurefootError, unknown

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations
    from surefoot.task import Task

LESSON = """\
usage: surefoot demos collect | show | import | list ...

Demonstrations show how a task is done without doing harm: whole episodes, with observations,
actions, rewards and the cost of every step. On disk they are Minari folders.

  list      the sets that come with the package, and those in Minari's store on this machine
  show      what is in a set: counts, lengths, returns, violations, actions, a picture of all paths
  collect   let the Marble Maze's expert play, and keep its clean and successful episodes;
            with --from RUN, let the policy of a run play, and keep its best episodes
  import    convert a Minari set or an .npz file, and check it against an environment

Examples:
  surefoot demos list
  surefoot demos show zone+speed
  surefoot demos collect --board gap --constraints zone speed --episodes 120 --out mine
  surefoot demos collect --from runs/hopper --episodes 16 --best --out hopper
  surefoot demos import recorded.npz --env gymnasium:CartPole-v1 --out cartpole
  surefoot train scopil --demos ./mine --constraints zone speed

`surefoot demos COMMAND --help` lists the options of each; docs/demonstrations.md tells the format."""


@dataclass(frozen=True)
class CollectOptions:
    """What is played, and which episodes are kept."""

    board: str = "gap"
    """Board of the maze: gap or island."""
    constraints: tuple[str, ...] = ("zone",)
    """What the expert respects, and which costs are recorded: zone, speed, tilt, contact."""
    style: Literal["careful", "suboptimal", "reckless"] = "careful"
    """How the expert drives; suboptimal takes longer ways, reckless respects nothing."""
    starts: str = "train"
    """Set of starts: train, test, corners, or one corner of it such as train/right."""
    episodes: int = 120
    """How many to keep. Each start is used once, as long as there are enough; 300 are in train."""
    violating: float = 0.0
    """Share of the episodes that a reckless expert plays and that break a constraint."""
    both_ways: bool = False
    """On the island board: as many episodes on the one side of the island as on the other."""
    seed: int = 0
    """Which starts are chosen, and in which order."""
    out: Path | None = None
    """Folder to write; demonstrations/CONSTRAINTS if not given."""
    overwrite: bool = False
    """Replace a set that is in that folder."""
    bundled: tuple[str, ...] = ()
    """Collect these sets of the package anew (all for each of them) by their own recipes."""


@dataclass(frozen=True)
class FromRunOptions:
    """What the policy of a run plays, and which episodes are kept."""

    episodes: int = 16
    """How many to keep."""
    best: bool = False
    """Play more, and keep those with the highest returns."""
    played: int | None = None
    """With --best: how many are played; 4 times as many as are kept if not given."""
    mode: Literal["sample", "greedy"] = "sample"
    """Actions drawn from the policy, or its most probable ones."""
    policy: int | None = None
    """Seed of the training whose policy plays; the run's first one if not given."""
    env: str | None = None
    """Environment to play in; the run's own if not given."""
    option: tuple[str, ...] = ()
    """NAME=VALUE for the environment, in place of the run's; several may follow. FixedHopper-v0 and its like
    get absorbing=true."""
    seed: int = 0
    """Decides starts and chance."""
    out: Path | None = None
    """Folder to write; demonstrations/RUN if not given."""
    overwrite: bool = False
    """Replace a set that is in that folder."""


@dataclass(frozen=True)
class ShowOptions:
    """What is shown besides the text."""

    out: Path | None = None
    """Where the picture goes, a .png; beside the set, or in this folder for a set of the package."""
    picture: bool = True
    """Draw the picture."""
    as_json: bool = False
    """Print JSON in place of text."""


@dataclass(frozen=True)
class ImportOptions:
    """Where the converted set goes, and what it must fit."""

    out: Path | None = None
    """Folder to write; demonstrations/NAME if not given."""
    env: str | None = None
    """Environment to check it against, such as MarbleMaze-v0 or gymnasium:CartPole-v1."""
    option: tuple[str, ...] = ()
    """NAME=VALUE for that environment, such as constraints='["zone", "speed"]'; several may follow."""
    name: str | None = None
    """Name of the set; that of the source if not given."""
    overwrite: bool = False
    """Replace a set that is in that folder."""


@dataclass(frozen=True)
class ListOptions:
    """How the list is printed."""

    markdown: bool = False
    """Print the table of docs/demonstrations.md."""


def main(argv: list[str]) -> int:
    """Runs one of the four commands."""
    if not argv or argv[0] in ("-h", "--help"):
        print(LESSON)
        return 0
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        raise unknown("command of `surefoot demos`", name, COMMANDS, "See `surefoot demos --help`.")
    COMMANDS[name](rest)
    return 0


# collect ---------------------------------------------------------------------------------------


def collect(argv: list[str]) -> None:
    """Plays the expert, or the policy of a run, and writes a set; or the bundled sets anew."""
    run, rest = _take(argv, "--from")
    if run is not None:
        _collect_from(run, rest, command=shlex.join(["surefoot", "demos", "collect", *argv]))
        return
    options = parse(
        CollectOptions,
        argv,
        prog="surefoot demos collect",
        description="Lets the Marble Maze's expert play from every start of a set, keeps clean and "
        "successful episodes, and says how many were dropped. With --from RUN the policy of a run plays; "
        "`surefoot demos collect --from RUN --help` lists its options.",
    )
    if options.bundled:
        _collect_bundled(options)
        return
    out = options.out or Path("demonstrations") / "+".join(options.constraints or ("none",))

    from surefoot.data import demonstrations

    demonstrations.check_place(out, overwrite=options.overwrite)  # before the work, not after it
    from surefoot.experiments import bundled_demos

    recipe = bundled_demos.Recipe(
        board=options.board,
        constraints=options.constraints,
        style=options.style,
        starts=bundled_demos.groups(options.starts),
        both_ways=options.both_ways,
        episodes=options.episodes,
        violating=options.violating,
        seed=options.seed,
    )
    demos = bundled_demos.collect(recipe, command=shlex.join(["surefoot", "demos", "collect", *argv]))
    demos = replace(demos, name=out.resolve().name)
    demonstrations.save(demos, out, overwrite=options.overwrite)
    _say_collected(demos, out)


def _collect_from(run: str, argv: list[str], *, command: str) -> None:
    options = parse(
        FromRunOptions,
        argv,
        prog="surefoot demos collect --from RUN",
        description="Lets the policy of a run play whole episodes and writes them, the best first.",
    )
    if options.played is not None and not options.best:
        raise SurefootError("--played says how many episodes --best chooses from; give --best as well.")
    folder = find_run(run)
    out = options.out or Path("demonstrations") / folder.resolve().name

    from surefoot.data import demonstrations

    demonstrations.check_place(out, overwrite=options.overwrite)
    from surefoot.experiments import experts

    demos = experts.record(
        folder,
        episodes=options.episodes,
        played=(options.played or 4 * options.episodes) if options.best else None,
        mode=options.mode,
        policy=options.policy,
        env=options.env,
        options=parse_pairs(options.option, "--option"),
        seed=options.seed,
        name=out.resolve().name,
    )
    demos = replace(demos, metadata=demos.metadata | {"command": command})
    demonstrations.save(demos, out, overwrite=options.overwrite)
    _say_collected(demos, out)
    if demos.metadata["algorithm"].startswith("actor"):
        print("  played by the actor of a planner alone, which may be much weaker than the planner")
    played = demos.metadata["played"]
    print(
        f"  return of the kept ones {_plus_minus(played['kept_return'])}, steps {played['kept_length']:.0f}"
    )
    if options.best:
        print(f"  return of all {played['episodes']} that were played {_plus_minus(played['return'])}")
    if played["published_return"] is not None:
        print(f"  return of the published expert {played['published_return']:.1f}")


def _plus_minus(spread: dict[str, float]) -> str:
    return f"{spread['mean']:.1f} +- {spread['std']:.1f}"


def _take(argv: list[str], flag: str) -> tuple[str | None, list[str]]:
    """The value of ``flag``, and the words without it."""
    for at, word in enumerate(argv):
        if word.startswith(f"{flag}="):
            return word.partition("=")[2], [*argv[:at], *argv[at + 1 :]]
        if word == flag:
            if at + 1 == len(argv) or argv[at + 1].startswith("-"):
                raise SurefootError(f"{flag} needs a value, such as {flag} runs/hopper.")
            return argv[at + 1], [*argv[:at], *argv[at + 2 :]]
    return None, argv


def _collect_bundled(options: CollectOptions) -> None:
    from surefoot.data import demonstrations
    from surefoot.experiments import bundled_demos

    names = tuple(bundled_demos.RECIPES) if "all" in options.bundled else options.bundled
    root = options.out or demonstrations.BUNDLED
    overwrite = options.overwrite or options.out is None  # those of the package are what is made anew
    for name in names:
        short = name.removeprefix(f"{bundled_demos.FAMILY}/")
        demonstrations.check_place(root / bundled_demos.FAMILY / short, overwrite=overwrite)
    for name in names:
        demos = bundled_demos.bundled_set(name)
        demonstrations.save(demos, root / demos.name, overwrite=overwrite)
        _say_collected(demos, root / demos.name)


def _say_collected(demos: Demonstrations, out: Path) -> None:
    print(f"{out}: {demos.episodes} episodes, {demos.steps} steps, {_size(out) / 1000:.0f} kB")
    for line in _played(demos.metadata):
        print(f"  {line}")


def _played(metadata: dict[str, Any]) -> list[str]:
    """What was played, kept and dropped, in words."""
    lines = []
    for key in ("played", "violating_ones"):
        played = metadata.get(key)
        if not isinstance(played, dict) or "dropped" not in played:
            continue
        who = f"{played['style']} expert" if "style" in played else "controller"
        lines.append(
            f"{who}, {played.get('starts', played.get('episodes'))} episodes played, "
            f"kept if {played.get('keep')}: dropped {played['dropped']} "
            f"({100 * played.get('dropped_share', 0):.1f} %), {played.get('unsuccessful')} missed the goal, "
            f"{played.get('violating')} broke a constraint"
        )
        if played.get("repeated"):
            lines.append(f"there were too few such starts: {played['repeated']} episodes are repetitions")
    for key, title in (("starts", "episodes by start"), ("ways", "episodes by way around the island")):
        if isinstance(metadata.get(key), dict):
            lines.append(f"{title}: " + ", ".join(f"{name} {n}" for name, n in metadata[key].items()))
    return lines


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


# show ------------------------------------------------------------------------------------------


def show(argv: list[str]) -> None:
    """Prints what is in a set and draws its paths."""
    source, rest = _first(argv, "show", "a set, such as `surefoot demos show zone+speed`")
    options = parse(ShowOptions, rest, prog="surefoot demos show NAME", description="Shows what is in a set.")
    from surefoot.data import demonstrations

    demos = demonstrations.load(source)
    about = demonstrations.describe(demos)
    picture = None
    if options.picture and demos.episodes:
        picture = options.out or _beside(source, demos)
        draw(demos, picture)
    if options.as_json:
        print(
            json.dumps({**about, "metadata": demos.metadata, "picture": picture and str(picture)}, indent=1)
        )
        return
    print("\n".join(tell(about, demos.metadata)))
    if picture:
        print(f"picture: {picture}")


def tell(about: dict[str, Any], metadata: dict[str, Any]) -> list[str]:
    """A set in words: what :func:`surefoot.data.demonstrations.describe` says, one line a fact."""
    environment = about["environment"] or {}
    lines = [about["name"] or "unnamed set"]
    if metadata.get("description"):
        lines.append(f"  {metadata['description']}")
    if environment.get("id"):
        options = environment.get("options", {})
        shown = {k: options[k] for k in ("board", "constraints", "starts") if k in options} or options
        settings = ", ".join(f"{k} {_words(v)}" for k, v in shown.items())
        lines.append(f"  environment  {environment['id']}" + (f" ({settings})" if settings else ""))
    lines.append(f"  episodes     {about['episodes']}, {about['steps']} steps")
    if about["episodes"]:
        lines.append(f"  lengths      {_spread(about['lengths'], '.0f')}")
        lines.append(f"  returns      {_spread(about['returns'], '.2f')}")
        lines.append(f"  ends         {about['terminated']} terminated, {about['truncated']} truncated")
    lines += _tell_violations(about) + _tell_actions(about["actions"])
    lines += [f"  {line}" for line in _played(metadata)]
    if metadata.get("command"):
        lines.append(f"  made by      {metadata['command']}")
    lines.append(f"  digest       {about['digest'][:16]}")
    return lines


def _tell_violations(about: dict[str, Any]) -> list[str]:
    if not about["constraints"]:
        return ["  violations   unknown, the set has no costs"]
    return [
        f"  violations   {name}: {v['violating_episodes']} of {about['episodes']} episodes, "
        f"{v['violating_steps_per_episode']:.2f} steps an episode"
        for name, v in about["violations"].items()
    ]


def _tell_actions(actions: dict[str, Any]) -> list[str]:
    if actions["kind"] == "continuous":
        if "mean" not in actions:
            return []
        rows = zip(actions["low"], actions["mean"], actions["high"], strict=True)
        return [
            f"  action {i}     {low:.3g} to {high:.3g}, mean {mean:.3g}"
            for i, (low, mean, high) in enumerate(rows)
        ]
    counts = actions["counts"]
    total, most = max(sum(counts), 1), max([*counts, 1])
    return [
        f"  action {i:<3}   {100 * n / total:5.1f} %  {'#' * round(30 * n / most)}"
        for i, n in enumerate(counts)
    ]


def _spread(values: dict[str, float], form: str) -> str:
    return f"{values['min']:{form}} to {values['max']:{form}}, mean {values['mean']:.2f}"


def _words(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _beside(source: str, demos: Demonstrations) -> Path:
    """The picture's place: beside a folder, here for a set that comes with the package or by its id."""
    folder = Path(source)
    if folder.is_dir():
        return folder.resolve().with_name(folder.resolve().name + ".png")
    return Path(demos.name.replace("/", "-") + ".png")


def draw(demos: Demonstrations, path: Path) -> None:
    """Writes a PNG of all paths: on the board for the Marble Maze, else the first two observed numbers."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if path.suffix.lower() != ".png":
        raise SurefootError(f"--out {path}: the picture is a PNG; let its name end in .png.")
    environment = demos.metadata.get("environment") or {}
    maze = str(environment.get("id", "")).removeprefix("surefoot/") == "MarbleMaze-v0"
    figure = Figure(figsize=(7, 7.4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    scale, shift = 1.0, 0.0
    if maze:
        from surefoot.envs import marble_maze_board, marble_maze_view

        board = marble_maze_board.board(environment.get("options", {}).get("board", "gap"))
        marble_maze_view.draw_board_svg(axis, board)
        scale = shift = marble_maze_board.SIZE / 2  # observations are -1 .. 1, the board is in pixels
    elif demos.observations.shape[1] < 2:
        raise SurefootError("A picture needs two observed numbers; this set has one. Say --no-picture.")
    else:
        axis.set_xlabel("observation 0")
        axis.set_ylabel("observation 1")
    harm = demos.any_violating_steps > 0
    for index in np.argsort(harm, kind="stable"):  # clean ones first, so that the others are seen
        episode = demos.episode(int(index))
        points = episode["observations"][:, :2] * scale + shift
        colour = "#d55e00" if harm[index] else "#0072b2"
        axis.plot(*points.T, color=colour, alpha=0.9 if harm[index] else 0.35, linewidth=1, zorder=4)
        broken = np.max(episode["costs"], axis=1, initial=0) > 0
        axis.plot(*points[1:][broken].T, ".", color="#d55e00", markersize=5, zorder=5)
    clean = demos.episodes - int(harm.sum())
    verdict = (
        f"{clean} clean (blue), {int(harm.sum())} violating (orange)" if demos.constraints else "no costs"
    )
    axis.set_title(f"{demos.name or 'demonstrations'}: {demos.episodes} episodes, {verdict}", fontsize=10)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(scratch, format="png", dpi=120)
        scratch.replace(path)
    except OSError as error:
        raise SurefootError(f"Cannot write '{path}': {error.strerror}. Choose another --out.") from error
    finally:
        scratch.unlink(missing_ok=True)


# import ----------------------------------------------------------------------------------------


def import_(argv: list[str]) -> None:
    """Converts a Minari set or an ``.npz`` file into a checked folder."""
    source, rest = _first(argv, "import", "a source, such as `surefoot demos import recorded.npz`")
    options = parse(
        ImportOptions,
        rest,
        prog="surefoot demos import SOURCE",
        description="Converts a Minari folder, the id of a set in Minari's store, or an .npz file. "
        "docs/demonstrations.md names the arrays of an .npz file.",
    )
    chosen = parse_pairs(options.option, "--option")
    if chosen and options.env is None:
        raise SurefootError("--option is for the environment; name it with --env.")
    from surefoot.data import demonstrations

    demos = demonstrations.load(source)
    if options.name is not None:
        demos = replace(demos, name=options.name)
    out = options.out or Path("demonstrations") / (demos.name or "imported").replace("/", "-")
    task = None
    if options.env is not None:
        task = _task(options.env, chosen)
        demos.check(task)
        made_for = {"id": task.name, **(demos.metadata.get("environment") or {})}
        if chosen:
            made_for["options"] = (made_for.get("options") or {}) | chosen
        spaces = demonstrations.spaces_of(task)
        demos = replace(demos, metadata={**demos.metadata, "environment": made_for, "spaces": spaces})
    elif not demos.episodes:
        raise SurefootError(f"'{source}' holds no episodes.")
    demonstrations.save(demos, out, overwrite=options.overwrite)
    print(f"{out}: {demos.episodes} episodes, {demos.steps} steps, {_size(out) / 1000:.0f} kB")
    if task is None:
        print("  not checked against an environment; name it with --env to do so")
    print(f"  use it: surefoot train scopil --demos {shlex.quote(_as_path(out))}")


def _task(env: str, options: Mapping[str, Any]) -> Task:
    from surefoot import worlds

    return worlds.make(env, envs=1, **options).task


def _as_path(out: Path) -> str:
    return str(out) if out.is_absolute() or len(out.parts) > 1 else f"./{out}"


# list ------------------------------------------------------------------------------------------


def list_(argv: list[str]) -> None:
    """The bundled sets with their numbers, then Minari's store."""
    options = parse(ListOptions, argv, prog="surefoot demos list", description="Lists demonstrations.")
    from surefoot.data import demonstrations

    rows = data_sheet()
    if options.markdown:
        print("\n".join(markdown(rows)))
        return
    print("In the package:")
    print(table(rows))
    stored = demonstrations.stored()
    print(f"\nIn Minari's store ({demonstrations.store()}):")
    print(table([(name,) for name in stored] or [("none",)]))
    print("\n`surefoot demos show NAME` says more.")


HEAD = ("set", "episodes", "steps", "length", "return", "violating", "dropped", "kB", "about")


def data_sheet() -> list[tuple[str, ...]]:
    """One row a bundled set under :data:`HEAD`; lengths and returns are means over episodes."""
    from surefoot.data import demonstrations

    rows: list[tuple[str, ...]] = [HEAD]
    for name in demonstrations.bundled():
        about = demonstrations.summary(name)
        dropped = about["metadata"]["played"].get("dropped_share")
        violations = about["violations"].get("any", {"violating_episodes": "-"})  # "-": a set without costs
        rows.append(
            (
                name,
                str(about["episodes"]),
                str(about["steps"]),
                f"{about['lengths']['mean']:.1f}",
                f"{about['returns']['mean']:.2f}",
                str(violations["violating_episodes"]),
                "-" if dropped is None else f"{100 * dropped:.1f} %",
                f"{about['bytes'] / 1000:.0f}",
                about["metadata"]["description"],
            )
        )
    return rows


def markdown(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The lines of the same table in Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "| --- " * len(rows[0]) + "|", *lines[1:]]


def _first(argv: list[str], command: str, what: str) -> tuple[str, list[str]]:
    """The positional argument and the rest; with ``--help`` alone an empty word."""
    if argv and argv[0] in ("-h", "--help"):
        return "", argv
    if not argv or argv[0].startswith("-"):
        raise SurefootError(f"`surefoot demos {command}` needs {what}.")
    return argv[0], argv[1:]


COMMANDS = {"collect": collect, "show": show, "import": import_, "list": list_}
"""Word on the command line -> what runs it."""
