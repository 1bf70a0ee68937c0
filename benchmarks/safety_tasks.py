"""Steps per second of the safety tasks, beside a plain implementation of the same tasks.

The plain one does what the package that defined these tasks does, as its measured profile shows: a world
per Python object, ten ``mj_step`` and three more forward passes, sensors by name one by one, lidars by loops
over things, costs by the names of touching geoms, a check of the whole observation, and a new model
at each reset. Both simulate the same models and must see the same numbers.

Given are steps by the wall, on all cores that are allowed, and by the processor's own time; the second is
what a busy machine can tell. ``fast`` and ``parity`` are vectors on all of them, ``one_core`` is ``fast``
with one thread.
"""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from common import cores, finish, machine, parser, pin, spread

KNOWN = {
    "PointGoal1": 1030,
    "PointGoal2": 290,
    "PointPush1": 890,
    "PointPush2": 620,
    "CarGoal1": 640,
    "CarGoal2": 230,
    "CarPush1": 530,
    "CarPush2": 420,
    "DoggoGoal1": 390,
    "DoggoGoal2": 180,
    "DoggoPush1": 300,
    "DoggoPush2": 270,
}
"""Steps per second and process that were measured of that package, on a two-core machine."""
TARGETS = {"PointGoal1": 10, "CarPush2": 10, "DoggoGoal1": 6, "DoggoGoal2": 10}
"""Times that, on two cores."""


class Plain:
    """One world, in the plainest way."""

    def __init__(self, name: str) -> None:
        import mujoco

        from surefoot.envs.safety import Simulation, known_task

        self.mujoco, self.task = mujoco, known_task(name)
        self.layouts = Simulation(self.task, 1, physics="parity", layouts="original", threads=1)
        self.height = self.layouts.model.robot.height
        self.reset(0)

    def reset(self, seed: int) -> None:
        """A new model, and a layout in it."""
        import gymnasium
        import numpy as np

        from surefoot.envs.safety.model import specification

        self.layouts.reset(np.zeros(1, int), [seed])
        self.model = specification(self.task, fast=False).compile()
        self.data = self.mujoco.MjData(self.model)
        self.data.qpos[:] = self.layouts.qpos[0]
        self.data.mocap_pos[:] = self.layouts.pillars[0]
        self.data.mocap_quat[:] = self.layouts.pillars_quat[0]
        self.goal, self.hazards = self.layouts.goal[0].copy(), self.layouts.hazards[0].copy()
        self.mujoco.mj_forward(self.model, self.data)
        self.before = self.distances()
        size = len(self.observe())
        self.space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float64)

    def step(self, action: Any) -> tuple[Any, float, dict[str, float]]:
        import numpy as np

        self.data.ctrl[:] = np.clip(action, -1, 1)
        for _ in range(10):
            self.mujoco.mj_step(self.model, self.data)
        self.mujoco.mj_forward(self.model, self.data)
        after = self.distances()
        reward = sum(self.before) - sum(after)
        self.before = after
        self.mujoco.mj_forward(self.model, self.data)
        costs = self.costs()
        self.mujoco.mj_forward(self.model, self.data)
        observation = self.observe()
        assert self.space.contains(observation)
        return observation, reward, costs

    def distances(self) -> list[float]:
        import numpy as np

        robot = self.data.body("robot").xpos
        if not self.task.pushes:
            return [float(np.linalg.norm(robot[:2] - self.goal))]
        box = self.data.body("box").xpos
        return [float(np.linalg.norm(robot - box)), float(np.linalg.norm(box - [*self.goal, 0.16]))]

    def costs(self) -> dict[str, float]:
        import numpy as np

        robot, found = self.data.body("robot").xpos, dict.fromkeys(self.task.costs, 0.0)
        for place in self.hazards:
            distance = float(np.linalg.norm(robot[:2] - place))
            found["hazards"] += max(0.0, self.task.hazard_radius - distance)
        for contact in self.data.contact[: self.data.ncon]:
            bodies = [self.model.geom(geom).bodyid[0] for geom in (contact.geom1, contact.geom2)]
            names = sorted(self.model.body(self.model.body(body).rootid[0]).name for body in bodies)
            for kind in ("vase", "pillar"):
                cost = "pillars" if kind == "pillar" else "vases_contact"
                if cost in found and "robot" in names and any(name.startswith(kind) for name in names):
                    found[cost] += 1
        if "vases_velocity" in found:
            for index in range(self.task.vases):
                speed = float(np.linalg.norm(self.data.joint(f"vase_{index}").qvel[:3]))
                found["vases_velocity"] += speed if speed >= 1e-4 else 0.0
        return found

    def observe(self) -> Any:
        import numpy as np

        felt = ["accelerometer", "velocimeter", "gyro", "magnetometer"]
        if self.task.robot == "doggo":
            felt += [f"touch_{leg}{part}" for part in "ab" for leg in range(1, 5)]
        parts = [self.data.sensor(name).data.copy() for name in felt]
        if self.task.robot == "car":
            ball, matrix = self.data.joint("rear"), np.zeros(9)
            self.mujoco.mju_quat2Mat(matrix, ball.qpos)
            parts += [ball.qvel.copy(), matrix]
        elif self.task.robot == "doggo":
            from surefoot.envs.safety.robots import DOGGO_JOINTS

            joints = [self.data.joint(name) for name in DOGGO_JOINTS]
            parts += [joint.qvel.copy() for joint in joints]
            parts += [np.array([math.sin(joint.qpos[0]), math.cos(joint.qpos[0])]) for joint in joints]
        things = {"goal": [self.goal], "hazards": list(self.hazards)}
        things["vases"] = [self.data.body(f"vase_{i}").xpos[:2] for i in range(self.task.vases)]
        things["pillars"] = [self.data.body(f"pillar_{i}").xpos[:2] for i in range(self.task.pillars)]
        things["box"] = [self.data.body("box").xpos[:2]] if self.task.pushes else []
        return np.concatenate([*parts, *(self.lidar(things[name]) for name in self.task.lidars)])

    def lidar(self, things: list[Any]) -> Any:
        import numpy as np

        seen = np.zeros(16)
        for thing in things:
            robot = self.data.body("robot")
            x, y, _ = robot.xmat.reshape(3, 3).T @ (np.array([*thing, 0.0]) - robot.xpos)
            near = max(0.0, 3.0 - math.hypot(x, y)) / 3.0
            turn = math.atan2(y, x) % (2 * math.pi) / (2 * math.pi / 16)
            k = math.floor(turn)
            for index, value in ((k, near), (k + 1, (turn - k) * near), (k - 1, (1 - turn + k) * near)):
                seen[index % 16] = max(seen[index % 16], value)
        return seen


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--envs", type=int, default=64)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--steps", type=int, default=30, help="of each world, in a round")
    options.add_argument("--memory-steps", type=int, default=1_000_000, help="over which memory is watched")
    options.add_argument("--cores", type=int, default=min(2, len(cores())))
    options.add_argument("--tasks", nargs="+", default=list(KNOWN))
    given = options.parse_args()
    pin(cores()[: given.cores])
    about = machine() | {"cores_used": given.cores}
    room = memory(given)
    results = {name: measure(name, given) for name in given.tasks}
    result = {
        "benchmark": "safety_tasks",
        "unit": "steps per second",
        "envs": given.envs,
        "machine": about,
        "tasks": results,
        "memory": room,
        "load_after": os.getloadavg()[0],
    }
    finish(result, given.out)


