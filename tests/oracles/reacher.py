"""The two-link arm from its shape alone: masses by integration, motion by Lagrange's equation. No MuJoCo."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import quad

RADIUS, LENGTH, TIP, DENSITY = 0.01, 0.1, 0.11, 1000.0


def _moment(power: int) -> float:
    """Integral of x^power over a capsule from 0 to LENGTH along x, times the density."""

    def slice_area(x: float) -> float:
        beyond = max(-x, x - LENGTH, 0.0)
        return np.pi * (RADIUS**2 - beyond**2)

    cuts = [-RADIUS, 0.0, LENGTH, LENGTH + RADIUS]
    pieces = zip(cuts[:-1], cuts[1:], strict=True)
    return DENSITY * sum(quad(lambda x: x**power * slice_area(x), a, b, epsabs=1e-16)[0] for a, b in pieces)


def _width() -> float:
    """Integral of y^2 over the capsule, times the density."""

    def slice_moment(x: float) -> float:
        beyond = max(-x, x - LENGTH, 0.0)
        return np.pi * (RADIUS**2 - beyond**2) ** 2 / 4

    cuts = [-RADIUS, 0.0, LENGTH, LENGTH + RADIUS]
    pieces = zip(cuts[:-1], cuts[1:], strict=True)
    return DENSITY * sum(quad(slice_moment, a, b, epsabs=1e-18)[0] for a, b in pieces)


MASS = _moment(0)
CENTRE = _moment(1) / MASS
INERTIA = _moment(2) - MASS * CENTRE**2 + _width()
"""About the axis across its centre of mass."""
TIP_MASS = DENSITY * 4 / 3 * np.pi * RADIUS**3
TIP_INERTIA = 0.4 * TIP_MASS * RADIUS**2


def energy(angle: jax.Array, speed: jax.Array, armature: float = 1.0) -> jax.Array:
    """Kinetic energy, J, of links, fingertip and motors."""

    def places(angle: jax.Array) -> tuple[jax.Array, ...]:
        first = jnp.stack([jnp.cos(angle[0]), jnp.sin(angle[0])])
        second = jnp.stack([jnp.cos(angle[0] + angle[1]), jnp.sin(angle[0] + angle[1])])
        elbow = LENGTH * first
        return CENTRE * first, elbow + CENTRE * second, elbow + TIP * second

    _, velocities = jax.jvp(places, (angle,), (speed,))
    moved = sum(m * v @ v for m, v in zip((MASS, MASS, TIP_MASS), velocities, strict=True))
    turned = INERTIA * speed[0] ** 2 + (INERTIA + TIP_INERTIA) * (speed[0] + speed[1]) ** 2
    return (moved + turned + armature * speed @ speed) / 2


def acceleration(angle: jax.Array, speed: jax.Array, torque: jax.Array) -> jax.Array:
    """Lagrange: d/dt dT/dq' - dT/dq = torque - damping q' (damping 1, no limit on the elbow)."""
    inertia = jax.hessian(energy, argnums=1)(angle, speed)
    _, drift = jax.jvp(lambda q: jax.grad(energy, argnums=1)(q, speed), (angle,), (speed,))
    force = torque - speed + jax.grad(energy, argnums=0)(angle, speed)
    return jnp.linalg.solve(inertia, force - drift)
