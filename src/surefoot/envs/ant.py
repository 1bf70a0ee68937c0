"""Two ants for transfer: one with four legs alike, one with two short and nearly powerless legs.

A policy that walks as the first ant does not walk as the second; a reward that was learned from the
first one's behaviour should still be worth following. The bodies, numbers and rewards are those of the
transfer experiments of AIRL (Fu et al. 2018) and f-IRL (Ni et al. 2020); the models are built here,
from the table of legs below, by MuJoCo's model editing.

| item | value |
| --- | --- |
| action | 8 floats in [-1, 1]: torque of a joint / its gear, held for 0.05 s |
| their order | hip, ankle of legs 4, 1, 2, 3 (:class:`CustomAnt`) or 1, 2, 3, 4 (:class:`DisabledAnt`) |
| observation | 111 floats, see :meth:`AntBody.observe` |
| reward | ``v - 0.01 sum(a^2) - 0.0005 sum(f^2) - 1 if fallen``, see :meth:`AntBody.step` |
| start | all joints at 0, torso at a height of 0.75 m, plus noise |
| end | never terminated; truncated after 500 steps by Gymnasium's time limit |
| cost | none |

Needs ``pip install "surefoot[mujoco]"``. Version history: v0, first version.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import gymnasium
import numpy as np

from surefoot.envs._mujoco import mujoco
from surefoot.errors import SurefootError, unknown

HORIZON = 500
"""Steps in an episode, see ``TIME_LIMITS`` in this package."""
TIMESTEP = 0.01
"""s."""
SUBSTEPS = 5
"""Time steps an action."""
ARMATURE, DAMPING = 1.0, 1.0
"""Of each hinge, kg m^2 and N m s/rad."""
NOISE = 0.1
"""Of the start: uniform within +-this on positions, standard deviation of velocities."""
FALLEN = 0.2
"""Height of the torso below which it counts as fallen, m."""
CONTROL_COST, CONTACT_COST = 0.01, 5e-4


@dataclass(frozen=True)
class Leg:
    """One leg: a link fixed to the torso, a hip about the vertical, a thigh, an ankle, a shank.

    All lengths are offsets in x and in y each, in the direction of ``side``, m.
    """

    number: int
    side: tuple[int, int]
    ankle_axis: tuple[int, int, int]
    ankle_range: tuple[float, float]
    """Degrees."""
    fixed: float = 0.2
    thigh: float = 0.2
    shank: float = 0.4
    gear: float = 30.0
    """Torque of hip and ankle for an action of 1, N m."""


HEALTHY = (
    Leg(1, (1, 1), (-1, 1, 0), (30.0, 70.0)),
    Leg(2, (-1, 1), (1, 1, 0), (-70.0, -30.0)),
    Leg(3, (-1, -1), (-1, 1, 0), (-70.0, -30.0)),
    Leg(4, (1, -1), (1, 1, 0), (30.0, 70.0)),
)
DISABLED = (
    *HEALTHY[:2],
    *(replace(leg, thigh=0.1, shank=0.2, gear=1.0) for leg in HEALTHY[2:]),
)

TORSO_RADIUS, LEG_RADIUS = 0.25, 0.08
HEIGHT = 0.75
HIP_RANGE = (-30.0, 30.0)
"""Degrees."""
FACE = (
    # name, radius, from, to; on one side of the face, the other is its mirror image in x = 0
    ("eye", 0.03, (0.07, 0.0, 0.10), (0.07, -0.21, 0.10)),
    ("pupil", 0.02, (0.07, 0.0, 0.10), (0.07, -0.23, 0.10)),
    ("brow", 0.02, (0.04, -0.21, 0.17), (0.10, -0.21, 0.20)),
)
"""Six capsules on the torso: a decoration, but with mass, and able to touch the floor."""
FACE_COLOUR = (0.30, 0.26, 0.24, 1.0)


def build(legs: tuple[Leg, ...], actuators: tuple[int, ...]) -> Any:
    """The compiled model of a torso with these legs; ``actuators`` lists legs in the order of actions."""
    mj = mujoco()
    spec = mj.MjSpec()
    spec.modelname = "ant"
    spec.compiler.degree = True
    spec.option.integrator = mj.mjtIntegrator.mjINT_RK4
    spec.option.timestep = TIMESTEP
    spec.default.joint.armature = ARMATURE
    geom = spec.default.geom
    geom.density, geom.condim, geom.margin = 5.0, 3, 0.01
    geom.friction = (1.5, 0.5, 0.5)
    geom.conaffinity = 0  # parts of the body do not touch each other
    geom.rgba = (0.80, 0.60, 0.40, 1.0)
    _add_ground(mj, spec)
    torso = spec.worldbody.add_body(name="torso", pos=(0, 0, HEIGHT))
    torso.add_joint(name="root", type=mj.mjtJoint.mjJNT_FREE, armature=0, margin=0.01)
    follow = mj.mjtCamLight.mjCAMLIGHT_TRACK
    torso.add_light(mode=follow, pos=(-1, -1, 5), dir=(0.2, 0.2, -1), cutoff=90, diffuse=(0.7, 0.7, 0.7))
    torso.add_geom(name="torso", type=mj.mjtGeom.mjGEOM_SPHERE, size=(TORSO_RADIUS, 0, 0))
    for name, radius, start, end in FACE:
        for side, mirror in (("right", 1), ("left", -1)):
            ends = (mirror * start[0], *start[1:], mirror * end[0], *end[1:])
            _add_capsule(mj, torso, f"{name}_{side}", radius, ends, rgba=FACE_COLOUR)
    for leg in legs:
        _add_leg(mj, torso, leg)
    gears = {leg.number: leg.gear for leg in legs}
    for number in actuators:
        for part in ("hip", "ankle"):
            motor = spec.add_actuator(name=f"{part}_{number}", target=f"{part}_{number}")
            motor.trntype = mj.mjtTrn.mjTRN_JOINT
            motor.gear = (gears[number], 0, 0, 0, 0, 0)
            motor.ctrllimited, motor.ctrlrange = True, (-1, 1)
    model = spec.compile()
    # Set here because its form in the specification depends on MuJoCo's version; the root has none.
    model.dof_damping[6:] = DAMPING
    return model


def _add_leg(mj: Any, torso: Any, leg: Leg) -> None:
    """Three bodies in a chain, each a capsule from its origin to that of the next."""

    def offset(length: float) -> tuple[float, float, float]:
        return leg.side[0] * length, leg.side[1] * length, 0.0

    def link(name: str, body: Any, length: float) -> None:
        _add_capsule(mj, body, f"{name}_{leg.number}", LEG_RADIUS, (0.0, 0.0, 0.0, *offset(length)))

    hinge = mj.mjtJoint.mjJNT_HINGE
    fixed = torso.add_body(name=f"leg_{leg.number}")
    link("fixed", fixed, leg.fixed)
    thigh = fixed.add_body(name=f"thigh_{leg.number}", pos=offset(leg.fixed))
    thigh.add_joint(name=f"hip_{leg.number}", type=hinge, axis=(0, 0, 1), range=HIP_RANGE)
    link("thigh", thigh, leg.thigh)
    shank = thigh.add_body(name=f"shank_{leg.number}", pos=offset(leg.thigh))
    shank.add_joint(name=f"ankle_{leg.number}", type=hinge, axis=leg.ankle_axis, range=leg.ankle_range)
    link("shank", shank, leg.shank)


def _add_capsule(mj: Any, body: Any, name: str, radius: float, ends: Any, **options: Any) -> None:
    capsule = mj.mjtGeom.mjGEOM_CAPSULE
    body.add_geom(name=name, type=capsule, size=(radius, 0, 0), fromto=ends, **options)


def _add_ground(mj: Any, spec: Any) -> None:
    """Floor and sky."""
    spec.add_texture(
        name="sky",
        type=mj.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mj.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.97, 0.97, 0.98),
        rgb2=(0.72, 0.78, 0.86),
        width=64,
        height=64,
    )
    spec.add_texture(
        name="tiles",
        type=mj.mjtTexture.mjTEXTURE_2D,
        builtin=mj.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=(0.82, 0.84, 0.86),
        rgb2=(0.72, 0.75, 0.79),
        width=128,
        height=128,
    )
    material = spec.add_material(name="floor", texrepeat=(40, 40))
    material.textures[mj.mjtTextureRole.mjTEXROLE_RGB] = "tiles"
    plane = mj.mjtGeom.mjGEOM_PLANE
    spec.worldbody.add_geom(
        name="floor", type=plane, size=(40, 40, 40), conaffinity=1, material="floor", rgba=(1, 1, 1, 1)
    )


class AntBody(gymnasium.Env[np.ndarray, np.ndarray]):
    """An ant on a plane that is rewarded for running along x.

    Args:
        contact_forces: whether the 84 numbers for contact forces are computed, in observation and reward.
            The published experiments most likely saw zeros there (MuJoCo 2.0 and later only computes them
            when asked), so that is the default; their size stays.
        render_mode: ``rgb_array`` (one picture a step) or ``human`` (a window).
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 20}  # noqa: RUF012
    legs: ClassVar[tuple[Leg, ...]]
    actuators: ClassVar[tuple[int, ...]]
    """Numbers of legs; each stands for its hip and its ankle."""

    def __init__(self, *, contact_forces: bool = False, render_mode: str | None = None) -> None:
        self._mujoco = mujoco()
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise unknown("render_mode", str(render_mode), self.metadata["render_modes"])
        self.model = build(self.legs, self.actuators)
        self.data = self._mujoco.MjData(self.model)
        self.contact_forces = contact_forces
        self.render_mode = render_mode
        size = self.model.nq - 2 + self.model.nv + 6 * self.model.nbody
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.model.nu,), np.float32)
        self._ready = False
        self._renderer: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The model's own pose, all joints at 0 (outside the ankles' ranges, as in the original), plus
        noise: uniform within +-0.1 on all 15 positions, normal with deviation 0.1 on all 14 velocities."""
        super().reset(seed=seed)
        model, data = self.model, self.data
        self._mujoco.mj_resetData(model, data)
        data.qpos[:] = model.qpos0 + self.np_random.uniform(-NOISE, NOISE, model.nq)
        data.qvel[:] = NOISE * self.np_random.standard_normal(model.nv)
        self._mujoco.mj_forward(model, data)
        self._ready = True
        if self.render_mode == "human":
            self.render()
        return self.observe(), {"x_position": float(data.qpos[0]), "y_position": float(data.qpos[1])}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Holds the torques for 0.05 s (the action is clipped to +-1).

        The reward is ``v - 0.01 sum(a^2) - 0.0005 sum(f^2) - 1 if z < 0.2``: ``v`` the torso's velocity
        along x **before** the step (as in the original), ``f`` the observed contact forces and ``z`` the
        torso's height after it. There is no bonus for staying up, and a fall does not end the episode.
        """
        name = f"{type(self).__name__}-v0"
        if not self._ready:
            raise SurefootError(f"{name}: call reset() before step().")
        given = np.asarray(action, np.float64)
        if given.shape != self.action_space.shape or not np.isfinite(given).all():
            raise SurefootError(f"{name}: the action is {action}; give {self.model.nu} numbers.")
        given = given.clip(-1, 1)
        data = self.data
        forward = float(data.qvel[0])
        data.ctrl[:] = given
        self._mujoco.mj_step(self.model, data, SUBSTEPS)
        if self.contact_forces:
            self._mujoco.mj_rnePostConstraint(self.model, data)
        control = CONTROL_COST * float(np.sum(given**2))
        contact = CONTACT_COST * float(np.sum(self._forces() ** 2))
        fallen = float(data.qpos[2] < FALLEN)
        info = {
            "x_position": float(data.qpos[0]),
            "y_position": float(data.qpos[1]),
            "reward_forward": forward,
            "reward_control": -control,
            "reward_contact": -contact,
            "reward_fallen": -fallen,
        }
        if self.render_mode == "human":
            self.render()
        return self.observe(), forward - control - contact - fallen, False, False, info

    def observe(self) -> np.ndarray:
        """``[111]``: 13 positions (height; quaternion; hip, ankle of legs 1, 2, 3, 4), 14 velocities (along
        x, y, z; about x, y, z; the joints), 84 contact forces (6 for each of 14 bodies, clipped to +-1)."""
        data = self.data
        return np.concatenate([data.qpos[2:], data.qvel, self._forces().ravel()])

    def _forces(self) -> np.ndarray:
        """``[bodies, 6]``: torque and force that act on each body from outside."""
        if not self.contact_forces:
            return np.zeros((self.model.nbody, 6))
        return np.clip(self.data.cfrc_ext, -1, 1)

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """A picture ``[480, 480, 3]`` uint8."""
        if self.render_mode is None:
            gymnasium.logger.warn('give render_mode="rgb_array" or "human" to make() to see the ant.')
            return None
        if self._renderer is None:
            from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

            camera = {"trackbodyid": 1, "distance": 4.0, "elevation": -25.0, "azimuth": 60.0}
            self._renderer = MujocoRenderer(self.model, self.data, camera, 480, 480)
        return self._renderer.render(self.render_mode)

    def close(self) -> None:
        """Closes the window or the renderer, if there is one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


class CustomAnt(AntBody):
    """The ant with four legs alike, ``surefoot/CustomAnt-v0``: motors of 30 N m (Gymnasium's ant: 150)."""

    legs = HEALTHY
    actuators = (4, 1, 2, 3)


class DisabledAnt(AntBody):
    """The ant whose legs 3 and 4 are short and have motors of 1 N m, ``surefoot/DisabledAnt-v0``.

    Its actions come in another order than those of :class:`CustomAnt`, as in the original: a policy that is
    moved over unchanged drives the wrong legs, a reward does not care. The observations' order is the same.
    """

    legs = DISABLED
    actuators = (1, 2, 3, 4)
