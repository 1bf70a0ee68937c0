"""``surefoot train ALGORITHM ...``: every setting of the algorithm and of the environment is an option."""

from __future__ import annotations

import dataclasses
import re
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from surefoot.cli._common import (
    algorithms,
    environments,
    find_run,
    parse,
    parse_pairs,
    parse_seeds,
    say_next,
    table,
)
from surefoot.errors import SurefootError, check_range

LESSON = """\
usage: surefoot train ALGORITHM [--env ENVIRONMENT] [--demos NAME] [--steps N] [--seeds 5] ...

Trains one or several seeds of an algorithm and keeps everything in a folder, the run: settings,
metrics, checkpoints and the policy. A run that is stopped goes on with `surefoot resume RUN`.

Algorithms:
{algorithms}
`surefoot train ALGORITHM --help` lists all settings, with their defaults.

Demonstrations that come along (--demos), or give a folder:
{demonstrations}

Environments (--env):
{environments}
The options of an environment are options here: --constraints zone speed --board island.
`surefoot train scopil --env gymnasium:CartPole-v1 --help` shows those of any Gymnasium environment.

Examples:
  surefoot train discrete-sac --steps 100000 --run runs/careless
      the marble maze, one seed, no regard for constraints; the run is the folder runs/careless
  surefoot train scopil --demos marble-maze/zone+speed --constraints zone speed --seeds 5 --run runs/careful
      five seeds at once, in one compiled program, beside demonstrations that keep both constraints
  surefoot train scopil --demos marble-maze/two-modes --board island --epsilon 0.05
      another board, and a setting of the algorithm
  surefoot train sac --env DisabledAnt-v0 --reward runs/recovered
      from scratch on a reward that another run recovered, see docs/rewards.md
  surefoot train safe-start --env NoisyWalk-v0 --batch-steps 3000 --target-cost 1.8 --run runs/start
  surefoot train lbpo --env NoisyWalk-v0 --batch-steps 3000 --from runs/start
      a policy of low cost first, then reward within the limit of the cost, see docs/lbpo.md
  surefoot train ppo-lagrangian --env gymnasium:CartPole-v1 --cost mycosts:too_far_left --limits 5
      any Gymnasium environment; the cost is a function in mycosts.py, see docs/environments.md

Then: surefoot evaluate RUN, surefoot compare RUN RUN, surefoot render RUN."""


@dataclass(frozen=True)
class RunOptions:
    """How long, how often, and where it is kept."""

    env: str = "MarbleMaze-v0"
    """Environment: a name from `surefoot list environments`, gymnasium:ID, or python:MODULE.FUNCTION."""
    demos: str | None = None
    """Demonstrations: a name from `surefoot list demos`, or a folder. For algorithms that learn from some."""
    first: int | None = None
    """Learn from this many episodes of --demos, the first ones; from all if not given."""
    steps: int = 100_000
    """Environment steps a seed; gradient steps for an algorithm that learns from demonstrations alone."""
    seeds: str = "1"
    """How many seeds (5), or which (0,3,7)."""
    run: Path | None = None
    """Folder of the run; runs/ALGORITHM-ENVIRONMENT-TIME if not given."""
    overwrite: bool = False
    """Replace a run that is in that folder."""
    envs: int | None = None
    """Environments side by side; 16 if not given, 1 for algorithms that plan."""
    log_every: int | None = None
    """Environment steps between two rows of metrics; chosen from --steps if not given."""
    evaluate_every: int | None = None
    """Environment steps between two evaluations while training; none if not given."""
    evaluate_episodes: int = 20
    """Episodes a seed in each of these."""
    start: Path | None = None
    """Start from the policy (and critics) of this run, such as one of safe-start. Short: --from RUN."""
    learned_reward: str | None = None
    """Learn from the reward that this run recovered (of firl, say), in the place of the environment's own.
    Returns are still the environment's. Short: --reward RUN."""
    prior: str | None = None
    """Add the reward that this run recovered to the environment's own, as potential-based shaping."""
    prior_weight: float = 0.1
    """Weight of --prior."""
    prior_discount: float = 0.99
    """Discount of --prior; the algorithm's own keeps the best policies what they are."""
    reward_seed: int | None = None
    """Seed of the run that these name; its first if not given."""
    checkpoint_every: float = 60.0
    """Seconds between two checkpoints."""
    progress: bool = True
    """Show progress."""


