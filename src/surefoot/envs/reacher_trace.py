"""Reacher trace: a two-link arm whose fingertip draws; what it should draw is for a reward to say.

The arm is that of Gymnasium's Reacher with the target taken away, as in the experiments on f-IRL
(Ni et al. 2020). Its mechanics are written out below, as MuJoCo integrates them, so that no
simulator is needed.

| item | value |
| --- | --- |
| action | 2 floats in [-1, 1]: torque of shoulder and elbow / 200 N m, held for 0.02 s |
| observation | 9 floats, see :meth:`ReacherTrace.observe`; a density is given over the first two |
| reward | 0 |
| start | at rest, stretched out along x, fingertip at (0.21, 0); ``noise`` strews it |
| end | never terminated; truncated after ``horizon`` actions |
| cost | none |

Mechanics, with ``q`` the two joint angles, ``c2, s2`` cosine and sine of the elbow's::

    M(q) q'' + C(q, q') = 200 a - q' + (0, f)
    M = [m_1 + 2 m_3 c2 + 1,  m_2 + m_3 c2]      C = m_3 s2 [-(2 q1' + q2') q2',  q1'^2]
        [m_2 + m_3 c2,        m_2 + 1     ]

The ones on the diagonal are the armature (inertia of the motors, kg m^2), more than a thousand times the
inertia of the links: the arm is nearly two flywheels, and can turn by 30 rad in an episode. The torque
``f`` keeps the elbow within +-3 rad, softly, see :func:`_limit_torque`. Each action is two steps of 0.01 s
of the classical Runge-Kutta method. Gravity is along the axes of both joints and does nothing.

Version history: v0, first version.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from surefoot.envs.env import StepResult
from surefoot.errors import check_range
from surefoot.task import Box, Task

LINK = 0.1
"""Length of both links, m; the fingertip is a little further out than the end of the second."""
TIP = 0.11
"""From the elbow to the fingertip, m."""
REACH = LINK + TIP
"""Radius of the disc that the fingertip can be in, m."""
HEIGHT = 0.01
"""Height of the arm above the ground, m: the third number of an observation."""
RADIUS = 0.01
"""Of the links (capsules) and of the fingertip (a ball), m."""
DENSITY = 1000.0
"""kg/m^3."""
ARMATURE = 1.0
"""kg m^2, for each joint."""
DAMPING = 1.0
"""N m s/rad, for each joint."""
GEAR = 200.0
"""N m of torque for an action of 1."""
LIMIT = 3.0
"""Largest angle of the elbow to either side, rad."""
TIMESTEP = 0.01
"""s."""
SUBSTEPS = 2
"""Time steps an action."""
FASTEST = 250.0
"""Bound of the observed speeds, rad/s; the damping keeps them to about 200, the end of an episode to 90."""
ANGLE_NOISE, SPEED_NOISE = 0.1, 0.005
"""The start of Gymnasium's Reacher is uniform within these, rad and rad/s."""


def _capsule() -> tuple[float, float]:
    """Mass of a link and its moment of inertia about an axis across its centre: a rod with half balls."""
    rod = DENSITY * math.pi * RADIUS**2 * LINK
    ball = DENSITY * math.pi * RADIUS**3 * 4 / 3
    about_centre = rod * (3 * RADIUS**2 + LINK**2) / 12
    # Each half ball by its own inertia and the distance of its centre of mass, LINK / 2 + 3 RADIUS / 8.
    about_centre += ball * (2 * RADIUS**2 / 5 + 3 * LINK * RADIUS / 8 + LINK**2 / 4)
    return rod + ball, about_centre


LINK_MASS, LINK_INERTIA = _capsule()
TIP_MASS = DENSITY * math.pi * RADIUS**3 * 4 / 3
TIP_INERTIA = 2 / 5 * TIP_MASS * RADIUS**2

