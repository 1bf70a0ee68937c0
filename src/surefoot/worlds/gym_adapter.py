"""How one Gymnasium environment is read: its spaces, its cost, its success. NumPy only.

The learner sees flat float32 observations, actions that are integers from 0 or flat float32
vectors, and a cost vector with names. This file translates, and refuses what it cannot translate.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from surefoot.errors import SurefootError, check_range, unknown
from surefoot.task import Box, Discrete, Task

CostFunction = Callable[[Any, Any, Any, dict[str, Any]], Any]
"""``cost(observation, action, next_observation, info)`` in the environment's own form ->
a number, a vector with one entry a constraint, or a dictionary name -> number."""

SUCCESS_KEYS = ("success", "is_success")
"""Where an environment may say in ``info`` that the task is solved."""
PROBE_STEPS = 8
"""Random steps that are played once to see which costs an environment reports."""


@dataclass(frozen=True)
class Outcome:
    """One step of one environment."""

    raw: Any
    """The next observation in the environment's own form."""
    observation: np.ndarray
    """The same for the learner, ``[obs]`` float32."""
    reward: float
    cost: np.ndarray
    """``[constraints]`` float32."""
    terminated: bool
    truncated: bool
    """Never true together with ``terminated``."""
    success: bool


@dataclass(frozen=True)
class Adapter:
    """Makes environments by ``factory`` and translates between them and a learner.

    It holds no environment and no state.
    """

    factory: Callable[[], gymnasium.Env]
    task: Task
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    cost: CostFunction | None
    success: CostFunction | str | None
    chosen: bool
    """Whether the user named the constraints; costs of other names are then left out."""

    @property
    def measures_cost(self) -> bool:
        return bool(self.task.constraints)

    def reset(self, env: gymnasium.Env, seed: int) -> tuple[Any, np.ndarray]:
        """The first observation of an episode, in both forms."""
        answer = env.reset(seed=seed)
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise SurefootError(
                f"reset() of '{self.task.name}' must return (observation, info), as Gymnasium defines it; "
                f"it returned a {type(answer).__name__}."
            )
        return answer[0], self.encode(answer[0], 0)

    def step(self, env: gymnasium.Env, raw: Any, action: np.ndarray | np.integer, step: int) -> Outcome:
        """One step from ``raw``; ``action`` is the learner's, ``step`` counts from 1 in the episode."""
        given = self.decode(action, step)
        if callable(self.cost) or callable(self.success):
            raw = deepcopy(raw)  # an environment may write its next observation into the same array
        after, reward, six_cost, terminated, truncated, info = _raw_step(env, given, self.task.name)
        terminated = bool(terminated)
        return Outcome(
            raw=after,
            observation=self.encode(after, step),
            reward=self._reward(reward, step),
            cost=self._cost(raw, given, after, info, six_cost, step),
            terminated=terminated,
            truncated=not terminated and (bool(truncated) or step == self.task.horizon),
            success=self._success(raw, given, after, info),
        )

    def encode(self, raw: Any, step: int) -> np.ndarray:
        """The learner's form of an observation, ``[obs]`` float32: one-hot or flattened."""
        space = self.observation_space
        size = self.task.observation.size
        if isinstance(space, gymnasium.spaces.Discrete):
            hot = np.zeros(size, np.float32)
            index = int(raw) - int(space.start)
            if not 0 <= index < size:
                raise SurefootError(f"{self._where(step)}: observation {raw} is outside {space}.")
            hot[index] = 1.0
            return hot
        flat = _numbers(raw, "observation", self._where(step)).reshape(-1)
        if flat.size != size:
            raise SurefootError(
                f"{self._where(step)}: the observation has {flat.size} numbers, its space {size}."
            )
        if not np.isfinite(flat).all():
            raise SurefootError(
                f"{self._where(step)}: observation {int(np.argmin(np.isfinite(flat)))} is "
                f"{flat[~np.isfinite(flat)][0]}; an environment must return finite numbers."
            )
        return flat

    def decode(self, action: np.ndarray | np.integer, step: int) -> Any:
        """The environment's form of the learner's action; real actions are clipped to the bounds."""
        space = self.action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            if not np.issubdtype(np.asarray(action).dtype, np.integer):
                raise SurefootError(f"{self._where(step)}: the policy's action {action} is no integer.")
            return int(action) + int(space.start)
        if not np.isfinite(action).all():
            raise SurefootError(f"{self._where(step)}: the policy's action {action} is not finite.")
        assert isinstance(space, gymnasium.spaces.Box)
        return np.clip(action.reshape(space.shape), space.low, space.high).astype(space.dtype)

    def _reward(self, reward: Any, step: int) -> float:
        value = float(_single(reward, "reward", self._where(step)))
        if not np.isfinite(value):
            raise SurefootError(
                f"{self._where(step)}: the reward is {value}; an environment must return finite numbers."
            )
        return value

    def _cost(self, raw: Any, action: Any, after: Any, info: dict, six: Any, step: int) -> np.ndarray:
        found = _find_cost(self.cost, raw, action, after, info, six)
        names = self.task.constraints
        if not names and (self.chosen or found is None or _count(found) == 0):
            return np.zeros(0, np.float32)
        if found is None:
            raise SurefootError(
                f"{self._where(step)}: no cost was reported, but {names} were promised; put it in "
                "info['cost'] at every step, or give cost=f(observation, action, next_observation, info)."
            )
        if not names:
            raise SurefootError(
                f"{self._where(step)}: a cost appeared that the first {PROBE_STEPS} steps did not show; name "
                "its constraints, such as constraints=('cost',), and report it at every step."
            )
        if isinstance(found, Mapping):
            missing = set(names) - set(found)
            if missing or (set(found) != set(names) and not self.chosen):
                raise SurefootError(
                    f"{self._where(step)}: the cost names {tuple(found)}, but the constraints are {names}; "
                    "report the same names at every step."
                )
            found = [found[name] for name in names]
        cost = _numbers(found, "cost", self._where(step)).reshape(-1)
        if cost.size != len(names):
            raise SurefootError(
                f"{self._where(step)}: the cost has {cost.size} entries, but the constraints are {names}."
            )
        if not np.isfinite(cost).all():
            raise SurefootError(f"{self._where(step)}: the cost is {cost}; costs must be finite numbers.")
        return cost

    def _success(self, raw: Any, action: Any, after: Any, info: dict) -> bool:
        if callable(self.success):
            found = self.success(raw, action, after, info)
            return bool(_single(found, "success", f"'{self.task.name}'"))
        if isinstance(self.success, str):
            return bool(info.get(self.success, False))
        return any(bool(info.get(name, False)) for name in SUCCESS_KEYS)

    def _where(self, step: int) -> str:
        return f"'{self.task.name}' at {'its reset' if step == 0 else f'step {step} of an episode'}"


