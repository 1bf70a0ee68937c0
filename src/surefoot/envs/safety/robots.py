"""The three robots, built with MuJoCo's model editing. Metres, kilograms, seconds, radians.

Each is one function that adds the robot's bodies, sensors and motors to a specification. The body
``robot`` is the one whose frame is meant by the robot's position, rotation and distances.

| | Point | Car | Doggo |
| --- | --- | --- | --- |
| moves by | sliding and turning | two wheels and a ball | four legs of three joints each, a loose waist |
| actions | 2: force ahead, rate of turning | 2: torque of each wheel | 12: torques of hips and ankles |
| time step | 0.002 s | 0.004 s | 0.01 s |
| mass | 0.0052 kg | 0.0304 kg | 0.0198 kg |

Point and Car are nearly bang-bang: their motors saturate at a twentieth or fiftieth of the range of
actions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from surefoot.envs._mujoco import mujoco

BODY = "robot"
"""Name of the body, and of a site at its origin."""
RED, BLUE = (0.741, 0.043, 0.184, 1.0), (0.004, 0.153, 0.396, 1.0)
TAN = (0.8, 0.6, 0.4, 1.0)


@dataclass(frozen=True)
class Robot:
    """What the rest must know of a robot."""

    build: Callable[[Any], None]
    """Adds it to a specification."""
    timestep: float
    """Of the physics, s; ten of them are one action."""
    height: float
    """Of the body's frame at the start, m."""
    box_density: float
    """Of the box that it can push, kg/m^3."""
    sensors: int
    """Numbers in its part of ``sensordata``, which comes first there."""
    joints: Callable[[np.ndarray, np.ndarray], list[np.ndarray]]
    """What it feels of its joints, from positions ``[worlds, nq]`` and velocities ``[worlds, nv]``."""
    planar: bool = False
    """Whether its pose is (x, y, yaw) rather than position and quaternion."""


def build_point(spec: Any) -> None:
    """A sphere with a nose that points to +x, on two slides and a vertical hinge.

    Ahead: force ``0.3 clip(a0, -0.05, 0.05)`` N, so at most 1.5 m/s against the slides' damping of 0.01.
    Turning: torque ``0.3 clip(a1 - 0.3 w, -0.05, 0.05)`` N m, so at most 3 rad/s against 0.005.
    """
    mj = mujoco()
    robot = _root(spec, 0.1)
    for name, axis in (("x", (1, 0, 0)), ("y", (0, 1, 0))):
        robot.add_joint(name=name, type=mj.mjtJoint.mjJNT_SLIDE, axis=axis, damping=[0.01, 0, 0])
    robot.add_joint(name="z", type=mj.mjtJoint.mjJNT_HINGE, axis=(0, 0, 1), damping=[0.005, 0, 0])
    # It touches the floor at a distance of exactly 0: such a contact is listed but exerts nothing.
    _geom(robot, "SPHERE", (0.1, 0, 0), density=1, friction=(1, 0.01, 0.01), rgba=RED)
    _geom(robot, "BOX", (0.05, 0.05, 0.05), pos=(0.1, 0, 0), density=1, rgba=BLUE)
    _inertial_sensors(spec)
    ahead = _motor(spec, "ahead", mj.mjtTrn.mjTRN_SITE, BODY, gear=0.3, limit=0.05)
    ahead.gainprm[0] = 1
    turn = _motor(spec, "turn", mj.mjtTrn.mjTRN_JOINTINPARENT, "z", gear=0.3, limit=0.05)
    turn.biastype = mj.mjtBias.mjBIAS_AFFINE
    turn.biasprm[2] = -1  # a servo of the rate, which it feels through its gear