# m_1, m_2, m_3 of the equation of motion; the first link's centre is at LINK / 2, and so is the second's.
M2 = LINK_INERTIA + LINK_MASS * (LINK / 2) ** 2 + TIP_INERTIA + TIP_MASS * TIP**2
M3 = LINK * (LINK_MASS * LINK / 2 + TIP_MASS * TIP)
M1 = M2 + LINK_INERTIA + LINK_MASS * (LINK / 2) ** 2 + (LINK_MASS + TIP_MASS) * LINK**2

# MuJoCo's defaults for a soft limit: time constant, damping ratio, least and largest impedance, width.
TIME_CONSTANT, DAMPING_RATIO = 0.02, 1.0
LEAST_IMPEDANCE, LARGEST_IMPEDANCE, WIDTH = 0.9, 0.95, 0.001


def _inverse_inertia(c2: Array | float) -> tuple[Array | float, Array | float, Array | float]:
    """Entries 11, 12, 22 of the inverse of M."""
    m11, m12, m22 = M1 + 2 * M3 * c2 + ARMATURE, M2 + M3 * c2, M2 + ARMATURE
    determinant = m11 * m22 - m12 * m12
    return m22 / determinant, -m12 / determinant, m11 / determinant


ELBOW_RESPONSE = float(_inverse_inertia(1.0)[2])
"""Acceleration of the stretched arm's elbow under a torque of 1: MuJoCo's scale for a limit's softness."""


class State(eqx.Module):
    """Angles in rad, speeds in rad/s, time in actions."""

    angle: Float[Array, " 2"]
    """Shoulder and elbow, not wrapped."""
    speed: Float[Array, " 2"]
    time: Int[Array, ""]


@dataclass(frozen=True)
class ReacherTrace:
    """Settings of the arm, and its pure functions ``reset``, ``step`` and ``observe``."""

    noise: float = 0.0
    """Strews the start uniformly within this many times +-0.1 rad and +-0.005 rad/s; 0, as in the
    published experiments, always starts at (0.21, 0); 1 is the start of Gymnasium's Reacher."""
    horizon: int = 30
    """Actions in an episode."""

    def __post_init__(self) -> None:
        check_range("noise", self.noise, low=0)
        check_range("horizon", self.horizon, low=1)

    @property
    def task(self) -> Task:
        """Nine observations, two real actions, no constraints."""
        reach = REACH + 1e-5  # rounding
        high = (reach, reach, 2 * HEIGHT, 1.0, 1.0, 1.0, 1.0, FASTEST, FASTEST)
        low = (-reach, -reach, 0.0, -1.0, -1.0, -1.0, -1.0, -FASTEST, -FASTEST)
        return Task(
            name="ReacherTrace-v0",
            observation=Box((9,), low, high),
            action=Box((2,), (-1.0, -1.0), (1.0, 1.0)),
            horizon=self.horizon,
        )

    def reset(self, key: PRNGKeyArray) -> State:
        """At rest and stretched out, but for ``noise``."""
        drawn = jax.random.uniform(key, (2, 2), minval=-self.noise, maxval=self.noise)
        return State(ANGLE_NOISE * drawn[0], SPEED_NOISE * drawn[1], jnp.zeros((), jnp.int32))

    def observe(self, state: State) -> Float[Array, " 9"]:
        """Fingertip x, y, z (m; z is constant); cosine of shoulder, elbow; sine of shoulder, elbow;
        their speeds (rad/s)."""
        cosine, sine = jnp.cos(state.angle), jnp.sin(state.angle)
        total = state.angle[0] + state.angle[1]
        tip = jnp.stack(
            [
                LINK * cosine[0] + TIP * jnp.cos(total),
                LINK * sine[0] + TIP * jnp.sin(total),
                jnp.full_like(total, HEIGHT),
            ]
        )
        return jnp.concatenate([tip, cosine, sine, state.speed])

    def step(self, state: State, action: Float[Array, " 2"]) -> tuple[State, StepResult]:
        """Holds the torques ``200 * action`` (the action is clipped to +-1) for 0.02 s."""
        torque = GEAR * jnp.clip(action, -1.0, 1.0)
        angle, speed = jax.lax.fori_loop(
            0, SUBSTEPS, lambda _, arm: runge_kutta(arm[0], arm[1], torque), (state.angle, state.speed)
        )
        time = state.time + 1
        no = jnp.zeros((), bool)
        result = StepResult(jnp.zeros_like(speed[0]), jnp.zeros(0), no, time >= self.horizon, no)
        return State(angle, speed, time), result


