"""``surefoot reward show RUN``: what a run has learned as its reward, in numbers and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tyro.conf import Positional, arg

from surefoot.cli._common import find_run, parse, print_table
from surefoot.errors import SurefootError, check_range, unknown

LESSON = """\
usage: surefoot reward show RUN [--seed S] [--along DEMOS] [--low X Y --high X Y] [--out PICTURE]

A method that recovers a reward (f-IRL, MaxEnt IRL, AIRL) keeps it in RUN/reward, apart from the policy.

  surefoot reward show runs/recovered
      what it depends on, its range, and a heat map if that is two numbers; --low and --high say from
      where to where, if these have no bounds of their own
  surefoot reward show runs/recovered --along demonstrations/hopper --out reward.png
      its value at each step of demonstrated trajectories
  surefoot train sac --env DisabledAnt-v0 --reward runs/recovered
      a new policy from scratch on it
  surefoot train sac --env PointMass-v0 --prior runs/recovered --prior-weight 0.1
      as a prior, added to the environment's own reward as potential-based shaping"""

PICTURES = (".png", ".svg", ".pdf")
GRID = 101
"""Points along each side of a heat map."""


@dataclass(frozen=True)
class Options:
    """Which reward, and where the picture goes."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run of a method that learns a reward, or its name below runs/, or a folder with one."""
    seed: int | None = None
    """Seed of the training; all of them if not given."""
    along: str | None = None
    """Demonstrations: a name or a folder. The reward is drawn along their trajectories."""
    trajectories: int = 4
    """How many of them."""
    low: tuple[float, ...] = ()
    """Lower edge of a map, two numbers; the observation's bounds if not given."""
    high: tuple[float, ...] = ()
    """Upper edge."""
    out: Path = Path("reward.png")
    """The picture; its ending decides the format: .png, .svg or .pdf."""


def main(argv: list[str]) -> int:
    """Prints what the reward is, and draws it."""
    if not argv or argv[0] in ("-h", "--help"):
        print(LESSON)
        return 0
    if argv[0] != "show":
        raise unknown("use of `surefoot reward`", argv[0], ("show",))
    options = parse(Options, argv[1:], prog="surefoot reward show", description="What a reward depends on.")
    if options.out.suffix not in PICTURES:
        raise SurefootError(f"--out {options.out}: the name must end in {', '.join(PICTURES)}.")
    show(options)
    return 0


def show(options: Options) -> None:
    """See :data:`LESSON`."""
    from surefoot.data import demonstrations
    from surefoot.training.reward_io import describe_reward, load_reward

    check_range("--trajectories", options.trajectories, low=1)
    demos = None if options.along is None else demonstrations.load(options.along)
    folder, about = describe_reward(find_run(options.run))
    seeds = about["seeds"] if options.seed is None else [options.seed]
    rewards = {f"seed {seed}": load_reward(folder, seed) for seed in seeds}
    rows = {
        "environment": about["environment"],
        "learned by": str(about.get("algorithm", "-")),
        "depends on": "entries " + ", ".join(map(str, about["indices"])) + " of the state",
        "seeds": ", ".join(map(str, about["seeds"])),
    }
    box = edges(options, about)
    if demos is not None:
        figure, values = _along(rewards, demos, options.trajectories)
    elif len(about["indices"]) == 2 and box is not None:
        figure, values = _maps(rewards, about, box)
    else:
        print_table(rows)
        raise SurefootError(
            "This reward does not depend on two bounded numbers, so it cannot be drawn as a map; give "
            "--along DEMOS to draw it along trajectories, or of two numbers --low X Y --high X Y."
        )
    rows["range"] = f"{np.nanmin(values):.3g} to {np.nanmax(values):.3g}"
    print_table(rows)
    from surefoot.reports import rewards as pictures

    pictures.write(figure, options.out)
    print(f"Picture: {options.out}")


def edges(options: Options, about: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """Left, right, lower and upper edge of a map; ``None`` if they are not given and not known."""
    low, high = options.low, options.high
    if not low and not high:
        return bounds(about)
    if len(low) != 2 or len(high) != 2 or not all(a < b for a, b in zip(low, high, strict=True)):
        raise SurefootError(
            f"--low {low} --high {high}: give two numbers each, the lower ones first, such as "
            "--low 0 0 --high 4 4."
        )
    return low[0], high[0], low[1], high[1]


def bounds(about: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """Left, right, lower and upper bound of the two entries, if they are bounded."""
    low, high = about["observation"]["low"], about["observation"]["high"]
    found = [edge for i in about["indices"] for edge in (low[i], high[i])]
    return None if None in found else tuple(found)  # type: ignore[return-value]


def _maps(rewards: dict[str, Any], about: dict[str, Any], box: tuple[float, float, float, float]) -> Any:
    from surefoot.reports import rewards as pictures

    x, y = np.linspace(box[0], box[1], GRID), np.linspace(box[2], box[3], GRID)
    states = np.zeros((GRID, GRID, len(about["observation"]["low"])), np.float32)
    states[..., about["indices"][0]], states[..., about["indices"][1]] = x[None, :], y[:, None]
    values = {name: np.asarray(reward(states)) for name, reward in rewards.items()}
    labels = (f"state {about['indices'][0]}", f"state {about['indices'][1]}")
    figure = pictures.heat_maps(values, box, labels, title=f"Reward recovered on {about['environment']}")
    return figure, np.stack(list(values.values()))


def _along(rewards: dict[str, Any], demos: Any, trajectories: int) -> Any:
    from surefoot.reports import rewards as pictures

    kept = range(min(trajectories, demos.episodes))
    lines = {
        name: [np.asarray(reward(demos.episode(i)["observations"])) for i in kept]
        for name, reward in rewards.items()
    }
    values = np.concatenate([line for each in lines.values() for line in each])
    return pictures.along(lines, title=f"Along {len(kept)} demonstrated trajectories"), values