@dataclass(frozen=True)
class GymnasiumOptions:
    """What the library cannot know of an environment from elsewhere."""

    cost: str | None = None
    """MODULE:FUNCTION for the cost of a step, cost(observation, action, next_observation, info);
    info["cost"] if not given."""
    constraints: tuple[str, ...] | None = None
    """A name for each cost."""
    limits: tuple[float, ...] | None = None
    """Largest expected cost of a safe episode, one a constraint; 0 if not given."""
    success: str | None = None
    """Key of info, or MODULE:FUNCTION, that says whether the task is solved."""
    horizon: int | None = None
    """Steps after which an episode is cut; the environment's own limit if not given."""
    option: tuple[str, ...] = ()
    """NAME=VALUE for the environment itself, such as is_slippery=false; several may follow."""

    def as_options(self) -> dict[str, Any]:
        """As ``surefoot.make`` takes them."""
        given = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        pairs = parse_pairs(given.pop("option"), "--option")
        return {name: value for name, value in given.items() if value is not None} | (
            {"env_options": pairs} if pairs else {}
        )


def main(argv: list[str]) -> int:
    """Trains; the exit code is 0 when all steps are done."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_lesson())
        return 0
    name, rest = argv[0], argv[1:]
    if name.startswith("-"):
        raise SurefootError("The algorithm comes first, such as `surefoot train scopil --steps 100000`.")

    from surefoot.algorithms import algorithm

    learner_class = algorithm(name)
    prog = f"surefoot train {name}"
    env = peek(rest, "--env", RunOptions.env)
    environment = environment_options(env)
    words = _learned(rest, environment)
    try:
        options = parse(
            options_of(learner_class, environment),
            words,
            prog=prog,
            description=(learner_class.__doc__ or "").partition("\n\n")[0],
            environment=env if environment is GymnasiumOptions else None,
        )
    except SurefootError as error:
        raise SurefootError(_as_typed(str(error), rest, words)) from None
    train(options.algorithm, options.environment, options.run, command=shlex.join([*prog.split(), *rest]))
    return 0


def options_of(learner: type[Any], environment: type[Any]) -> type[Any]:
    """The dataclass whose fields are all options: of the run, the algorithm and the environment."""
    return dataclasses.make_dataclass(
        "Train", [("run", RunOptions), ("algorithm", learner), ("environment", environment)]
    )


def environment_options(env: str) -> type[Any]:
    """The dataclass of an environment's options; raises :class:`SurefootError` for an unknown name."""
    from surefoot.envs import environment, is_simulated

    if env.startswith(("gymnasium:", "python:")) or is_simulated(env):
        return GymnasiumOptions
    return environment(env)


def train(learner: Any, environment: Any, options: RunOptions, *, command: str) -> None:
    """Makes the world, trains in it, and says what to do next."""
    from surefoot import worlds
    from surefoot.training.fit import fit

    seeds = parse_seeds(options.seeds)
    if options.evaluate_every is None and options.evaluate_episodes != RunOptions.evaluate_episodes:
        raise SurefootError("--evaluate-episodes says nothing without --evaluate-every STEPS; give both.")
    if isinstance(environment, GymnasiumOptions):
        world_options = environment.as_options()
    else:
        world_options = {
            each.name: getattr(environment, each.name) for each in dataclasses.fields(environment)
        }
    run = fit(
        learner,
        _rewarded(worlds.make(options.env, envs=_envs(learner, options), **world_options), options),
        demonstrations=_demonstrations(options),
        start=None if options.start is None else find_run(options.start),
        steps=options.steps,
        seeds=seeds,
        run=options.run,
        overwrite=options.overwrite,
        log_every=options.log_every,
        evaluate_every=options.evaluate_every,
        evaluate_episodes=options.evaluate_episodes,
        checkpoint_every=options.checkpoint_every,
        progress=options.progress,
        command=command,
    )
    say_next(run.path)