def measure(name: str, given: Any) -> dict[str, Any]:
    """All variants of one task, in turns."""
    from surefoot.envs.safety import SafetyEnv, SafetyVectorEnv

    plain, single = Plain(name), SafetyEnv(name)
    single.reset(seed=0)
    same(plain, name)
    variants: dict[str, Callable[[], int]] = {
        "plain": partial(play_plain, plain, given.steps),
        "single": partial(play_single, single, given.steps),
    }
    many: dict[str, Any] = {}
    for title, physics, threads in (
        ("fast", "fast", given.cores),
        ("one_core", "fast", 1),
        ("parity", "parity", given.cores),
    ):
        many[title] = SafetyVectorEnv(name, given.envs, physics=physics, threads=threads)
        many[title].reset(seed=0)
        variants[title] = partial(play_many, many[title], given.steps)
    wall: dict[str, list[float]] = {title: [] for title in variants}
    work: dict[str, list[float]] = {title: [] for title in variants}
    for round_ in range(given.rounds + 1):
        for title, play in variants.items():
            begun, busy = time.perf_counter(), time.process_time()
            steps = play()
            if round_:  # the first warms up
                wall[title].append(steps / (time.perf_counter() - begun))
                work[title].append(steps / (time.process_time() - busy))
    by_wall = {title: spread(values) for title, values in wall.items()}
    by_work = {title: spread(values) for title, values in work.items()}
    found = {
        "by_wall": by_wall,
        "by_processor_second": by_work,
        "over_plain": by_wall["fast"]["median"] / by_wall["plain"]["median"],
        "over_known": by_wall["fast"]["median"] / KNOWN[name],
        "target_over_known": TARGETS.get(name),
        "per_processor_second_over_plain": by_work["fast"]["median"] / by_work["plain"]["median"],
        "per_processor_second_over_known": by_work["fast"]["median"] / KNOWN[name],
        "share_of_physics": share_of_physics(many),
        "reset_seconds": resets(name, plain, given.envs),
    }
    for env in many.values():
        env.close()
    return found