def runge_kutta(
    angle: Float[Array, " 2"], speed: Float[Array, " 2"], torque: Float[Array, " 2"]
) -> tuple[Float[Array, " 2"], Float[Array, " 2"]]:
    """Angles (rad) and speeds (rad/s) after one time step of the classical method of fourth order."""
    h = TIMESTEP
    v1, a1 = speed, acceleration(angle, speed, torque)
    v2 = speed + h / 2 * a1
    a2 = acceleration(angle + h / 2 * v1, v2, torque)
    v3 = speed + h / 2 * a2
    a3 = acceleration(angle + h / 2 * v2, v3, torque)
    v4 = speed + h * a3
    a4 = acceleration(angle + h * v3, v4, torque)
    return angle + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4), speed + h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)


def acceleration(
    angle: Float[Array, " 2"], speed: Float[Array, " 2"], torque: Float[Array, " 2"]
) -> Float[Array, " 2"]:
    """Angular accelerations (rad/s^2) under motor torques (N m): the equation of motion, solved."""
    c2, s2 = jnp.cos(angle[1]), jnp.sin(angle[1])
    w11, w12, w22 = _inverse_inertia(c2)
    push1 = torque[0] - DAMPING * speed[0] + M3 * s2 * (2 * speed[0] + speed[1]) * speed[1]
    push2 = torque[1] - DAMPING * speed[1] - M3 * s2 * speed[0] ** 2
    free1, free2 = w11 * push1 + w12 * push2, w12 * push1 + w22 * push2
    limit = _limit_torque(angle[1], speed[1], free2, w22)
    return jnp.stack([free1 + w12 * limit, free2 + w22 * limit])


def _limit_torque(angle: Array, speed: Array, free: Array, response: Array | float) -> Array:
    """Torque of the soft limit on the elbow, N m; 0 within +-3 rad.

    MuJoCo lets the constraint yield: beyond the limit, the acceleration away from it is drawn towards that
    of a critically damped spring, ``a* = -b v - k d p`` with ``p`` the (negative) distance, ``v`` its rate
    and the impedance ``d(p)`` between 0.9 and 0.95. The torque ``f`` follows from
    ``a = a_free + response f`` and ``f = (a* - a) / R``, ``R = response_0 (1 - d) / d``, and never pulls.
    At most one of the two sides is active, so this scalar equation is the whole of MuJoCo's constraint
    problem, and its solution exact.
    """
    side = jnp.where(angle < 0, 1.0, -1.0)  # direction away from the limit that is nearer
    distance, rate = LIMIT + side * angle, side * speed
    b = 2 / (LARGEST_IMPEDANCE * TIME_CONSTANT)
    k = 1 / (LARGEST_IMPEDANCE * TIME_CONSTANT * DAMPING_RATIO) ** 2
    depth = jnp.clip(-distance / WIDTH, 0.0, 1.0)
    # An S-shaped way from the least to the largest impedance: two parabolas that meet in the middle.
    share = jnp.where(depth < 0.5, 2 * depth**2, 1 - 2 * (1 - depth) ** 2)
    impedance = LEAST_IMPEDANCE + (LARGEST_IMPEDANCE - LEAST_IMPEDANCE) * share
    softness = ELBOW_RESPONSE * (1 - impedance) / impedance
    wanted = -b * rate - k * impedance * distance
    force = jnp.maximum(wanted - side * free, 0.0) / (response + softness)
    return jnp.where(distance < 0, side * force, 0.0)
