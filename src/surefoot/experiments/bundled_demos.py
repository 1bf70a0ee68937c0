"""Demonstrations of the Marble Maze's expert, and the recipes of the sets that come with the package.

The expert plays once from every position of a set of starts. Episodes that break a constraint or miss
the goal are dropped (and the share is recorded), so a set shows the expert at its best; what stays is
drawn evenly from the corners of the board. All is a function of the recipe and its seed.

    surefoot demos collect --bundled all    # writes every bundled set anew
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np

from surefoot.data import demonstrations
from surefoot.data.demonstrations import Demonstrations
from surefoot.data.trajectories import Trajectories
from surefoot.envs import marble_maze_board as geometry
from surefoot.envs.marble_maze import HORIZON, MarbleMaze
from surefoot.envs.marble_maze_expert import MANNERS, Expert, Style
from surefoot.errors import SurefootError, check_range, unknown
from surefoot.evaluation.episodes import side_of
from surefoot.worlds.jax_world import JaxWorld
from surefoot.worlds.world import Acts, Steps

FAMILY = "marble-maze"
Keep = Literal["clean", "violating"]


@dataclass(frozen=True)
class Recipe:
    """How a set is collected."""

    about: str = ""
    """One sentence for people."""
    board: str = "gap"
    constraints: tuple[str, ...] = ("zone",)
    style: str = "careful"
    """How the expert drives."""
    starts: tuple[str, ...] = ("train/right", "train/bottom", "train/corner")
    """Groups of starts; each gives its share of the episodes."""
    both_ways: bool = False
    """Whether each group gives as many episodes on the one side of the island as on the other."""
    episodes: int = 120
    violating: float = 0.0
    """Share of the episodes that a reckless expert plays and that break a constraint."""
    seed: int = 0


BOTH = ("zone", "speed")
RECIPES: dict[str, Recipe] = {
    "zone": Recipe("keeps out of the two zones on the straight way to the goal"),
    "speed": Recipe("stays below the speed limit; goes straight through the zones", constraints=("speed",)),
    "zone+speed": Recipe("keeps out of the zones and below the speed limit", constraints=BOTH),
    "zone+speed+tilt+contact": Recipe(
        "all four constraints at once", constraints=("zone", "speed", "tilt", "contact")
    ),
    "two-modes": Recipe(
        "passes the island on the one side in half of the episodes, on the other in the rest",
        board="island",
        both_ways=True,
    ),
    "suboptimal": Recipe(
        "as zone+speed, by an expert that goes slowly and far around the zones",
        constraints=BOTH,
        style="suboptimal",
    ),
    "partial": Recipe(
        "as zone+speed, without any start near the bottom corner start",
        constraints=BOTH,
        starts=("train/right", "train/corner"),
    ),
    "noisy": Recipe(
        "as zone+speed, but every tenth episode is a reckless one that breaks constraints",
        constraints=BOTH,
        violating=0.1,
    ),
}
"""Name inside the family ``marble-maze`` -> how it is made."""


def bundled_set(name: str) -> Demonstrations:
    """One bundled set, collected anew; raises :class:`SurefootError` with the nearest name."""
    short = name.removeprefix(f"{FAMILY}/")
    if short not in RECIPES:
        raise unknown("bundled set", name, RECIPES)
    demos = collect(RECIPES[short], command=f"surefoot demos collect --bundled {short}")
    return replace(demos, name=f"{FAMILY}/{short}")


def collect(recipe: Recipe, *, command: str = "", expert: Acts | None = None) -> Demonstrations:
    """Plays the expert of a recipe (or ``expert``) and keeps what the recipe asks for.

    Raises :class:`SurefootError` if no episode can be kept. ``metadata["dropped"]`` says how many
    were not, and why.
    """
    check_range("episodes", recipe.episodes, low=1)
    check_range("violating", recipe.violating, low=0, high=1, open_high=True)
    check_range("seed", recipe.seed, low=0)
    if recipe.style not in MANNERS:
        raise unknown("style of expert", recipe.style, MANNERS)
    wild = round(recipe.violating * recipe.episodes)
    rng = np.random.default_rng(recipe.seed)
    demos, used = _collect(recipe, recipe.episodes - wild, recipe.style, "clean", rng, expert=expert)
    if wild:
        reckless, _ = _collect(recipe, wild, "reckless", "violating", rng, avoid=used)
        both = demonstrations.mix(demos, reckless).slice(rng.permutation(recipe.episodes))
        metadata = {**demos.metadata, "violating_ones": reckless.metadata["played"]}
        demos = replace(both, metadata=metadata, name="")
    about = {
        "description": recipe.about or f"the {recipe.style} expert of the Marble Maze",
        "algorithm": f"expert ({recipe.style})",
        "command": command,
        "seed": recipe.seed,
        "versions": versions(),
    }
    return replace(demos, metadata={**about, **demos.metadata})


def _collect(
    recipe: Recipe,
    episodes: int,
    style: str,
    keep: Keep,
    rng: np.random.Generator,
    *,
    expert: Acts | None = None,
    avoid: np.ndarray | None = None,
) -> tuple[Demonstrations, np.ndarray]:
    """``episodes`` of the expert's, spread evenly over the groups of starts, and which starts they use.

    Starts in ``avoid`` are left out.
    """
    maze = MarbleMaze(recipe.board, tuple(recipe.constraints), _joint(recipe.starts))
    positions = [geometry.starts(name) for name in recipe.starts]
    group = np.repeat(np.arange(len(positions)), [len(points) for points in positions])
    batch = play(maze, expert or Expert.create(maze, cast(Style, style)), np.concatenate(positions))
    ends = np.argmax(np.asarray(batch.done), axis=0)
    rows = np.arange(len(ends))
    success = np.asarray(batch.success)[ends, rows]
    violating = np.asarray(batch.totals.any_violating_steps)[ends, rows] > 0
    kept = success & (violating if keep == "violating" else ~violating)
    played = {
        "keep": f"{keep} and successful",
        "style": style,
        "starts": len(rows),
        "dropped": int((~kept).sum()),
        "dropped_share": round(float((~kept).mean()), 4),
        "unsuccessful": int((~success).sum()),
        "violating": int(violating.sum()),
    }
    if avoid is not None:
        kept = kept & ~np.isin(rows, avoid)
    if not kept.any():
        raise SurefootError(
            f"Of {len(rows)} episodes of the {style} expert none was {keep} and successful "
            f"({played['unsuccessful']} missed the goal, {played['violating']} broke a constraint)."
        )
    side = _sides(maze, batch, ends)
    labels = 2 * group + (side > 0) if recipe.both_ways else group
    chosen = _evenly(labels, kept, episodes, rng)
    played["repeated"] = len(chosen) - len(set(chosen.tolist()))
    metadata = {
        "environment": environment_of(maze),
        "env_spec": gymnasium_spec(maze),
        "spaces": demonstrations.spaces_of(maze.task),
        "played": played,
        "starts": {name: int((group[chosen] == i).sum()) for i, name in enumerate(recipe.starts)},
    }
    if recipe.board == "island":
        metadata["ways"] = {"left": int((side[chosen] < 0).sum()), "right": int((side[chosen] > 0).sum())}
    return from_trajectories(batch, ends, chosen, maze.constraints, metadata), chosen


def play(maze: MarbleMaze, expert: Acts, positions: np.ndarray) -> Trajectories:
    """One episode from each position ``[n, 2]`` in px, ``[horizon, n]``; what follows it is not valid."""
    return _play(maze, expert, jnp.asarray(positions, jnp.float32))


@partial(jax.jit, static_argnames="maze")
def _play(maze: MarbleMaze, expert: Acts, positions: jax.Array) -> Trajectories:
    n, key = len(positions), jax.random.key(0)
    world = replace(JaxWorld.create(maze, n, key), states=jax.vmap(maze.reset_at)(positions))
    _, batch = world.collect(expert, Steps(n * HORIZON), key)
    over = jnp.cumsum(batch.done, axis=0) - batch.done
    return replace(batch, valid=over == 0)


def _sides(maze: MarbleMaze, batch: Trajectories, ends: np.ndarray) -> np.ndarray:
    """``[n]``: right (positive) or left (negative) of the board's first zone, as seen by the rolling ball."""
    zone = geometry.board(maze.board).zones[0]
    seen = np.concatenate([np.asarray(batch.observation), np.asarray(batch.next_observation)[-1:]])
    pixels = (seen[..., :2] + 1) * (geometry.SIZE / 2)
    return np.array([side_of(pixels[: end + 1, i], (zone.x, zone.y)) for i, end in enumerate(ends)])


