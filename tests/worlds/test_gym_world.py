"""Worlds of Gymnasium environments, on small environments whose every number is known."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from jaxtyping import Array

from surefoot import worlds
from surefoot.data.trajectories import Trajectories
from surefoot.errors import SurefootError
from surefoot.task import Box, Discrete
from surefoot.worlds.gym_world import GymWorld
from surefoot.worlds.world import Episodes, Steps

KEY = jax.random.key(0)


class Chain(gymnasium.Env):
    """Counts up from a random first number below 100; each action 0 or 1 is added to a second one.

    Terminates after ``length`` steps, or is truncated there; ``report`` says how the cost is given.
    """

    def __init__(
        self,
        length: int = 5,
        *,
        truncate: bool = False,
        report: str = "info",
        broken: str = "",
        start: int = 0,
    ) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2, 1), np.float32)
        self.action_space = spaces.Discrete(2, start=start)
        self.length, self.truncate, self.report, self.broken = length, truncate, report, broken
        self.closed = False
        self.given: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        self.first, self.sum, self.time = int(self.np_random.integers(100)), 0, 0
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self.given.append(action)
        self.time += 1
        self.sum += int(action) - int(self.action_space.start)
        ends = self.time >= self.length
        info: dict[str, Any] = {"success": ends and self.sum > 2}
        odd, late = float(self.sum % 2), float(self.time > 3)
        if self.report == "info":
            info["cost"] = odd
        elif self.report == "vector":
            info["cost"] = np.array([odd, late])
        elif self.report == "named vector":
            info["cost"], info["constraints"] = np.array([odd, late]), ("odd", "late")
        elif self.report == "dict":
            info["cost"] = {"odd": odd, "late": late}
        elif self.report == "sometimes" and self.time > 2:
            info["cost"] = odd
        reward = float("nan") if self.broken == "reward" and self.time == 3 else float(self.time)
        observation = self._observe()
        if self.broken == "observation" and self.time == 3:
            observation = observation * np.nan
        if self.broken == "size" and self.time == 3:
            observation = np.zeros((3, 1), np.float32)
        if self.broken == "cost" and self.time == 3:
            info["cost"] = float("inf")
        done = (ends and not self.truncate, ends and self.truncate)
        if self.report == "six":
            return observation, reward, odd, *done, info
        if self.broken == "four":
            return observation, reward, any(done), info
        return observation, reward, *done, info

    def close(self) -> None:
        self.closed = True

    def _observe(self) -> np.ndarray:
        return np.array([[self.first + self.time], [self.sum]], np.float32)


class Always(eqx.Module):
    """One action, whatever is seen."""

    action: Array

    def act(self, observation: Array, key: Array) -> Array:
        return self.action


class Coin(eqx.Module):
    """0 or 1 at random."""

    def act(self, observation: Array, key: Array) -> Array:
        return jax.random.bernoulli(key).astype(jnp.int32)


def chain(**options: Any) -> Callable[[], Chain]:
    return lambda: Chain(**options)


def world_of(factory: Callable[[], gymnasium.Env], envs: int = 3, **options: Any) -> GymWorld:
    return GymWorld.create(factory, envs, KEY, **options)


def same(one: Trajectories, other: Trajectories) -> bool:
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), one, other)))


ONE = Always(jnp.asarray(1, jnp.int32))


def test_steps_by_hand() -> None:
    world = world_of(chain(length=3), envs=2)
    world, batch = world.collect(ONE, Steps(10), KEY)
    assert batch.reward.shape == (5, 2)
    np.testing.assert_array_equal(batch.reward[:, 0], [1, 2, 3, 1, 2])
    np.testing.assert_array_equal(batch.terminated[:, 1], [0, 0, 1, 0, 0])
    assert not batch.truncated.any()
    np.testing.assert_array_equal(batch.success[:, 0], [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(batch.cost[:, 0, 0], [1, 0, 1, 1, 0])  # the sum is odd
    np.testing.assert_array_equal(batch.observation[:, 0, 1], [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(batch.next_observation[:, 0, 1], [1, 2, 3, 1, 2])  # the true successor
    np.testing.assert_array_equal(batch.totals.reward[:, 0], [1, 3, 6, 1, 3])
    np.testing.assert_array_equal(batch.totals.length[:, 0], [1, 2, 3, 1, 2])
    np.testing.assert_array_equal(batch.totals.cost[:, 0, 0], [1, 1, 2, 1, 1])
    np.testing.assert_array_equal(batch.totals.violating_steps[:, 0, 0], [1, 1, 2, 1, 1])
    np.testing.assert_array_equal(batch.totals.any_violating_steps[:, 0], [1, 1, 2, 1, 1])
    assert batch.valid.all()
    _, more = world.collect(ONE, Steps(4), jax.random.key(1))  # goes on where it stood
    np.testing.assert_array_equal(more.totals.reward[:, 0], [6, 1])
    np.testing.assert_array_equal(more.observation[0], batch.next_observation[-1])


def test_truncated_and_terminated_stay_apart() -> None:
    _, batch = world_of(chain(length=2, truncate=True)).collect(ONE, Steps(12), KEY)
    np.testing.assert_array_equal(batch.truncated[:, 0], [0, 1, 0, 1])
    assert not batch.terminated.any()
    np.testing.assert_array_equal(batch.done[:, 0], [0, 1, 0, 1])


def test_the_time_limit_of_gymnasium_truncates() -> None:
    world = worlds.make("gymnasium:CartPole-v1", envs=2, max_episode_steps=4, cost=lambda o, a, n, i: 0.0)
    assert world.task.horizon == 4
    alternating = jnp.asarray(0, jnp.int32)
    _, batch = world.collect(Always(alternating), Steps(8), KEY)
    np.testing.assert_array_equal(batch.truncated[:, 0], [0, 0, 0, 1])
    assert not batch.terminated.any()


def test_a_given_horizon_truncates() -> None:
    world = world_of(chain(length=100), horizon=3)
    _, batch = world.collect(ONE, Steps(18), KEY)
    np.testing.assert_array_equal(batch.truncated[:, 0], [0, 0, 1, 0, 0, 1])
    assert world.task.horizon == 3


def test_termination_at_the_horizon_is_not_a_truncation() -> None:
    _, batch = world_of(chain(length=3), horizon=3).collect(ONE, Episodes(2), KEY)
    assert batch.terminated[2].all()
    assert not batch.truncated.any()


@pytest.mark.parametrize(
    ("report", "options", "names", "costs"),
    [
        ("info", {}, ("cost",), [[1], [0], [1], [0]]),
        ("info", {"constraints": ("odd",)}, ("odd",), [[1], [0], [1], [0]]),
        ("six", {}, ("cost",), [[1], [0], [1], [0]]),
        ("vector", {}, ("cost_0", "cost_1"), [[1, 0], [0, 0], [1, 0], [0, 1]]),
        ("vector", {"constraints": ("a", "b")}, ("a", "b"), [[1, 0], [0, 0], [1, 0], [0, 1]]),
        ("named vector", {}, ("odd", "late"), [[1, 0], [0, 0], [1, 0], [0, 1]]),
        ("named vector", {"constraints": ("late", "odd")}, ("late", "odd"), [[0, 1], [0, 0], [0, 1], [1, 0]]),
        ("dict", {}, ("odd", "late"), [[1, 0], [0, 0], [1, 0], [0, 1]]),
        ("dict", {"constraints": ("late",)}, ("late",), [[0], [0], [0], [1]]),
        ("none", {}, (), [[], [], [], []]),
        ("dict", {"constraints": ()}, (), [[], [], [], []]),
        ("none", {"cost": lambda o, a, n, i: o[1, 0]}, ("cost",), [[0], [1], [2], [3]]),
        ("info", {"cost": lambda o, a, n, i: {"sum": n[1, 0], "act": a}}, ("sum", "act"), None),
    ],
)
def test_forms_of_cost(report: str, options: dict, names: tuple[str, ...], costs: list | None) -> None:
    world = world_of(chain(length=9, report=report), envs=1, **options)
    assert world.task.constraints == names
    assert world.measures_cost == bool(names)
    _, batch = world.collect(ONE, Steps(4), KEY)
    expected = [[1, 1], [2, 1], [3, 1], [4, 1]] if costs is None else costs
    np.testing.assert_array_equal(batch.cost[:, 0], np.array(expected, np.float32).reshape(4, len(names)))


def test_limits_are_zero_unless_given() -> None:
    assert world_of(chain(report="dict")).task.limits == (0.0, 0.0)
    assert world_of(chain(report="dict"), limits=(1.0, 25.0)).task.limits == (1.0, 25.0)
    with pytest.raises(SurefootError, match="limits"):
        world_of(chain(report="dict"), limits=(1.0,))


@pytest.mark.parametrize(
    ("report", "options", "message"),
    [
        ("sometimes", {"constraints": ("cost",)}, "step 1 .*no cost was reported"),
        ("dict", {"constraints": ("od",)}, "Did you mean 'odd'"),
        ("vector", {"constraints": ("a",)}, "reports 2 costs"),
        ("info", {"constraints": ("a", "a")}, "twice"),
        ("info", {"cost": lambda o, a, n, i: None}, "returned None"),
        ("info", {"cost": lambda o, a, n, i: float("nan")}, "step 1 .*costs must be finite"),
        ("info", {"horizon": 0}, "horizon = 0"),
    ],
)
def test_costs_that_do_not_fit_are_refused(report: str, options: dict, message: str) -> None:
    with pytest.raises(SurefootError, match=message):
        world_of(chain(report=report), **options).collect(ONE, Steps(9), KEY)


def test_a_cost_that_appears_later_is_not_swallowed() -> None:
    class Late(Chain):
        def step(self, action: Any) -> Any:
            *answer, info = super().step(action)
            if self.time > 10:
                info["cost"] = 1.0
            return *answer, info

    world = world_of(lambda: Late(length=50, report="none"))
    assert not world.measures_cost
    with pytest.raises(SurefootError, match=r"step 11 .*a cost appeared"):
        world.collect(ONE, Steps(36), KEY)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("observation", "'Lame' at step 3 .*observation 0 is nan"),
        ("reward", "'Lame' at step 3 .*reward is nan"),
        ("cost", "'Lame' at step 3 .*cost is"),
        ("size", "'Lame' at step 3 .*3 numbers, its space 2"),
    ],
)
def test_numbers_that_cannot_be_used_are_named(broken: str, message: str) -> None:
    world = world_of(chain(length=9, broken=broken), name="Lame", horizon=9, cost=None, constraints=("cost",))
    with pytest.raises(SurefootError, match=message):
        world.collect(ONE, Steps(30), KEY)


class Wrong(Chain):
    """Returns something else than numbers at its third step (0: at once), where ``what`` says."""

    def __init__(self, what: str, value: Any, at: int = 3) -> None:
        super().__init__(length=50)
        self.what, self.value, self.at = what, value, at

    def step(self, action: Any) -> Any:
        observation, reward, ended, cut, info = super().step(action)
        if self.time < self.at:
            return observation, reward, ended, cut, info
        wrong = {"observation": observation, "reward": reward, "info": info, self.what: self.value}
        if self.what == "cost":
            wrong["info"] = {"cost": self.value}
        return wrong["observation"], wrong["reward"], ended, cut, wrong["info"]


@pytest.mark.parametrize("at", [1, 12])
@pytest.mark.parametrize(
    ("what", "value", "message"),
    [
        ("observation", {"x": 1.0}, "the observation is {'x': 1.0}, where numbers are due"),
        ("reward", None, "the reward is None, where numbers are due"),
        ("reward", [1.0, 2.0], "the reward has 2 numbers, where one is due"),
        ("cost", "high", "the cost is 'high', where numbers are due"),
        ("cost", [[1.0], [1.0, 2.0]], "where numbers are due"),
        ("info", None, "returned None as its info; it must be a dictionary"),
    ],
)
def test_what_is_no_number_is_named(what: str, value: Any, message: str, at: int) -> None:
    with pytest.raises(SurefootError) as caught:
        world_of(lambda: Wrong(what, value, at), horizon=50).collect(ONE, Steps(60), KEY)
    assert message in str(caught.value)


def test_a_success_function_says_one_thing() -> None:
    world = world_of(chain(length=9), success=lambda *_: np.array([True, False]), horizon=9)
    with pytest.raises(SurefootError, match="the success has 2 numbers"):
        world.collect(ONE, Steps(30), KEY)


def test_an_environment_may_write_observations_into_one_array() -> None:
    class Same(gymnasium.Env):
        observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        action_space = spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
            self.state = np.zeros(1, np.float32)
            return self.state, {}

        def step(self, action: Any) -> Any:
            self.state += 1
            return self.state, 0.0, False, False, {}

    def moved(before: Any, action: Any, after: Any, info: dict) -> float:
        return float(after[0] - before[0])

    world = world_of(Same, cost=moved, success=lambda *step: moved(*step) == 1, horizon=4)
    _, batch = world.collect(ONE, Steps(12), KEY)
    np.testing.assert_array_equal(batch.cost, 1)
    assert batch.success.all()


@pytest.mark.parametrize("name", ["a,b", "", 'c"d'])
def test_constraints_have_names_that_a_table_can_hold(name: str) -> None:
    with pytest.raises(SurefootError, match="A constraint cannot be named"):
        world_of(chain(), constraints=(name,))


def test_an_old_step_form_is_refused() -> None:
    with pytest.raises(SurefootError, match="returned 4 values"):
        world_of(chain(broken="four"))


def test_a_reset_without_a_seed_is_refused() -> None:
    class Old(Chain):
        def reset(self) -> Any:  # type: ignore[override]
            return super().reset(seed=0)

    with pytest.raises(SurefootError, match=r"reset\(\) of .* takes no seed; give it the form of Gymnasium"):
        world_of(Old)


def test_success_by_key_or_function() -> None:
    _, batch = world_of(chain(length=4), success="solved").collect(ONE, Steps(12), KEY)
    assert not batch.success.any()
    _, batch = world_of(chain(length=4), success=lambda o, a, n, i: n[1, 0] == 2).collect(ONE, Steps(12), KEY)
    np.testing.assert_array_equal(batch.success[:, 0], [0, 1, 0, 0])
    assert world_of(chain()).task.reports_success


def test_discrete_spaces_with_an_offset() -> None:
    class Ring(gymnasium.Env):
        observation_space = spaces.Discrete(4, start=10)
        action_space = spaces.Discrete(3, start=-1)

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
            super().reset(seed=seed)
            self.place = 10
            return self.place, {}

        def step(self, action: Any) -> Any:
            assert self.action_space.contains(action)
            self.place = 10 + (self.place - 10 + action) % 4
            return self.place, 0.0, False, False, {}

    world = world_of(Ring, envs=1)
    assert world.task.action == Discrete(3, start=-1)
    assert world.task.observation == Box((4,), (0.0,) * 4, (1.0,) * 4)
    _, batch = world.collect(Always(jnp.asarray(2, jnp.int32)), Steps(5), KEY)
    np.testing.assert_array_equal(batch.observation[:, 0], np.eye(4)[[0, 1, 2, 3, 0]])
    np.testing.assert_array_equal(batch.action[:, 0], [2] * 5)


def test_real_actions_are_clipped_for_the_environment_only() -> None:
    env = Chain(length=9)

    class Real(Chain):
        def __init__(self) -> None:
            super().__init__(length=9)
            self.action_space = spaces.Box(
                np.array([[-1.0, -2.0]]), np.array([[1.0, np.inf]]), dtype=np.float64
            )

        def step(self, action: Any) -> Any:
            assert action.shape == (1, 2)
            assert action.dtype == np.float64
            _, _, *rest = env.step(1)
            return action.T.astype(np.float32), 0.0, *rest

    env.reset(seed=0)
    world = world_of(Real, envs=1)
    assert world.task.action == Box((2,), (-1.0, -2.0), (1.0, np.inf))
    _, batch = world.collect(Always(jnp.array([3.0, 7.0])), Steps(1), KEY)
    np.testing.assert_array_equal(batch.action[0, 0], [3.0, 7.0])
    np.testing.assert_array_equal(batch.next_observation[0, 0], [1.0, 7.0])
    with pytest.raises(SurefootError, match="not finite"):
        world_of(Real, envs=1).collect(Always(jnp.array([jnp.nan, 0.0])), Steps(1), KEY)


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (spaces.Dict({"a": spaces.Discrete(2)}), spaces.Discrete(2), "FlattenObservation"),
        (spaces.Discrete(2), spaces.MultiDiscrete([2, 2]), "actions in MultiDiscrete"),
        (spaces.Discrete(2), spaces.Box(0, 3, (1,), np.int64), "real numbers"),
    ],
)
def test_other_spaces_are_refused(observation: spaces.Space, action: spaces.Space, message: str) -> None:
    def make() -> Chain:
        env = Chain()
        env.observation_space, env.action_space = observation, action
        return env

    with pytest.raises(SurefootError, match=message):
        world_of(make)


def test_episodes_are_padded_to_the_horizon() -> None:
    world = world_of(chain(length=3), horizon=6)
    after, batch = world.collect(ONE, Episodes(5), KEY)
    assert after is world
    assert batch.reward.shape == (6, 5)
    np.testing.assert_array_equal(batch.valid, np.arange(6)[:, None] < np.full(5, 3))
    np.testing.assert_array_equal(batch.done.sum(axis=0), 1)
    np.testing.assert_array_equal(batch.reward[3:], 0)
    np.testing.assert_array_equal(batch.totals.reward[-1], 6)
    np.testing.assert_array_equal(batch.observation[4], batch.next_observation[2])


def test_episodes_without_a_horizon_are_padded_to_a_power_of_two() -> None:
    _, batch = world_of(chain(length=5)).collect(ONE, Episodes(4), KEY)
    assert batch.reward.shape == (8, 4)
    _, batch = world_of(chain(length=200)).collect(ONE, Episodes(2), KEY)  # more than the first guess
    assert batch.reward.shape == (256, 2)
    assert batch.terminated[199].all()
    np.testing.assert_array_equal(batch.totals.reward[-1], 200 * 201 / 2)


def test_episodes_leave_the_steps_where_they_are() -> None:
    quiet = world_of(chain(length=7))
    quiet, first = quiet.collect(Coin(), Steps(12), KEY)
    _, expected = quiet.collect(Coin(), Steps(12), jax.random.key(2))
    world = world_of(chain(length=7))
    world, again = world.collect(Coin(), Steps(12), KEY)
    world.collect(Coin(), Episodes(5), jax.random.key(9))
    _, got = world.collect(Coin(), Steps(12), jax.random.key(2))
    assert same(first, again)
    assert same(expected, got)


def test_episodes_do_not_depend_on_the_number_of_simulators() -> None:
    batches = [
        world_of(chain(length=4), envs=envs).collect(Coin(), Episodes(6), KEY)[1] for envs in (1, 4, 9)
    ]
    assert same(batches[0], batches[1])
    assert same(batches[0], batches[2])
    assert len(np.unique(batches[0].observation[0, :, 0])) > 3  # different episodes
    assert len(np.unique(batches[0].action, axis=1).T) > 2  # and different actions


def test_one_key_one_experience() -> None:
    one, other, different = (world_of(chain()).fresh(jax.random.key(s)) for s in (1, 1, 2))
    batches = [world.collect(Coin(), Steps(30), KEY)[1] for world in (one, other, different)]
    assert same(batches[0], batches[1])
    assert not same(batches[0], batches[2])
    _, elsewhere = one.fresh(jax.random.key(1)).collect(Coin(), Steps(30), jax.random.key(5))
    assert not same(batches[0], elsewhere)


def test_old_style_keys_work() -> None:
    _, batch = world_of(chain()).collect(Coin(), Steps(6), jax.random.PRNGKey(0))
    assert batch.reward.shape == (2, 3)


def test_a_world_can_be_continued_once() -> None:
    world = world_of(chain())
    after, _ = world.collect(ONE, Steps(3), KEY)
    with pytest.raises(SurefootError, match="continued before"):
        world.collect(ONE, Steps(3), KEY)
    after.collect(ONE, Steps(3), KEY)
    world.fresh(KEY).collect(ONE, Steps(3), KEY)


def test_not_inside_a_compiled_function() -> None:
    world = world_of(chain())
    assert not world.compiled

    @jax.jit
    def compiled(key: Array) -> Array:
        return world.collect(ONE, Steps(3), key)[1].reward

    with pytest.raises(SurefootError, match="cannot run inside"):
        compiled(KEY)


def test_a_policy_compiles_once() -> None:
    class Table(eqx.Module):
        """A policy of its own, so that no other test has compiled it."""

        shift: Array

        def act(self, observation: Array, key: Array) -> Array:
            nonlocal traced
            traced += 1
            return (self.shift > 0.5).astype(jnp.int32)

    traced, world = 0, world_of(chain())
    for number in range(4):
        policy = Table(jnp.asarray(float(number)))
        world, _ = world.collect(policy, Steps(9), jax.random.key(number))
    assert traced == 1


def test_uneven_amounts_are_refused() -> None:
    with pytest.raises(SurefootError, match="divide evenly"):
        world_of(chain()).collect(ONE, Steps(10), KEY)
    with pytest.raises(SurefootError, match="at least one"):
        world_of(chain()).collect(ONE, Episodes(0), KEY)
    with pytest.raises(SurefootError, match="at least one environment"):
        world_of(chain(), envs=0)


def test_the_factory_must_make_new_environments() -> None:
    env = Chain()
    with pytest.raises(SurefootError, match="same environment twice"):
        world_of(lambda: env).collect(ONE, Steps(3), KEY)
    with pytest.raises(SurefootError, match=r"not a gymnasium\.Env"):
        world_of(dict)  # type: ignore[arg-type]


def test_closing() -> None:
    made: list[Chain] = []

    def make() -> Chain:
        made.append(Chain())
        return made[-1]

    world = world_of(make)
    world, _ = world.collect(ONE, Steps(3), KEY)
    world.collect(ONE, Episodes(2), KEY)
    world.close()
    assert len(made) == 5
    assert all(env.closed for env in made)
    with pytest.raises(SurefootError, match="closed"):
        world.collect(ONE, Steps(3), KEY)


def test_the_maze_is_the_same_in_both_worlds() -> None:
    """Our own maze through Gymnasium gives what the compiled world gives, if chance plays no part."""

    class Steer(eqx.Module):
        def act(self, observation: Array, key: Array) -> Array:
            x, y, vx, vy, tilt_x, tilt_y = observation[:6]
            pull_x, pull_y = -0.3 - 0.5 * x - 3 * vx, -0.3 - 0.5 * y - 3 * vy
            rate_x = jnp.sign(pull_y - 2 * tilt_x)
            rate_y = jnp.sign(-pull_x - 2 * tilt_y)
            return (3 * (rate_x + 1) + rate_y + 1).astype(jnp.int32)

    options = {"constraints": ("zone", "speed", "contact"), "starts": "corners/right", "speed_limit": 0.5}
    one = worlds.make("MarbleMaze-v0", envs=2, **options)
    other = worlds.make("gymnasium:surefoot/MarbleMaze-v0", envs=2, env_options=options)
    assert other.task.constraints == one.task.constraints
    assert other.task.horizon == one.task.horizon == 200
    assert other.task.reports_success
    _, first = one.collect(Steer(), Episodes(2), KEY)
    _, second = other.collect(Steer(), Episodes(2), KEY)
    valid = np.asarray(second.valid)
    np.testing.assert_array_equal(first.valid, valid)
    for name in ("observation", "action", "reward", "cost", "next_observation", "terminated", "success"):
        np.testing.assert_allclose(getattr(first, name)[valid], getattr(second, name)[valid], atol=1e-5)
    assert second.cost.sum() > 0
    np.testing.assert_allclose(first.totals.reward[-1], second.totals.reward[-1], atol=1e-4)


def test_real_environments_of_gymnasium() -> None:
    for name in ("CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "Acrobot-v1"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            world = worlds.make(f"gymnasium:{name}", envs=2)
        action = world.task.action
        policy = Coin() if isinstance(action, Discrete) else Always(jnp.zeros(action.size))
        _, batch = world.collect(policy, Steps(20), KEY)
        assert batch.observation.shape == (10, 2, world.task.observation.size)
        assert batch.cost.shape == (10, 2, 0)
        assert not world.measures_cost
