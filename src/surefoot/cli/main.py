"""``surefoot COMMAND ...``: finds the command, and turns the errors of a user into one line.

Neither JAX nor any algorithm is imported here, so that help and errors come at once.
"""

from __future__ import annotations

import errno
import os
import sys
from difflib import get_close_matches
from importlib import import_module

from surefoot.errors import SurefootError

COMMANDS = {
    "demo": "train SCOPIL and SAC on the marble maze, side by side, and write a report",
    "train": "train an algorithm; every setting is an option",
    "resume": "go on with a run that was stopped",
    "evaluate": "play the policies of a run: return, success and violations with intervals",
    "compare": "put runs side by side in one page",
    "render": "draw a run's rollouts as an animation",
    "demos": "demonstrations: collect, show, import, list",
    "expert": "train an expert, whose best episodes can be demonstrations",
    "reward": "show the reward that a run recovered",
    "density": "show a density of states before training on it",
    "reproduce": "run a paper's experiment",
    "list": "list algorithms, environments, demonstrations, experiments or runs",
}
"""Name of a command -> what it does. Its code is the module of that name in this package."""

OPTIONS = ("--help", "--version")

EXAMPLES = """\
Examples:
  surefoot demo
  surefoot train scopil --demos marble-maze/zone+speed --constraints zone speed --seeds 5 --run runs/careful
  surefoot train discrete-sac --constraints zone speed --seeds 5 --run runs/careless
  surefoot evaluate runs/careful
  surefoot compare runs/careful runs/careless --out report.html

`surefoot COMMAND --help` says more."""

NOT_OUR_FAULT = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
)
"""What the system may refuse: no room, no permission, too long a name."""


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, 2 for an error of the user, 130 if interrupted."""
    words = sys.argv[1:] if argv is None else argv
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except SurefootError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(str(stop) or "interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does. Keep Python from trying to write the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in NOT_OUR_FAULT:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror}.", file=sys.stderr)
        return 2


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        _print_help()
        return 0
    command, rest = words[0], words[1:]
    if command == "--version":
        from surefoot import __version__

        print(f"surefoot {__version__}")
        return 0
    if command not in COMMANDS:
        kind, known = ("option", OPTIONS) if command.startswith("-") else ("command", tuple(COMMANDS))
        near = get_close_matches(command, known, n=1, cutoff=0.5)
        guess = f" Did you mean `surefoot {near[0]}`?" if near else f" Known: {', '.join(known)}."
        raise SurefootError(f"Unknown {kind} '{command}'.{guess} See `surefoot --help`.")
    # An installed command does not look for modules where it is called, but a user's own costs are there.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    return import_module(f"surefoot.cli.{command}").main(rest)


def _print_help() -> None:
    from surefoot.cli._common import table

    print("usage: surefoot COMMAND ...\n")
    print("Safe reinforcement and imitation learning: policies that respect constraints,")
    print("given as costs or only shown in demonstrations.\n\nCommands:")
    print(table(COMMANDS))
    print(f"\n{EXAMPLES}")


if __name__ == "__main__":
    sys.exit(main())
