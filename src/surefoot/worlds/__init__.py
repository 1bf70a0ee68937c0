"""Where experience comes from: making a world by name, and writing down how it was made.

Importing this module imports neither JAX nor Gymnasium.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any

from surefoot._importing import find
from surefoot.envs import (
    ENVIRONMENTS,
    GYMNASIUM,
    VECTORS,
    environment,
    is_simulated,
    name_of,
    register_envs,
    vector,
)
from surefoot.errors import SurefootError, check_seed, unknown

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

    from surefoot.data.demonstrations import Demonstrations
    from surefoot.worlds.checker import Report
    from surefoot.worlds.gym_world import GymWorld
    from surefoot.worlds.jax_world import JaxWorld
    from surefoot.worlds.vector_world import VectorWorld
    from surefoot.worlds.world import Acts

WORLD_OPTIONS = ("cost", "constraints", "limits", "success", "horizon", "env_options")
"""Options of a Gymnasium world that are ours; all others go to the environment."""


def make(
    id: Any,  # noqa: A002
    *,
    envs: int = 16,
    seed: int = 0,
    **options: Any,
) -> JaxWorld | GymWorld | VectorWorld:
    """A world of ``envs`` environments side by side.

    Args:
        id: one of
            - the name of an environment of ours, such as ``"MarbleMaze-v0"``; ``options`` are its fields.
              Those in MuJoCo, such as ``"FixedHopper-v0"``, are ``"gymnasium:surefoot/NAME"`` for short;
            - ``"gymnasium:ID"``; ``options`` are those of :meth:`GymWorld.create` (cost, constraints,
              limits, success, horizon), all others go to ``gymnasium.make``;
            - ``"python:MODULE.FUNCTION"`` or a callable that makes a ``gymnasium.Env`` at every call;
              ``options`` as before, all others go to the callable;
            - a JAX environment, such as ``MarbleMaze()``.
            ``cost`` and ``success`` may be functions or texts ``"MODULE:FUNCTION"``. ``env_options`` is a
            dictionary for the environment, for options whose names are taken.
        envs: how many are stepped side by side.
        seed: fixes the first episodes.

    Raises:
        SurefootError: no such environment or option (the nearest is named), or a value out of range.

    Example:
        >>> world = make("MarbleMaze-v0", constraints=("zone", "speed"), envs=4)
        >>> world.task.constraints
        ('zone', 'speed')
    """
    import jax

    check_seed(seed)
    key = jax.random.key(seed)
    if isinstance(options.get("constraints"), str):
        raise SurefootError(f"constraints = '{options['constraints']}': give a tuple of names.")
    if isinstance(options.get("limits"), int | float):
        raise SurefootError(f"limits = {options['limits']}: give a tuple with one a constraint.")
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    if isinstance(id, str) and (id.startswith("gymnasium:") or is_simulated(id)):
        known = id.partition(":")[2] or f"surefoot/{id}"
        if id in VECTORS and not _uses_functions(options):
            return _vector_world(_gymnasium_factory(known, options), id, envs, key, options)
        return _gym_world(_gymnasium_factory(known, options), id, envs, key, options)
    if isinstance(id, str) and not id.startswith("python:"):
        return _jax_world(_our_environment(id), envs, key, options)
    made = find(id.partition(":")[2]) if isinstance(id, str) else id
    if _is_jax_env(made):
        return _jax_world(made, envs, key, options)
    if not callable(made):
        raise SurefootError(
            f"make() takes a name or a function that makes an environment, not a {type(made).__name__}; "
            "for an environment `env` that exists already, give the function that made it."
        )
    name = id if isinstance(id, str) else _path_of(made)
    factory = _python_factory(made, options)
    return _gym_world(factory, name, envs, key, options, shown=getattr(made, "__name__", repr(made)))


def describe(world: Any) -> dict[str, Any]:
    """How a world was made, fit for JSON: ``id``, ``envs``, ``options``.

    ``id`` is ``None`` if the world cannot be made again from text, because a function in it
    cannot be imported; such a world must be given again when a run is resumed.
    """
    env = getattr(world, "env", None)
    if env is None:
        return {**world.description, "envs": world.envs}
    name = name_of(env) or _path_of(type(env))
    options = {field.name: getattr(env, field.name) for field in dataclasses.fields(env)}
    return _description(name, world.envs, options)


def option_names(id: str) -> list[str]:  # noqa: A002
    """Options that an environment with Gymnasium's form takes for itself; none where its code does not say.

    ``id`` is ``gymnasium:ID``, ``python:MODULE.FUNCTION``, or the name of one of ours.
    """
    import inspect

    import gymnasium
    from gymnasium.envs.registration import load_env_creator

    kind, colon, name = id.partition(":")
    name = name if colon else f"surefoot/{id}"
    try:
        if kind == "python":
            made = find(name)
        else:
            register_envs()
            entry: Any = gymnasium.spec(name).entry_point
            made = load_env_creator(entry) if isinstance(entry, str) else entry
        taken = inspect.signature(made).parameters.items()
        known = [n for n, p in taken if n != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    except (TypeError, ValueError, ImportError, AttributeError, gymnasium.error.Error):
        return []
    if name.startswith("surefoot/Safety"):  # it also takes the fields of its task
        from surefoot.envs.safety.task import Task as SafetyTask

        known = [n for n in known if n not in ("task", "changes")]
        known += [each.name for each in dataclasses.fields(SafetyTask)]
    return known


def from_description(description: dict[str, Any], **changes: Any) -> JaxWorld | GymWorld | VectorWorld:
    """The world that :func:`describe` wrote down, with ``changes`` to its options (``envs`` too)."""
    if not description.get("id"):
        raise SurefootError(
            "This world was made from a function that cannot be imported; give the world again (world=...)."
        )
    options = {"envs": description["envs"], **description["options"], **changes}
    return make(description["id"], **options)


def demonstrate(
    world: Any,
    controller: Acts,
    *,
    episodes: int = 100,
    seed: int = 0,
    name: str = "",
    keep_all: bool = False,
) -> Demonstrations:
    """Plays ``controller`` for whole episodes and keeps those that are clean and successful.

    Args:
        world: where it plays.
        controller: anything with ``act(observation, key)`` that returns the action for one observation,
            written with ``jax.numpy``. Let it depend on the observation alone: a hidden counter or plan
            makes one observation carry different actions, which no policy can imitate.
        episodes: how many are played.
        seed: decides starts and chance.
        name: of the set.
        keep_all: keeps failed and violating episodes too.

    ``metadata["played"]`` says how many were dropped, and why. Success is asked for only where the
    world reports it.
    """
    from surefoot.worlds.demonstrator import play_demonstrations

    return play_demonstrations(world, controller, episodes=episodes, seed=seed, name=name, keep_all=keep_all)


def check(world: Any, *, steps: int = 200, seed: int = 0) -> Report:
    """Plays ``world`` at random and says what a learner would stumble over.

    See :func:`surefoot.worlds.checker.check_world`.
    """
    from surefoot.worlds.checker import check_world

    return check_world(world, steps=steps, seed=seed)


def _our_environment(name: str) -> Any:
    if name not in ENVIRONMENTS:
        hint = "Write gymnasium:ID for an environment of Gymnasium; see `surefoot list environments`."
        raise unknown("environment", name, GYMNASIUM, hint)
    return environment(name)


def _jax_world(env: Any, envs: int, key: PRNGKeyArray, options: dict[str, Any]) -> JaxWorld:
    from surefoot.worlds.jax_world import JaxWorld

    if isinstance(env, type):
        known = [field.name for field in dataclasses.fields(env)]
        for option in options:
            if option not in known:
                raise unknown(f"option of {name_of(env) or env.__name__}", option, known)
        env = env(**options)
    elif options:
        raise SurefootError(f"The environment is made already, so options {tuple(options)} come too late.")
    return JaxWorld.create(env, envs, key)


def _gym_world(
    factory: Callable[[], Any],
    name: str | None,
    envs: int,
    key: PRNGKeyArray,
    options: dict[str, Any],
    shown: str = "",
) -> GymWorld:
    """``name`` leads back to the factory, if anything does; else the task is called ``shown``."""
    from surefoot.worlds.gym_world import GymWorld

    ours = {option: value for option, value in options.items() if option in WORLD_OPTIONS[:-1]}
    if isinstance(ours.get("cost"), str):
        ours["cost"] = _function("cost", ours["cost"])
    if isinstance(ours.get("success"), str) and ":" in ours["success"]:
        ours["success"] = _function("success", ours["success"])
    description = _description(name, envs, options)
    return GymWorld.create(factory, envs, key, name=name or shown, description=description, **ours)


def _function(option: str, path: str) -> Any:
    """What ``MODULE:FUNCTION`` names, if it can be called."""
    found = find(path)
    if not callable(found):
        raise SurefootError(f"{option} = '{path}' is a {type(found).__name__}, not a function; name one.")
    return found


def _vector_world(
    factory: Callable[[], Any], name: str, envs: int, key: PRNGKeyArray, options: dict[str, Any]
) -> VectorWorld:
    """For environments of ours that have a form in which many are stepped together."""
    from surefoot.worlds.vector_world import VectorWorld

    ours = {option: value for option, value in options.items() if option in WORLD_OPTIONS[:-1]}
    make_vector = partial(_make_vector, name, _env_options(options))
    return VectorWorld.create(
        factory, make_vector, envs, key, name=name, description=_description(name, envs, options), **ours
    )


def _uses_functions(options: dict[str, Any]) -> bool:
    """Whether cost or success are functions, which look at one environment at a time."""
    success = options.get("success") or ""
    return options.get("cost") is not None or callable(success) or ":" in success


def _make_vector(name: str, options: dict[str, Any], envs: int) -> Any:
    return vector(name)(num_envs=envs, autoreset_mode="Disabled", **options)


def _env_options(options: dict[str, Any]) -> dict[str, Any]:
    theirs = {option: value for option, value in options.items() if option not in WORLD_OPTIONS}
    return {**theirs, **options.get("env_options", {})}


def _gymnasium_factory(name: str, options: dict[str, Any]) -> Callable[[], Any]:
    import gymnasium

    register_envs()
    if ":" not in name and name not in gymnasium.registry:
        near = get_close_matches(name, gymnasium.registry, n=1, cutoff=0.5)
        guess = f" Did you mean 'gymnasium:{near[0]}'?" if near else ""
        raise SurefootError(
            f"Unknown environment 'gymnasium:{name}'.{guess} If importing a package registers it, "
            "write gymnasium:PACKAGE:ID."
        )
    return partial(_make_gymnasium, name, _env_options(options))


def _make_gymnasium(name: str, options: dict[str, Any]) -> Any:
    import gymnasium

    try:
        # Gymnasium's own checker only warns, at each start; surefoot.worlds.check says more, when asked.
        return gymnasium.make(name, disable_env_checker=True, **options)
    except gymnasium.error.DependencyNotInstalled as error:
        hint = 'for MuJoCo, `pip install "surefoot[mujoco]"`.'
        raise SurefootError(
            f"'gymnasium:{name}' needs a package that is not installed: {error}"
            + ("" if "surefoot[mujoco]" in str(error) else f"; {hint}")
        ) from error
    except TypeError as error:
        raise _option_error(f"gymnasium:{name}", options, error) from error
    except (gymnasium.error.Error, ImportError) as error:
        raise SurefootError(f"'gymnasium:{name}' cannot be made: {error}") from error


def _python_factory(made: Callable[..., Any], options: dict[str, Any]) -> Callable[[], Any]:
    theirs = _env_options(options)
    if lacking := [name for name in _needed(made) if name not in theirs]:
        raise SurefootError(
            f"{_path_of(made) or repr(made)} needs {', '.join(lacking)}: give a value as an option, "
            "--option NAME=VALUE or make(..., NAME=VALUE)."
        )

    def factory() -> Any:
        try:
            return made(**theirs)
        except TypeError as error:
            if not theirs:
                raise
            raise _option_error(_path_of(made) or repr(made), theirs, error) from error

    return factory


def _needed(made: Callable[..., Any]) -> list[str]:
    """Names of the arguments that it cannot do without; none where it does not say."""
    import inspect

    try:
        taken = inspect.signature(made).parameters.values()
    except (TypeError, ValueError):
        return []
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in taken if p.kind in named and p.default is p.empty]


def _option_error(name: str, options: dict[str, Any], error: TypeError) -> Exception:
    """A clear error if an option is not known; otherwise the error as it came."""
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if found is None or found[1] not in options:
        return error
    return unknown(f"option of {name}", found[1], [*option_names(name), *WORLD_OPTIONS])


def _description(name: str | None, envs: int, options: dict[str, Any]) -> dict[str, Any]:
    """``name`` becomes ``None`` if an option cannot be written down."""
    written = {}
    for option, value in options.items():
        found = _place_of(value) if callable(value) else None
        written[option] = value if found is None else ":".join(found)
    try:
        written = json.loads(json.dumps(written))
    except (TypeError, ValueError):
        name, written = None, {}
    return {"id": name, "envs": envs, "options": written}


def _is_jax_env(made: Any) -> bool:
    functions = ("reset", "step", "observe", "task")
    return dataclasses.is_dataclass(made) and all(hasattr(made, name) for name in functions)


def _path_of(made: Any) -> str | None:
    """``python:MODULE.NAME`` (``MODULE:NAME`` with a dot in the name) if that leads back to the same object,
    else ``None``."""
    found = _place_of(made)
    if found is None:
        return None
    module, name = found
    return f"python:{module}:{name}" if "." in name else f"python:{module}.{name}"


def _place_of(made: Any) -> tuple[str, str] | None:
    """Module and name of something that can be imported under them."""
    module, name = getattr(made, "__module__", None), getattr(made, "__qualname__", None)
    if not module or not name or module == "__main__":
        return None
    try:
        return (module, name) if find(f"{module}:{name}") is made else None
    except SurefootError:
        return None
