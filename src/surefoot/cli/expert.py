"""``surefoot expert train | list``: SAC with the settings of the f-IRL experiments."""

from __future__ import annotations

import shlex

from surefoot.cli._common import table
from surefoot.errors import SurefootError, unknown

LESSON = """\
usage: surefoot expert train --env ENVIRONMENT ... | list

An expert is a policy trained with the environment's own reward; its best episodes are what f-IRL and its
relatives learn from.

  train     `surefoot train sac` with the settings of the f-IRL experiments; all of its options may follow
  list      these settings for each environment, and the return that the experiments' expert had

Examples:
  surefoot expert train --env FixedHopper-v0 --run runs/hopper
  surefoot expert train --env gymnasium:Walker2d-v5 --hidden 256 256 --seeds 3
  surefoot demos collect --from runs/hopper --episodes 16 --best --out hopper

`surefoot train sac --help` lists all options; a training that was stopped goes on with `surefoot resume`."""


def main(argv: list[str]) -> int:
    """Runs one of the two commands."""
    if not argv or argv[0] in ("-h", "--help"):
        print(LESSON)
        return 0
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        raise unknown("command of `surefoot expert`", name, COMMANDS, "See `surefoot expert --help`.")
    return COMMANDS[name](rest)


def train(argv: list[str]) -> int:
    """Hands the preset, then the user's own words, to ``surefoot train sac``."""
    from surefoot.cli.train import main as train_main
    from surefoot.cli.train import peek
    from surefoot.experiments.experts import train_words

    if any(word in ("-h", "--help") for word in argv):
        print(LESSON)
        return 0
    env = peek(argv, "--env", "")
    if not env:
        raise SurefootError("Name the environment, such as `surefoot expert train --env FixedHopper-v0`.")
    words = ["sac", *train_words(env), *argv]  # of an option that is given twice, the last one counts
    print(f"surefoot train {shlex.join(words)}")
    return train_main(words)


def list_(argv: list[str]) -> int:
    """The presets."""
    from surefoot.experiments.experts import PRESETS

    if any(word in ("-h", "--help") for word in argv):
        print(LESSON)
        return 0
    if argv:
        raise SurefootError(f"'{argv[0]}' is one argument too many; `surefoot expert list` takes none.")
    rows = [("body", "steps", "random steps", "published return")]
    for name, preset in PRESETS.items():
        published = "-" if preset.published is None else f"{preset.published:.0f}"
        rows.append((name, f"{preset.steps:,}", f"{preset.warm_up:,}", published))
    print(table(rows))
    return 0


COMMANDS = {"train": train, "list": list_}
"""Word on the command line -> what runs it."""
