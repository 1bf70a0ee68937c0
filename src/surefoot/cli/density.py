"""``surefoot density show DENSITY``: what a density is, in numbers and as a picture, before training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tyro.conf import Positional, arg

from surefoot.cli._common import parse, print_table
from surefoot.cli.reward import PICTURES
from surefoot.errors import SurefootError, unknown

LESSON = """\
usage: surefoot density show DENSITY [--low .. --high ..] [--states DEMOS] [--out PICTURE]

A density says how often each state should be visited; f-IRL and its relatives learn from one.

  surefoot density show point-mass/mixture
      one of the experiments' densities, as a heat map; without a name, all of them are listed
  surefoot density show '{"gaussian": {"mean": [2, 2], "std": 0.5}}' --low 0 0 --high 4 4
      your own; the words are on the page docs/firl.md
  surefoot density show python:mine.log_density --low 0 0 --high 4 4 --out density.svg
      your function, which does not say where it lies
  surefoot density show point-mass/mixture --states runs/matched
      with the states that an evaluated run, or a set of demonstrations, has visited
  surefoot train firl --env PointMass-v0 --density point-mass/mixture
      the training"""


@dataclass(frozen=True)
class Options:
    """Which density, and what is drawn of it."""

    density: Annotated[Positional[str], arg(metavar="DENSITY")]
    """A name, JSON, or python:MODULE.FUNCTION."""
    low: tuple[float, ...] = ()
    """Lower bounds of the picture, one for each entry that is drawn; where the density lies if not given."""
    high: tuple[float, ...] = ()
    """Upper bounds."""
    dimensions: tuple[int, ...] = ()
    """The one or two entries that are drawn; the first two if not given."""
    at: tuple[float, ...] = ()
    """A whole state, for a density of more entries: those that are not drawn stay there."""
    states: str | None = None
    """Run that was evaluated, or demonstrations (a name or a folder), whose states are drawn over it."""
    state_indices: tuple[int, ...] = ()
    """Entries of these states that the density speaks of; the first ones if not given."""
    out: Path = Path("density.png")
    """The picture; its ending decides the format: .png, .svg or .pdf."""


def main(argv: list[str]) -> int:
    """Prints what the density is, and draws it."""
    if not argv or argv[0] in ("-h", "--help"):
        print(LESSON)
        return 0
    if argv[0] != "show":
        raise unknown("use of `surefoot density`", argv[0], ("show",))
    if argv[1:] == []:
        from surefoot.numerics.density_text import NAMED

        print("\n".join(NAMED))
        return 0
    options = parse(Options, argv[1:], prog="surefoot density show", description="What a density is.")
    if options.out.suffix not in PICTURES:
        raise SurefootError(f"--out {options.out}: the name must end in {', '.join(PICTURES)}.")
    show(options)
    return 0


def show(options: Options) -> None:
    """See :data:`LESSON`."""
    from surefoot.numerics.density_text import density_of
    from surefoot.reports import densities, rewards

    density = density_of(options.density)
    given: dict[str, Any] = {
        name: getattr(options, name) or None for name in ("low", "high", "dimensions", "at")
    }
    try:
        view = densities.look_at(density, **given)
    except (SurefootError, OSError):
        raise
    except Exception as error:
        if "python:" not in options.density:
            raise
        first = (str(error).splitlines() or [""])[0]
        raise SurefootError(f"{options.density} failed: {type(error).__name__}: {first}") from error
    size = len(view.at)
    states = None if options.states is None else _states(options.states, options.state_indices, size)
    figure = densities.draw(density, **given, states=states, title=_short(options.density))
    box = " x ".join(f"{low:.4g} .. {high:.4g}" for low, high in zip(view.low, view.high, strict=True))
    rows = {
        "kind": type(density).__name__,
        "over": f"{size} number{'s' * (size != 1)}",
        "normalised": _normalised(density),
        "drawn": "entries " + ", ".join(map(str, view.dimensions)) + f" in {box}",
        "zero there": f"{view.zero:.1%}",
    }
    if view.mass is not None:
        rows["integral there"] = f"{view.mass:.3f}"
    if states is not None:
        import jax.numpy as jnp

        zero = np.isneginf(np.asarray(density.log_prob(jnp.asarray(states))))
        rows["states"] = f"{len(states)}, of which {np.mean(zero):.1%} where the density is zero"
    rewards.write(figure, options.out)
    print_table(rows)
    print(f"Picture: {options.out}")


def _states(name: str, indices: tuple[int, ...], size: int) -> np.ndarray:
    """The chosen entries of all states of a run's rollouts or of demonstrations, ``[n, size]``."""
    from surefoot.cli._common import find_run

    folder = find_run(name)
    if (folder / "config.json").is_file():
        from surefoot.evaluation.episodes import read_tables

        table = next(iter(read_tables(folder / "rollouts.npz").values()))
        states = table.paths[:, :, 1:].reshape(-1, table.paths.shape[-1])  # s_1 .. s_T, as f-IRL counts
    else:
        from surefoot.data import demonstrations

        states = demonstrations.load(name).observations
    chosen = indices or tuple(range(size))
    if len(chosen) != size or not all(0 <= i < states.shape[1] for i in chosen):
        raise SurefootError(
            f"--state-indices {' '.join(map(str, indices)) or '(none)'}: give {size} of the entries 0 to "
            f"{states.shape[1] - 1} of these states."
        )
    return np.asarray(states[:, list(chosen)], np.float32)


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."  # as wide as a picture of one panel


def _normalised(density: Any) -> str:
    from surefoot.numerics.density import Scaled

    if not density.normalised:
        return "no: for rkl alone; for the others normalise() it"
    return "taken to be" if isinstance(density, Scaled) else "yes"
