"""Steps, rewards, costs and resets against the plainest way to write them, and what can go wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surefoot.envs.safety.model import SUBSTEPS, build
from surefoot.envs.safety.robots import DOGGO_JOINTS
from surefoot.envs.safety.simulation import Simulation
from surefoot.envs.safety.task import TASKS, Task, known_task
from surefoot.errors import SurefootError

mujoco: Any = pytest.importorskip("mujoco")

BUSY = Task(
    robot="point",
    extent=0.9,
    hazards=2,
    vases=3,
    pillars=1,
    robot_keepout=0.25,
    costs=("hazards", "vases_contact", "vases_velocity", "pillars"),
)
"""Crowded enough that a robot at random meets everything."""


def _started(task: Task, worlds: int = 4, seed: int = 0, **options: Any) -> Simulation:
    simulation = Simulation(task, worlds, threads=1, **options)
    simulation.reset(np.arange(worlds), list(range(seed, seed + worlds)))
    return simulation


def _actions(simulation: Simulation, steps: int, seed: int = 0) -> np.ndarray:
    """Held for some steps each, so that robots get somewhere."""
    size = (steps // 8 + 1, simulation.worlds, simulation.model.compiled.nu)
    return np.repeat(np.random.default_rng(seed).uniform(-1, 1, size), 8, axis=0)[:steps]


@pytest.mark.parametrize(
    "robot, sizes, mass, step",
    [
        ("point", (3, 3, 2), 0.005189, 0.002),
        ("car", (13, 11, 2), 0.030445, 0.004),
        ("doggo", (20, 19, 12), 0.019838, 0.01),
    ],
)
def test_robots(robot: str, sizes: tuple[int, ...], mass: float, step: float) -> None:
    model = build(Task(robot=robot, hazards=1, vases=0), fast=False).compiled
    assert (model.nq, model.nv, model.nu) == sizes
    assert model.body_mass.sum() == pytest.approx(mass, abs=1e-6)
    assert model.opt.timestep == step
    assert (model.geom_condim == 6).all()
    if robot == "doggo":
        names = [model.joint(model.actuator_trnid[i, 0]).name for i in range(12)]
        assert names == list(DOGGO_JOINTS)
        places = [model.joint(name).qposadr[0] for name in names]
        from surefoot.envs.safety.robots import DOGGO_PLACES

        assert places == (7 + DOGGO_PLACES).tolist()


@pytest.mark.parametrize("name", TASKS)
def test_sizes(name: str) -> None:
    robot = {"Point": (2, 60, 76), "Car": (2, 72, 88), "Doggo": (12, 104, 120)}
    actions, goal, push = robot[name[:-5]]
    simulation = Simulation(known_task(name), 1, threads=1)
    assert simulation.model.compiled.nu == actions
    assert simulation.reset(np.zeros(1, int), [0]).shape == (1, push if "Push" in name else goal)


def test_objects_weigh_what_they_should() -> None:
    model = build(known_task("PointGoal1"), fast=False).compiled
    assert model.body("vase_0").mass[0] == pytest.approx(8e-6)
    for robot, mass in (("Point", 1.28e-4), ("Car", 1.5625e-5), ("Doggo", 1.28e-4)):
        model = build(known_task(f"{robot}Push1"), fast=False).compiled
        assert model.body("box").mass[0] == pytest.approx(mass)


@pytest.mark.parametrize("robot", ["point", "car", "doggo"])
@pytest.mark.parametrize("kind", ["goal", "push"])
def test_a_step_written_out(robot: str, kind: str) -> None:
    """Physics by plain ``mj_step``, reward and costs by loops over contacts and things, world by world.

    The robots start a little inside a vase, a pillar and a hazard.
    """
    task = replace(BUSY, robot=robot, kind=kind, extent=1.1, vases=2, goal_keepout=0.2)
    simulation = _started(task, 3, physics="parity")
    model = simulation.model.compiled
    qpos, here = simulation.qpos.copy(), simulation.robot[:, :2].copy()
    hazards, pillars = simulation.hazards.copy(), simulation.pillars[:, :, :2].copy()
    vase = simulation.model.objects_qpos[0]
    qpos[0, vase : vase + 2] = here[0] + [0.15, 0.0]
    pillars[1, 0] = here[1] - [0.2, 0.0]
    hazards[2, 0] = here[2]
    goal, turned = simulation.goal.copy(), simulation.pillars_quat.copy()
    everywhere = np.arange(3)
    simulation.place(everywhere, qpos=qpos, goal=goal, hazards=hazards, pillars=pillars, pillars_quat=turned)
    datas = [mujoco.MjData(model) for _ in range(3)]
    for world, data in enumerate(datas):
        data.qpos[:] = simulation.qpos[world]
        data.mocap_pos[:], data.mocap_quat[:] = simulation.pillars[world], simulation.pillars_quat[world]
        mujoco.mj_forward(model, data)
    seen = np.zeros(len(task.costs))
    for action in _actions(simulation, 30):
        before = [_distance(task, data, goal[world]) for world, data in enumerate(datas)]
        outcome = simulation.step(action)
        for world, data in enumerate(datas):
            data.ctrl[:] = action[world].clip(-1, 1)
            for _ in range(SUBSTEPS):
                mujoco.mj_step(model, data)
            mujoco.mj_forward(model, data)
            np.testing.assert_array_equal(simulation.qpos[world], data.qpos)
            after = _distance(task, data, goal[world])
            reached = after[-1] <= task.goal_radius
            reward = sum(before[world]) - sum(after) + reached
            assert outcome.reward[world] == pytest.approx(reward, abs=1e-12)
            assert outcome.goal_met[world] == reached
            expected = _costs(task, model, data, simulation.hazards[world])
            np.testing.assert_allclose(outcome.raw_costs[world], expected, atol=1e-12)
            seen += expected
        goal = simulation.goal.copy()
    assert seen[0] > 0 and seen[2] > 0 and seen[1] + seen[3] > 0


def _distance(task: Task, data: Any, goal: np.ndarray) -> list[float]:
    robot = data.body("robot").xpos
    if not task.pushes:
        return [float(np.hypot(*(robot[:2] - goal)))]
    box = data.body("box").xpos
    return [float(np.linalg.norm(robot - box)), float(np.linalg.norm(box - [*goal, 0.16]))]


def _costs(task: Task, model: Any, data: Any, hazards: np.ndarray) -> list[float]:
    robot = data.body("robot").xpos
    depth = sum(max(0.0, task.hazard_radius - float(np.hypot(*(robot[:2] - place)))) for place in hazards)
    touched = {"vase": 0, "pillar": 0}
    for i in range(data.ncon):
        bodies = [model.geom_bodyid[geom] for geom in data.contact[i].geom]
        names = [model.body(model.body_rootid[body]).name for body in bodies]
        for kind in touched:
            touched[kind] += "robot" in names and any(name.startswith(kind) for name in names)
    speeds = []
    for index in range(task.vases):
        start = model.joint(f"vase_{index}").dofadr[0]
        speeds.append(float(np.linalg.norm(data.qvel[start : start + 3])))
    moving = sum(speed for speed in speeds if speed >= 1e-4)
    return [depth, float(touched["vase"]), moving, float(touched["pillar"])]


def test_nothing_moves_or_costs_while_at_rest() -> None:
    """Vases start where they come to rest, else each episode would start with costs."""
    for physics in ("parity", "fast"):
        simulation = _started(known_task("PointGoal2"), 4, physics=physics)
        start = simulation.objects
        for _ in range(20):
            outcome = simulation.step(np.zeros((4, 2)))
            assert (outcome.raw_costs[:, 1:] == 0).all()
            np.testing.assert_allclose(outcome.reward, 0, atol=1e-9)
        assert np.abs(simulation.objects - start).max() < 1e-4


def test_point_is_nearly_bang_bang() -> None:
    """An action of 0.05 is as strong as one of 1, and the top speed is 1.5 m/s."""
    task = Task(hazards=1, vases=0)
    weak, strong = _started(task, 1), _started(task, 1)
    for _ in range(40):
        weak.step(np.array([[0.05, 0.0]]))
        strong.step(np.array([[1.0, 0.0]]))
    np.testing.assert_array_equal(weak.qpos, strong.qpos)
    for _ in range(400):
        strong.step(np.array([[1.0, 0.0]]))
    assert np.linalg.norm(strong.qvel[0, :2]) == pytest.approx(1.5, rel=1e-3)


def test_car_drives_towards_minus_y() -> None:
    simulation = _started(Task(robot="car", hazards=1, vases=0), 1)
    start, yaw = simulation.robot[0].copy(), float(simulation.yaw[0])
    for _ in range(20):
        simulation.step(np.ones((1, 2)))
    way = simulation.robot[0, :2] - start[:2]
    ahead = np.array([np.sin(yaw), -np.cos(yaw)])
    assert way @ ahead > 0.3
    assert abs(way @ np.array([np.cos(yaw), np.sin(yaw)])) < 0.05


def test_a_reached_goal_is_drawn_again_and_the_episode_goes_on() -> None:
    simulation = _started(known_task("PointGoal1"), 2)
    old = simulation.goal.copy()
    simulation.goal[0] = simulation.robot[0, :2] + 0.1
    simulation.distances[0] = np.hypot(0.1, 0.1)
    outcome = simulation.step(np.zeros((2, 2)))
    assert outcome.goal_met.tolist() == [True, False]
    assert outcome.reward[0] == pytest.approx(1.0, abs=1e-3)
    assert not outcome.truncated.any()
    apart = np.linalg.norm(simulation.goal[0] - simulation.robot[0, :2])
    assert apart >= 0.705
    np.testing.assert_array_equal(simulation.goal[1], old[1])
    following = simulation.step(np.zeros((2, 2)))  # the change of goal itself is not rewarded
    assert abs(following.reward[0]) < 1e-3


def test_a_goal_without_a_place_truncates() -> None:
    """Not terminated, as in the original: the state is not final."""
    simulation = _started(known_task("PointGoal1"), 2)
    simulation.layouts.goals = lambda worlds, others: (
        np.zeros((len(worlds), 2)),
        np.zeros(len(worlds), bool),
    )
    simulation.goal[1] = simulation.robot[1, :2]
    outcome = simulation.step(np.zeros((2, 2)))
    assert outcome.goal_failed.tolist() == [False, True]
    assert outcome.truncated.tolist() == [False, True]
    assert not outcome.physics_failed.any()


@pytest.mark.parametrize("physics", ["fast", "parity"])
def test_a_physics_failure_truncates_and_costs_nothing_else(
    physics: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MuJoCo resets such a state by itself, so that nothing but a counter of warnings tells."""
    monkeypatch.chdir(tmp_path)
    simulation = Simulation(known_task("PointGoal2"), 3, threads=2, physics=physics)
    simulation.reset(np.arange(3), [0, 1, 2])
    for action in _actions(simulation, 5):
        last = simulation.step(action).observation
    simulation.qvel[1, 0] = 1e12
    outcome = simulation.step(np.ones((3, 2)))
    assert not list(tmp_path.iterdir())  # MuJoCo would write a log
    assert outcome.physics_failed.tolist() == [False, True, False]
    assert outcome.truncated.tolist() == [False, True, False]
    assert outcome.reward[1] == 0 and (outcome.raw_costs[1] == 0).all()
    np.testing.assert_array_equal(outcome.observation[1], last[1])
    assert simulation.failures == 1
    simulation.reset(np.array([1]))
    again = simulation.step(np.ones((3, 2)))
    assert not again.physics_failed.any()
    assert np.isfinite(again.observation).all()