def _numbers(value: Any, what: str, where: str) -> np.ndarray:
    """``value`` as float32; raises :class:`SurefootError` if it is not made of numbers."""
    try:
        if value is None:  # which NumPy takes for NaN
            raise TypeError
        return np.asarray(value, np.float32)
    except (TypeError, ValueError):
        shown = f"{value!r}" if len(repr(value)) < 60 else f"a {type(value).__name__}"
        raise SurefootError(f"{where}: the {what} is {shown}, where numbers are due.") from None


def _single(value: Any, what: str, where: str) -> np.ndarray:
    """The one number that ``value`` holds."""
    found = _numbers(value, what, where)
    if found.size != 1:
        raise SurefootError(f"{where}: the {what} has {found.size} numbers, where one is due.")
    return found.reshape(())


def adapt(
    factory: Callable[[], gymnasium.Env],
    name: str,
    *,
    cost: CostFunction | None = None,
    constraints: tuple[str, ...] | None = None,
    limits: tuple[float, ...] | None = None,
    success: CostFunction | str | None = None,
    horizon: int | None = None,
) -> tuple[Adapter, gymnasium.Env]:
    """An adapter, and the one environment that was made to find out what it must know.

    The environment is reset and plays up to eight random steps to see which costs it reports.
    The arguments are those of :meth:`GymWorld.create`.
    """
    env = factory()
    if not isinstance(env, gymnasium.Env):
        raise SurefootError(f"'{name}' made a {type(env).__name__}, which is not a gymnasium.Env.")
    observation = _observation_box(env.observation_space, name)
    action = _action_space(env.action_space, name)
    if horizon is None:
        horizon = _horizon(env)
    elif isinstance(horizon, bool) or horizon != int(horizon):
        raise SurefootError(f"horizon = {horizon}: give a whole number of steps.")
    else:
        check_range("horizon", horizon, low=1)
    found, success_seen = _probe(env, name, cost)
    names = _constraint_names(found, constraints, name)
    task = Task(
        name=name,
        observation=observation,
        action=action,
        constraints=names,
        limits=tuple(limits) if limits is not None else (0.0,) * len(names),
        horizon=horizon,
        reports_success=success is not None or success_seen,
        options=_options(env),
    )
    chosen = constraints is not None
    return Adapter(factory, task, env.observation_space, env.action_space, cost, success, chosen), env


