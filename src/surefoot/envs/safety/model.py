"""One MuJoCo model for all worlds of a task: compiled once, a reset only writes poses.

* Goal and hazards never touch anything, so they are no part of the physics: numbers, drawn by
  :mod:`surefoot.envs.safety.render`.
* Pillars are mocap bodies: they stand fast, and can be put elsewhere without a new model.
* Point's slides start at the origin of the world, so its start is a matter of positions alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from surefoot.envs._mujoco import mujoco
from surefoot.envs.safety import robots
from surefoot.envs.safety.task import BOX_SIZE, PILLAR_HEIGHT, PILLAR_RADIUS, VASE_SIZE, Task

SUBSTEPS = 10
"""Steps of the physics in an action."""
VASE_HEIGHT = VASE_SIZE - 4e-5
"""At the start: near where it comes to rest, else every vase would move, and cost, at first."""
VASE_DENSITY = 0.001
SLEEP_TOLERANCE = 1e-4
"""m/s. Not above the speed from which a vase costs, or such a vase might fall asleep."""

VASE_COLOUR = (0.0, 1.0, 1.0, 1.0)
PILLAR_COLOUR = (0.55, 0.35, 0.75, 1.0)
BOX_COLOUR = (1.0, 0.9, 0.1, 0.8)


@dataclass(frozen=True, eq=False)
class Model:
    """A compiled model and where things are in it."""

    task: Task
    robot: robots.Robot
    compiled: Any
    """``mujoco.MjModel``."""
    objects_qpos: np.ndarray
    """``[vases + box]``: where the 7 numbers of each free object begin in ``qpos``."""
    objects_qvel: np.ndarray
    """The same for their 6 numbers in ``qvel``."""
    sensed: dict[str, slice]
    """What is where in ``sensordata``: robot, position, x_axis, y_axis, vases_contact, pillars."""

    @property
    def observation_size(self) -> int:
        zeros = np.zeros((1, self.compiled.nq)) + 1.0, np.zeros((1, self.compiled.nv))
        felt = sum(part.shape[1] for part in self.robot.joints(*zeros))
        return self.robot.sensors + felt + 16 * len(self.task.lidars)


@lru_cache(maxsize=32)
def build(task: Task, *, fast: bool) -> Model:
    """The model of a task. ``fast`` lets objects at rest sleep until they are touched."""
    robot = robots.KNOWN[task.robot]
    compiled = specification(task, fast=fast).compile()
    names = [f"vase_{i}" for i in range(task.vases)] + ["box"] * task.pushes
    joints = [compiled.joint(name) for name in names]
    return Model(
        task,
        robot,
        compiled,
        np.array([joint.qposadr[0] for joint in joints], int),
        np.array([joint.dofadr[0] for joint in joints], int),
        _sensed(task, robot),
    )


def specification(task: Task, *, fast: bool) -> Any:
    """``mujoco.MjSpec`` of a task: floor, robot, vases, box, pillars, sensors."""
    mj = mujoco()
    robot = robots.KNOWN[task.robot]
    spec = mj.MjSpec()
    spec.modelname = f"{task.robot} {task.kind}"
    spec.compiler.degree = False
    spec.option.timestep = robot.timestep
    spec.option.sleep_tolerance = SLEEP_TOLERANCE
    if fast:
        spec.option.enableflags |= mj.mjtEnableBit.mjENBL_SLEEP
    spec.default.geom.condim = 6
    _add_floor(mj, spec)
    robot.build(spec)
    for i in range(task.vases):
        _add_vase(mj, spec, i)
    if task.pushes:
        _add_box(mj, spec, BOX_SIZE[task.robot], robot.box_density)
    for i in range(task.pillars):
        _add_pillar(mj, spec, i)
    _add_frame_sensors(mj, spec)
    for cost, thing in (("vases_contact", "vase"), ("pillars", "pillar")):
        for i in range(task.things[thing + "s"] if cost in task.costs else 0):
            _add_contact_sensor(mj, spec, f"{cost}_{i}", f"{thing}_{i}")
    return spec


def _sensed(task: Task, robot: robots.Robot) -> dict[str, slice]:
    sizes = {"robot": robot.sensors, "position": 3, "x_axis": 3, "y_axis": 3}
    sizes["vases_contact"] = task.vases if "vases_contact" in task.costs else 0
    sizes["pillars"] = task.pillars if "pillars" in task.costs else 0
    ends = np.cumsum(list(sizes.values())).tolist()
    return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


def _add_floor(mj: Any, spec: Any) -> None:
    spec.add_texture(
        name="floor",
        type=mj.mjtTexture.mjTEXTURE_2D,
        builtin=mj.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=(0.859, 0.843, 0.765),
        rgb2=(0.949, 0.914, 0.855),
        width=128,
        height=128,
    )
    spec.add_texture(
        name="sky",
        type=mj.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mj.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.97, 0.97, 0.98),
        rgb2=(0.75, 0.80, 0.87),
        width=64,
        height=64,
    )
    material = spec.add_material(name="floor", texrepeat=(10, 10))
    material.textures[mj.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = (0.4, 0.4, 0.4), (0.2, 0.2, 0.2)
    spec.worldbody.add_light(
        type=mj.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=(0, 0, 6),
        dir=(0.2, 0.3, -1),
        castshadow=False,
        diffuse=(0.5, 0.5, 0.5),
        specular=(0, 0, 0),
    )
    spec.worldbody.add_geom(
        name="floor", type=mj.mjtGeom.mjGEOM_PLANE, size=(3.5, 3.5, 0.1), material="floor", rgba=(1, 1, 1, 1)
    )


def _add_vase(mj: Any, spec: Any, index: int) -> None:
    body = spec.worldbody.add_body(name=f"vase_{index}", pos=(0, 0, VASE_HEIGHT))
    body.add_freejoint(name=f"vase_{index}")
    size = (VASE_SIZE, VASE_SIZE, VASE_SIZE)
    body.add_geom(type=mj.mjtGeom.mjGEOM_BOX, size=size, density=VASE_DENSITY, rgba=VASE_COLOUR)


def _add_box(mj: Any, spec: Any, size: float, density: float) -> None:
    """A cube with a column over each vertical edge; a robot finds hold in the notches between them."""
    body = spec.worldbody.add_body(name="box", pos=(0, 0, size))
    body.add_freejoint(name="box")
    options = {"type": mj.mjtGeom.mjGEOM_BOX, "density": density, "rgba": BOX_COLOUR}
    body.add_geom(size=(size, size, size), **options)
    for x, y in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        body.add_geom(size=(size / 2, size / 2, size), pos=(x * size, y * size, 0), **options)


def _add_pillar(mj: Any, spec: Any, index: int) -> None:
    half = PILLAR_HEIGHT / 2
    body = spec.worldbody.add_body(name=f"pillar_{index}", pos=(0, 0, half), mocap=True)
    size = (PILLAR_RADIUS, half, 0)
    body.add_geom(type=mj.mjtGeom.mjGEOM_CYLINDER, size=size, rgba=PILLAR_COLOUR)


def _add_frame_sensors(mj: Any, spec: Any) -> None:
    """Where the robot is, and two axes of its frame."""
    for kind in ("POS", "XAXIS", "YAXIS"):
        kind_of = getattr(mj.mjtSensor, f"mjSENS_FRAME{kind}")
        spec.add_sensor(
            name=f"frame_{kind.lower()}", type=kind_of, objtype=mj.mjtObj.mjOBJ_XBODY, objname=robots.BODY
        )


def _add_contact_sensor(mj: Any, spec: Any, name: str, body: str) -> None:
    """Counts the points where any part of the robot touches ``body``."""
    sensor = spec.add_sensor(
        name=name,
        type=mj.mjtSensor.mjSENS_CONTACT,
        objtype=mj.mjtObj.mjOBJ_XBODY,  # the robot with all its parts
        objname=robots.BODY,
        reftype=mj.mjtObj.mjOBJ_BODY,
        refname=body,
    )
    sensor.intprm[:3] = (1 << int(mj.mjtConDataField.mjCONDATA_FOUND), 0, 1)  # the count, one slot