def test_the_last_step() -> None:
    simulation = _started(replace(known_task("PointGoal1"), steps=3), 2)
    ends = [simulation.step(np.zeros((2, 2))).truncated.all() for _ in range(3)]
    assert ends == [False, False, True]


@pytest.mark.parametrize(
    "name, layouts", [("PointGoal2", "own"), ("CarPush2", "original"), ("DoggoGoal2", "own")]
)
@pytest.mark.parametrize("physics", ["fast", "parity"])
def test_save_and_restore_in_the_middle(name: str, layouts: str, physics: str) -> None:
    """To the bit, into the same simulation and into another one; worlds may be at different steps."""
    task = replace(known_task(name), extent=1.6, robot_keepout=0.25, goal_radius=0.6)
    simulation = _started(task, 3, physics=physics, layouts=layouts)
    actions = _actions(simulation, 40)
    for t in range(20):
        simulation.step(actions[t])
        if t == 12:
            simulation.reset(np.array([1]))
    saved = simulation.save()
    assert all(isinstance(value, np.ndarray) and value.dtype != object for value in saved.values())

    def ahead(one: Simulation) -> list[np.ndarray]:
        outcomes = [one.step(action) for action in actions[20:]]
        rest = [np.stack([getattr(o, n) for o in outcomes]) for n in ("observation", "reward", "raw_costs")]
        return [*rest, one.reset(np.arange(3)).copy()]

    first = ahead(simulation)
    simulation.restore(saved)
    other = _started(task, 3, seed=50, physics=physics, layouts=layouts)
    other.restore(saved)
    for again in (ahead(simulation), ahead(other)):
        for one, two in zip(first, again, strict=True):
            np.testing.assert_array_equal(one, two)