def _observation_box(space: gymnasium.Space, name: str) -> Box:
    if isinstance(space, gymnasium.spaces.Discrete):
        n = int(space.n)
        return Box((n,), (0.0,) * n, (1.0,) * n)
    if isinstance(space, gymnasium.spaces.Box):
        low = tuple(float(v) for v in space.low.reshape(-1))
        high = tuple(float(v) for v in space.high.reshape(-1))
        return Box((len(low),), low, high)
    raise SurefootError(
        f"'{name}' has observations in {type(space).__name__}, but only Box and Discrete are read; "
        "wrap it in gymnasium.wrappers.FlattenObservation."
    )


def _action_space(space: gymnasium.Space, name: str) -> Box | Discrete:
    if isinstance(space, gymnasium.spaces.Discrete):
        return Discrete(int(space.n), int(space.start))
    if isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        low = tuple(float(v) for v in space.low.reshape(-1))
        high = tuple(float(v) for v in space.high.reshape(-1))
        return Box((len(low),), low, high)
    raise SurefootError(
        f"'{name}' has actions in {space}, but only Discrete and Box of real numbers can be played; "
        "wrap it in gymnasium.wrappers.TransformAction, for instance over a count of the combinations."
    )


def _horizon(env: gymnasium.Env) -> int | None:
    steps = env.spec.max_episode_steps if env.spec is not None else None
    return steps or getattr(env.unwrapped, "max_episode_steps", None)


def _options(env: gymnasium.Env) -> tuple[str, ...]:
    """Names of the options that it was made with by Gymnasium, and that are not its class's defaults."""
    given = {} if env.spec is None else env.spec.kwargs
    try:
        usual = inspect.signature(type(env.unwrapped)).parameters
    except (TypeError, ValueError):  # a class that does not say what it takes
        usual = {}
    return tuple(
        name
        for name, value in given.items()
        if name not in usual or _text(value) != _text(usual[name].default)
    )


def _text(value: Any) -> str:
    """The same for a tuple and the list that it was read as, whatever else is in them."""
    return json.dumps(value, default=repr)