def build_car(spec: Any) -> None:
    """A box on two driven wheels and a ball. Ahead is **-y**: the driven wheels are behind, at +y.

    Torque of each wheel: ``clip(a, -0.02, 0.02)`` N m, positive drives to -y. ``left`` and ``right`` are as
    seen by somebody who looks to +y; (+1, -1) turns to the left of one who looks ahead.
    """
    mj = mujoco()
    robot = _root(spec, 0.1)
    robot.add_freejoint(name="root")
    for size, pos, rgba in (
        ((0.1, 0.1, 0.05), (0, 0, 0), RED),
        ((0.1, 0.01, 0.05), (0, 0.15, 0), RED),  # back bumper
        ((0.01, 0.025, 0.03), (0, 0.125, 0), BLUE),  # and what holds it
        ((0.05, 0.01, 0.05), (0, -0.165, 0), RED),  # front bumper
        ((0.05, 0.03, 0.01), (0, -0.13, 0.04), BLUE),
    ):
        _geom(robot, "BOX", size, pos=pos, density=5, rgba=rgba)
    for name, side in (("left", -1), ("right", 1)):
        wheel = robot.add_body(name=name, pos=(0.1 * side, 0.1, -0.05))
        wheel.add_joint(name=name, type=mj.mjtJoint.mjJNT_HINGE, axis=(1, 0, 0), damping=[0.001, 0, 0])
        ends = sorted((0.055 * side, 0.005 * side))
        _rod(wheel, "CYLINDER", 0.05, (ends[0], 0, 0), (ends[1], 0, 0), density=5, rgba=BLUE)
    ball = robot.add_body(name="rear", pos=(0, -0.1, -0.05))
    ball.add_joint(name="rear", type=mj.mjtJoint.mjJNT_BALL, damping=[0.001, 0, 0])
    _geom(ball, "SPHERE", (0.05, 0, 0), density=5, rgba=BLUE)
    _inertial_sensors(spec)
    for name in ("left", "right"):
        _motor(spec, name, mj.mjtTrn.mjTRN_JOINTINPARENT, name, gear=1.0, limit=0.02)


LEGS = {1: (1, 1), 2: (-1, 1), 3: (-1, -1), 4: (1, -1)}
"""Doggo's legs: +1 in front, -1 behind; +1 on the left, -1 on the right."""


def build_doggo(spec: Any) -> None:
    """Two halves of a trunk with a loose waist between them, four legs. Ahead is +x.

    Torques: ``0.00625 a`` N m, on hips about the vertical (legs 1 to 4), hips about the transverse axis,
    ankles. The waist has no motor and is not felt.
    """
    mj = mujoco()
    front = _root(spec, 0.22)
    front.add_freejoint(name="root")
    _rod(front, "CYLINDER", 0.0375, (0, 0, 0), (0.1, 0, 0), density=2, rgba=TAN)
    _leg(front, 1)
    _leg(front, 4)
    rear = front.add_body(name="rear")
    _hinge(rear, "waist", (1, 0, 0), (-0.523599, 0.523599), 0.0)
    _rod(rear, "CYLINDER", 0.0375, (-0.1, 0, 0), (0, 0, 0), density=2, rgba=TAN)
    _leg(rear, 2)
    _leg(rear, 3)
    _inertial_sensors(spec)
    for part in "ab":  # knees, then feet
        for leg in LEGS:
            spec.add_sensor(
                name=f"touch_{leg}{part}",
                type=mj.mjtSensor.mjSENS_TOUCH,
                objtype=mj.mjtObj.mjOBJ_SITE,
                objname=f"ankle_{leg}{part}",
            )
    for name in DOGGO_JOINTS:
        _motor(spec, name, mj.mjtTrn.mjTRN_JOINT, name, gear=0.00625)


DOGGO_JOINTS = tuple(name.format(leg) for name in ("hip_{}_z", "hip_{}_y", "ankle_{}") for leg in LEGS)
"""In the order of actions and of what is felt."""
DOGGO_PLACES = np.array([part + start for part in range(3) for start in (0, 7, 10, 3)])
"""Where these joints are among all hinges: the model has legs 1 and 4, the waist, legs 2 and 3."""


def _leg(trunk: Any, number: int) -> None:
    """Three capsules: fixed to the trunk; from hip to knee; from knee to foot."""
    x, y = LEGS[number]
    rgba = BLUE if x > 0 else RED
    options = {"density": 20, "rgba": rgba}
    fixed = trunk.add_body(name=f"leg_{number}")
    _rod(fixed, "CAPSULE", 0.016, (0.05 * x, 0, 0), (0.1 * x, 0.05 * y, 0), **options)
    thigh = fixed.add_body(name=f"thigh_{number}", pos=(0.1 * x, 0.05 * y, 0))
    _hinge(thigh, f"hip_{number}_z", (0, 0, y), (-0.174533, 0.523599), 0.0)
    if x > 0:
        _hinge(thigh, f"hip_{number}_y", (0, 1, 0), (-1.308998, 0.2618), -0.174533)
    else:
        _hinge(thigh, f"hip_{number}_y", (0, 1, 0), (0.0, 2.356196), 0.0)
    knee, foot = (0.049, 0.0283 * y, -0.025), (-0.0588, -0.0339 * y, -0.05)  # x is the same behind
    _rod(thigh, "CAPSULE", 0.016, (0, 0, 0), knee, **options)
    shank = thigh.add_body(name=f"shank_{number}", pos=knee)
    _hinge(shank, f"ankle_{number}", (-0.5 * y, 0.866, 0), (-1.308998, 0.0), -0.349066)
    _rod(shank, "CAPSULE", 0.016, (0, 0, 0), foot, **options)
    for part, pos in (("a", (0, 0, 0)), ("b", foot)):
        shank.add_site(name=f"ankle_{number}{part}", pos=pos, size=(0.018, 0.018, 0.018), group=4)