def _evenly(labels: np.ndarray, kept: np.ndarray, episodes: int, rng: np.random.Generator) -> np.ndarray:
    """``episodes`` indices where ``kept`` holds, as many of each label as of the others.

    Each is used once while there are enough; only then does the round begin anew.
    """
    queues = [rng.permutation(np.flatnonzero(kept & (labels == label))) for label in np.unique(labels)]
    queues = [queue for queue in queues if len(queue)]
    chosen: list[int] = []
    while len(chosen) < episodes:
        for turn in range(max(len(queue) for queue in queues)):
            chosen += [int(queue[turn]) for queue in queues if turn < len(queue)]
    return np.array(chosen[:episodes])


def _joint(starts: tuple[str, ...]) -> str:
    """The one name of a whole family of starts, or of a single group."""
    if len(starts) == 1:
        return starts[0]
    return starts[0].partition("/")[0]


def groups(starts: str) -> tuple[str, ...]:
    """The groups that a set of starts consists of; a group is itself."""
    geometry.starts(starts)
    return (starts,) if "/" in starts else tuple(f"{starts}/{corner}" for corner in geometry.CORNERS)


def from_trajectories(
    batch: Trajectories,
    ends: np.ndarray,
    chosen: np.ndarray,
    constraints: tuple[str, ...],
    metadata: Mapping[str, Any],
) -> Demonstrations:
    """The columns ``chosen`` of ``batch``, each up to and with its step ``ends``."""
    lengths = ends[chosen] + 1
    time = np.concatenate([np.arange(n) for n in lengths])
    column = np.repeat(chosen, lengths)

    def steps(values: jax.Array) -> np.ndarray:
        return np.asarray(values)[time, column]

    return Demonstrations(
        observations=steps(batch.observation),
        actions=steps(batch.action),
        rewards=steps(batch.reward),
        costs=steps(batch.cost),
        terminations=steps(batch.terminated),
        truncations=steps(batch.truncated),
        lengths=lengths,
        final_observations=np.asarray(batch.next_observation)[ends[chosen], chosen],
        constraints=constraints,
        metadata=dict(metadata),
    )


def environment_of(maze: MarbleMaze) -> dict[str, Any]:
    """Identifier and options of the maze; the board decides whether a set fits a world."""
    options = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(maze).items()}
    return {"id": maze.task.name, "options": options, "decisive": ["board"]}


def gymnasium_spec(maze: MarbleMaze) -> str:
    """Gymnasium's JSON description, from which Minari makes the environment again."""
    import gymnasium

    spec = deepcopy(gymnasium.spec(f"surefoot/{maze.task.name}"))
    spec.kwargs = {"board": maze.board, "constraints": list(maze.constraints), "starts": maze.starts}
    return spec.to_json()


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    from surefoot import __version__

    found = {"surefoot": __version__}
    for package in ("jax", "jaxlib", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # pragma: no cover - all three are required
            found[package] = "unknown"
    return found