def test_what_was_saved_elsewhere_is_refused() -> None:
    saved = _started(known_task("PointGoal1"), 2).save()
    for other in (
        _started(known_task("PointGoal1"), 3),
        _started(known_task("PointGoal2"), 2),
        _started(known_task("PointGoal1"), 2, physics="parity"),
        _started(known_task("PointGoal1"), 2, layouts="original"),
    ):
        with pytest.raises(SurefootError, match="saved from another"):
            other.restore(saved)


def test_a_world_does_not_depend_on_its_neighbours_or_on_threads() -> None:
    task = known_task("CarGoal2")
    many = Simulation(task, 5, threads=2)
    many.reset(np.arange(5), [3, 4, 5, 6, 7])
    one = Simulation(task, 1, threads=1)
    one.reset(np.zeros(1, int), [5])
    for action in _actions(many, 50):
        all_of_them, alone = many.step(action), one.step(action[2:3])
        np.testing.assert_array_equal(all_of_them.observation[2], alone.observation[0])
        assert all_of_them.reward[2] == alone.reward[0]


@pytest.mark.parametrize("name", ["PointGoal2", "CarPush2", "DoggoGoal2"])
def test_fast_and_parity_agree_until_something_is_touched(name: str) -> None:
    """The robot is the same to a hair; costs and returns over many steps are, too."""
    fast, parity = (_started(known_task(name), 4, physics=physics) for physics in ("fast", "parity"))
    differ, returns = 0, np.zeros((2, 4))
    for action in _actions(fast, 50):
        one, two = fast.step(action), parity.step(action)
        differ += int(((one.raw_costs > 0).any(axis=1) != (two.raw_costs > 0).any(axis=1)).sum())
        returns += one.reward, two.reward
    assert differ <= 4  # of 200
    assert np.median(np.abs(fast.robot - parity.robot)) < 1e-6
    assert np.abs(np.diff(returns, axis=0)).max() < 0.02


def test_a_step_is_one_call_and_a_reset_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation, calls = _started(known_task("CarGoal2"), 2), []
    batch = simulation.batch

    class Counting:
        def __getattr__(self, name: str) -> Any:
            if name in ("step", "forward", "reset"):
                calls.append(name)
            return getattr(batch, name)

    def refuse(*words: Any, **options: Any) -> None:
        raise AssertionError("a model was made")

    monkeypatch.setattr(simulation, "batch", Counting())
    for name in ("build", "mujoco"):
        monkeypatch.setattr(f"surefoot.envs.safety.simulation.{name}", refuse)
    simulation.step(np.zeros((2, 2)))
    assert calls == ["step"]
    simulation.reset(np.arange(2))
    assert calls == ["step", "reset", "forward"]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"physics": "fst"}, "Did you mean 'fast'"),
        ({"layouts": "orig"}, "Unknown layouts"),
        ({"threads": 0}, "threads = 0"),
    ],
)
def test_options_that_do_not_exist(options: dict, words: str) -> None:
    with pytest.raises(SurefootError) as caught:
        Simulation(Task(), 1, **options)
    assert words in str(caught.value)