def _raw_step(env: gymnasium.Env, action: Any, name: str) -> tuple[Any, Any, Any, Any, Any, dict]:
    """observation, reward, cost (``None`` unless six values came), terminated, truncated, info."""
    answer: Any = env.step(action)
    if isinstance(answer, tuple) and len(answer) == 6:  # the safety convention puts the cost third
        observation, reward, cost, terminated, truncated, info = answer
        return observation, reward, cost, terminated, truncated, _checked(info, name)
    if not (isinstance(answer, tuple) and len(answer) == 5):
        size = f"{len(answer)} values" if isinstance(answer, tuple) else f"a {type(answer).__name__}"
        raise SurefootError(
            f"step() of '{name}' returned {size}; it must return (observation, reward, terminated, "
            "truncated, info), or six values with the cost third."
        )
    observation, reward, terminated, truncated, info = answer
    return observation, reward, None, terminated, truncated, _checked(info, name)


def _checked(info: Any, name: str) -> dict:
    if not isinstance(info, dict):
        raise SurefootError(f"step() of '{name}' returned {info!r} as its info; it must be a dictionary.")
    return info


def _find_cost(
    function: CostFunction | None, raw: Any, action: Any, after: Any, info: dict[str, Any], six: Any
) -> Any:
    """The cost as the user's function or the environment gives it, ``None`` if neither does.

    A vector becomes a dictionary where ``info["constraints"]`` holds a name for each entry.
    """
    if function is not None:
        return function(raw, action, after, info)
    cost = six if six is not None else info.get("cost")
    names = info.get("constraints")
    if cost is None or isinstance(cost, Mapping) or names is None or len(names) != np.size(cost):
        return cost
    return dict(zip(names, np.reshape(cost, -1), strict=True))


def _count(found: Any) -> int:
    return len(found) if isinstance(found, Mapping) else int(np.size(found))


def _probe(env: gymnasium.Env, name: str, function: CostFunction | None) -> tuple[Any, bool]:
    """The first cost that is reported, and whether success is."""
    try:
        answer = env.reset(seed=0)
    except TypeError as error:
        if "argument 'seed'" not in str(error):
            raise
        raise SurefootError(
            f"reset() of '{name}' takes no seed; give it the form of Gymnasium, reset(*, seed=None, "
            "options=None), and let it return (observation, info)."
        ) from error
    raw = answer[0] if isinstance(answer, tuple) else answer
    env.action_space.seed(0)
    found, success_seen = None, False
    for _ in range(PROBE_STEPS):
        action = env.action_space.sample()
        if function is not None:
            raw = deepcopy(raw)
        after, _, six, terminated, truncated, info = _raw_step(env, action, name)
        cost = _find_cost(function, raw, action, after, info, six)
        if function is not None and cost is None:
            raise SurefootError(f"The cost function of '{name}' returned None; it must return a number.")
        for each in cost.values() if isinstance(cost, Mapping) else (() if cost is None else (cost,)):
            _numbers(each, "cost", f"'{name}' at its first steps")
        found = cost if found is None else found
        success_seen = success_seen or any(key in info for key in SUCCESS_KEYS)
        raw = after
        if terminated or truncated:
            break
    return found, success_seen


def _constraint_names(found: Any, given: tuple[str, ...] | None, name: str) -> tuple[str, ...]:
    """The user's names, else those of the cost that was seen; checks that they fit each other."""
    if given is not None and len(set(given)) != len(given):
        raise SurefootError(f"constraints = {tuple(given)} names one constraint twice.")
    for each in given or (found if isinstance(found, Mapping) else ()):
        if not str(each) or set(str(each)) & set(',"\r\n'):
            raise SurefootError(f"A constraint cannot be named '{each}': no commas, quotes or line breaks.")
    if isinstance(found, Mapping):
        seen = tuple(str(key) for key in found)
        for wanted in given or ():
            if wanted not in seen:
                raise unknown("constraint", wanted, seen, f"'{name}' names them itself.")
        return seen if given is None else tuple(given)
    if given is None:
        size = 0 if found is None else _count(found)
        return ("cost",) if size == 1 else tuple(f"cost_{index}" for index in range(size))
    if given and found is not None and len(given) != _count(found):
        raise SurefootError(
            f"'{name}' reports {_count(found)} costs, but constraints names {len(given)}: {tuple(given)}."
        )
    return tuple(given)