def same(plain: Plain, name: str) -> None:
    """The plain implementation and ours agree over some steps, in observations, rewards and costs."""
    import numpy as np

    from surefoot.envs.safety import SafetyEnv

    ours = SafetyEnv(name, physics="parity", layouts="original")
    ours.reset(seed=3)
    plain.reset(3)
    for action in actions(1, 5, ours.action_space.shape[0])[:, 0]:
        one, reward, costs = plain.step(action)
        two, earned, _, _, info = ours.step(action)
        np.testing.assert_allclose(one[3:], two[3:], atol=1e-6)
        np.testing.assert_allclose(reward, earned, atol=1e-6)
        np.testing.assert_allclose(list(costs.values()), info["raw_costs"], atol=1e-6)


def actions(worlds: int, steps: int, size: int) -> Any:
    import numpy as np

    return np.random.default_rng(0).uniform(-1, 1, (steps, worlds, size))


def play_plain(plain: Plain, steps: int) -> int:
    for action in actions(1, steps, plain.model.nu)[:, 0]:
        plain.step(action)
    return steps


def play_single(env: Any, steps: int) -> int:
    for action in actions(1, steps, env.action_space.shape[0])[:, 0]:
        env.step(action)
    return steps


def play_many(env: Any, steps: int) -> int:
    for action in actions(env.num_envs, steps, env.single_action_space.shape[0]):
        env.step(action)
    return steps * env.num_envs


def share_of_physics(envs: dict[str, Any]) -> dict[str, float]:
    """Of the time of a step: of the processor's on one core, of the wall's on all of them.

    On all cores what is array code runs on one of them while the others wait.
    """
    found = {}
    for title, clock in (("one_core", time.process_time), ("fast", time.perf_counter)):
        simulation = envs[title].simulation
        inside, batch_step = 0.0, simulation.batch.step

        def timed(*words: Any, clock: Any = clock, step: Any = batch_step, **options: Any) -> None:
            nonlocal inside
            begun = clock()
            step(*words, **options)
            inside += clock() - begun

        simulation.batch.step = timed
        begun = clock()
        play_many(envs[title], 100)
        found[title] = inside / (clock() - begun)
        simulation.batch.step = batch_step
    return {"one_core": found["one_core"], "all_cores_by_wall": found["fast"]}


def resets(name: str, plain: Plain, envs: int) -> dict[str, float]:
    """Of one world, in processor seconds: the best of ten."""
    import numpy as np

    from surefoot.envs.safety import Simulation, known_task

    found = {}
    one, many = (Simulation(known_task(name), n, threads=1) for n in (1, envs))
    for title, reset, worlds in (
        ("plain", lambda: plain.reset(0), 1),
        ("single", lambda: one.reset(np.zeros(1, int)), 1),
        ("vector", lambda: many.reset(np.arange(envs)), envs),
    ):
        times = []
        for _ in range(10):
            begun = time.process_time()
            reset()
            times.append((time.process_time() - begun) / worlds)
        found[title] = min(times)
    return found


def memory(given: Any) -> dict[str, Any]:
    """Memory of this process: what worlds take, and what many steps add to it."""
    from surefoot.envs.safety import SafetyVectorEnv

    def made(worlds: int) -> Any:
        env = SafetyVectorEnv("PointGoal2", worlds, threads=given.cores)
        env.reset(seed=0)
        play_many(env, 1001)  # a whole episode and the reset after it
        return env

    made(1).close()  # what is loaded once
    start = resident()
    env = made(given.envs)
    held, played = [resident()], 1001 * given.envs
    for part in range(1, 11):
        while played < part * given.memory_steps / 10:
            played += play_many(env, 200)
        held.append(resident())
    env.close()
    return {
        "task": "PointGoal2",
        "mebibytes_per_world": (held[0] - start) / given.envs,
        "steps": played,
        "mebibytes_grown": held[-1] - held[0],
        "mebibytes_after_each_tenth": held,
    }


def resident() -> float:
    """MiB that this process holds now; where that is not known, the most it ever held."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