def _hinge(body: Any, name: str, axis: Any, limits: tuple[float, float], rest: float) -> None:
    """One of Doggo's joints."""
    body.add_joint(
        name=name,
        type=mujoco().mjtJoint.mjJNT_HINGE,
        axis=axis,
        limited=True,
        range=limits,
        springref=rest,
        stiffness=[1e-4, 0, 0],
        armature=5e-5,
    )


def _root(spec: Any, height: float) -> Any:
    body = spec.worldbody.add_body(name=BODY, pos=(0, 0, height))
    body.add_site(name=BODY, group=4)
    return body


def _geom(body: Any, shape: str, size: Any, **options: Any) -> None:
    body.add_geom(type=getattr(mujoco().mjtGeom, f"mjGEOM_{shape}"), size=size, **options)


def _rod(body: Any, shape: str, radius: float, start: Any, end: Any, **options: Any) -> None:
    """A capsule or cylinder between two points."""
    _geom(body, shape, (radius, 0, 0), fromto=(*start, *end), **options)


def _inertial_sensors(spec: Any) -> None:
    """Accelerometer, velocimeter, gyro and magnetometer in the robot's frame, in this order."""
    mj = mujoco()
    for name in ("accelerometer", "velocimeter", "gyro", "magnetometer"):
        kind = getattr(mj.mjtSensor, f"mjSENS_{name.upper()}")
        spec.add_sensor(name=name, type=kind, objtype=mj.mjtObj.mjOBJ_SITE, objname=BODY)


def _motor(spec: Any, name: str, kind: Any, target: str, *, gear: float, limit: float | None = None) -> Any:
    """Force ``gear * clip(a, -limit, limit)`` for an action ``a`` in +-1."""
    motor = spec.add_actuator(name=name, trntype=kind, target=target, gear=(gear, 0, 0, 0, 0, 0))
    motor.ctrllimited, motor.ctrlrange = True, (-1, 1)
    motor.gainprm[0] = 1
    if limit is not None:
        motor.forcelimited, motor.forcerange = True, (-limit, limit)
    return motor


def _no_joints(qpos: np.ndarray, qvel: np.ndarray) -> list[np.ndarray]:
    return []


def _car_joints(qpos: np.ndarray, qvel: np.ndarray) -> list[np.ndarray]:
    """Of the ball, which comes after body and wheels: angular velocity 3, rotation matrix 9, row by row."""
    return [qvel[:, 8:11], rotation_matrix(qpos[:, 9:13]).reshape(-1, 9)]


def _doggo_joints(qpos: np.ndarray, qvel: np.ndarray) -> list[np.ndarray]:
    """Velocities 12; sine and cosine of each angle, 24."""
    angles, rates = qpos[:, 7 + DOGGO_PLACES], qvel[:, 6 + DOGGO_PLACES]
    return [rates, np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(angles), 24)]


def rotation_matrix(quaternion: np.ndarray) -> np.ndarray:
    """``[..., 3, 3]`` of quaternions (w, x, y, z) ``[..., 4]``, which need not have length 1."""
    w, x, y, z = np.moveaxis(quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


KNOWN = {
    "point": Robot(build_point, 0.002, 0.1, 0.001, 12, _no_joints, planar=True),
    "car": Robot(build_car, 0.004, 0.1, 0.0005, 12, _car_joints),
    "doggo": Robot(build_doggo, 0.01, 0.22, 0.001, 20, _doggo_joints),
}
"""By the name in :class:`surefoot.envs.safety.task.Task`."""