def _demonstrations(options: RunOptions) -> Any:
    """What --demos names, for ``fit`` to load; or the first episodes of it, which the run folder keeps."""
    if options.first is None:
        return options.demos
    if options.demos is None:
        raise SurefootError("--first takes the first episodes of a set; give one (--demos NAME).")
    from surefoot.data import demonstrations
    from surefoot.training.fit import check_kept

    check_range("first", options.first, low=1)
    found = demonstrations.load(options.demos)
    if options.first > found.episodes:
        raise SurefootError(f"--first {options.first}, but '{options.demos}' has {found.episodes} episodes.")
    if options.overwrite and options.run is not None:
        check_kept(options.run, {"demonstrations": options.demos})
    few = found.slice(range(options.first))
    return dataclasses.replace(few, name=f"first {options.first} of {found.name}")


def _envs(learner: Any, options: RunOptions) -> int:
    return getattr(learner, "usual_envs", 16) if options.envs is None else options.envs


def _learned(words: Sequence[str], environment: type[Any]) -> list[str]:
    """``words`` with --start for --from, and --learned-reward for --reward, unless that means an option of
    the environment."""
    words = [re.sub(r"^--from(?==|$)", "--start", word) for word in words]
    own = "reward" in {each.name for each in dataclasses.fields(environment)}
    named = peek(words, "--reward", "")
    given = find_run(named)
    if own and not (named and given.joinpath("reward").is_dir()):
        if named and given.joinpath("config.json").exists():
            raise SurefootError(f"The run {given} holds no reward; give one of a method that recovers any.")
        return list(words)
    return [re.sub(r"^--reward(?==|$)", "--learned-reward", word) for word in words]


def _as_typed(message: str, typed: Sequence[str], words: Sequence[str]) -> str:
    """``message`` with the options as the user ``typed`` them, where ``words`` has others instead."""
    for there, here in zip(words, typed, strict=True):
        if there != here:
            message = message.replace(there.partition("=")[0], here.partition("=")[0])
    return message


_OF_REWARDS = ("prior_weight", "prior_discount", "reward_seed")
"""Options that say nothing without --prior or --reward."""


def _rewarded(world: Any, options: RunOptions) -> Any:
    """``world`` with the reward that the options name, if any."""
    path = options.learned_reward or options.prior
    given = {name for name in _OF_REWARDS if getattr(options, name) != getattr(RunOptions, name)}
    if options.prior is not None:
        given.clear()
    elif options.learned_reward is not None:
        given.discard("reward_seed")
    if given:
        flag = f"--{min(given).replace('_', '-')}"
        meant = "--prior RUN" + " or --reward RUN" * (flag == "--reward-seed")
        raise SurefootError(f"{flag} says nothing without {meant}; give that too, or leave it out.")
    if path is None:
        return world
    if options.learned_reward and options.prior:
        raise SurefootError("--reward replaces the environment's own, --prior adds to it; give one of them.")
    from surefoot.training.reward_io import load_reward
    from surefoot.worlds.relabel import relabel

    weight = None if options.learned_reward else options.prior_weight
    reward = load_reward(find_run(path), options.reward_seed)
    return relabel(world, reward, prior_weight=weight, discount=options.prior_discount)


def peek(words: Sequence[str], flag: str, default: str) -> str:
    """The value of one option, needed before the others can be known."""
    value = default
    for here, after in pairwise([*words, default]):
        if here == flag:
            value = after
        elif here.startswith(f"{flag}="):
            value = here.partition("=")[2]
    return value


def _lesson() -> str:
    from surefoot.data.demonstrations import bundled

    margin = "  "
    names = textwrap.fill(
        "  ".join(bundled()), 100, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
    )
    return LESSON.format(
        algorithms=table(algorithms()), environments=table(environments()), demonstrations=names
    )
