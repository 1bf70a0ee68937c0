"""The arm: against Lagrange's equation, conserved quantities, and MuJoCo's own trajectories."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import surefoot as sf
from oracles import reacher as oracle
from probe.precision import double_precision
from surefoot.envs import reacher_trace as arm
from surefoot.envs.reacher_trace import ReacherTrace, State
from surefoot.errors import SurefootError
from surefoot.worlds.world import Episodes


def test_masses_are_those_of_the_shapes() -> None:
    assert pytest.approx(oracle.MASS, rel=1e-9) == arm.LINK_MASS
    assert pytest.approx(oracle.INERTIA, rel=1e-7) == arm.LINK_INERTIA
    assert pytest.approx(arm.LINK / 2) == oracle.CENTRE


def random_states(n: int, seed: int, elbow: float) -> tuple[np.ndarray, np.ndarray]:
    """Angles with the elbow within +-``elbow``, and speeds, ``[n, 2]``."""
    rng = np.random.default_rng(seed)
    angle = np.stack([rng.uniform(-9, 9, n), rng.uniform(-elbow, elbow, n)], axis=1)
    return angle, rng.normal(0, 30, (n, 2))


def states(angle: np.ndarray, speed: np.ndarray) -> State:
    """As many arms."""
    return jax.vmap(lambda q, v: State(q, v, jnp.zeros((), jnp.int32)))(
        jnp.asarray(angle), jnp.asarray(speed)
    )


def test_accelerations_are_lagranges() -> None:
    angle, speed = random_states(500, 0, elbow=2.99)
    torque = np.random.default_rng(1).uniform(-200, 200, (500, 2))
    with double_precision():
        given = [jnp.asarray(x) for x in (angle, speed, torque)]
        found = np.asarray(jax.jit(jax.vmap(arm.acceleration))(*given))
        expected = np.asarray(jax.jit(jax.vmap(oracle.acceleration))(*given))
    np.testing.assert_allclose(found, expected, atol=1e-9, rtol=1e-9)


def test_energy_is_kept_without_damping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Light motors, so that the coupling of the links matters; the elbow runs against no limit."""
    monkeypatch.setattr(arm, "DAMPING", 0.0)
    monkeypatch.setattr(arm, "ARMATURE", 1e-5)
    monkeypatch.setattr(arm, "LIMIT", np.inf)

    def run(angle: jax.Array, speed: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(carry: tuple, _: None) -> tuple:
            carry = arm.runge_kutta(*carry, jnp.zeros(2))
            return carry, (oracle.energy(*carry, armature=1e-5), carry[1])

        return jax.lax.scan(step, (angle, speed), length=400)[1]

    with double_precision():
        angle, speed = jnp.array([0.3, 1.0]), jnp.array([4.0, -7.0])
        before = oracle.energy(angle, speed, armature=1e-5)
        energies, speeds = (np.asarray(x) for x in jax.jit(run)(angle, speed))
    np.testing.assert_allclose(energies, float(before), rtol=1e-5)
    assert np.ptp(speeds[:, 1]) > 1  # there was something to exchange


def test_the_mirrored_arm_moves_mirrored() -> None:
    env = ReacherTrace()
    angle, speed = random_states(300, 2, elbow=3.1)
    action = np.random.default_rng(3).uniform(-1, 1, (300, 2))
    step = jax.jit(jax.vmap(env.step))
    one, _ = step(states(angle, speed), jnp.asarray(action))
    other, _ = step(states(-angle, -speed), jnp.asarray(-action))
    np.testing.assert_array_equal(one.angle, -other.angle)
    np.testing.assert_array_equal(one.speed, -other.speed)


def test_an_episode_starts_stretched_out_and_lasts_thirty_actions() -> None:
    world = sf.make("ReacherTrace-v0", envs=2)

    class Full:
        def act(self, observation: jax.Array, key: jax.Array) -> jax.Array:
            return jnp.array([2.0, 0.0])  # is clipped to 1

    _, batch = world.collect(Full(), Episodes(2), jax.random.key(0))
    assert batch.observation.shape == (30, 2, 9)
    start = np.float32([0.21, 0, 0.01, 1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(batch.observation[0], np.stack([start, start]), atol=1e-7)
    assert bool(batch.truncated[-1].all()) and not np.asarray(batch.terminated).any()
    assert not np.asarray(batch.reward).any() and batch.cost.shape[-1] == 0
    # One flywheel under constant torque and damping: v = 200 (1 - exp(-t)), but for the links' inertia.
    np.testing.assert_allclose(batch.next_observation[-1, :, 7], 200 * (1 - np.exp(-0.6)), rtol=2e-3)


def test_observations_are_the_arms_geometry() -> None:
    angle = jnp.array([np.pi / 2, -np.pi / 2])
    seen = ReacherTrace().observe(State(angle, jnp.array([3.0, -4.0]), jnp.zeros((), jnp.int32)))
    np.testing.assert_allclose(seen, [0.11, 0.1, 0.01, 0, 0, 1, -1, 3, -4], atol=1e-7)


def test_noise_strews_the_start() -> None:
    drawn = jax.vmap(ReacherTrace(noise=1.0).reset)(jax.random.split(jax.random.key(0), 2000))
    np.testing.assert_allclose(np.abs(drawn.angle).max(0), 0.1, atol=1e-3)
    np.testing.assert_allclose(np.abs(drawn.speed).max(0), 0.005, atol=1e-4)
    np.testing.assert_allclose(np.mean(drawn.angle, 0), 0, atol=0.005)
    still = jax.vmap(ReacherTrace().reset)(jax.random.split(jax.random.key(0), 10))
    assert not np.asarray(still.angle).any() and not np.asarray(still.speed).any()


def test_wrong_options_are_refused() -> None:
    with pytest.raises(SurefootError, match="noise"):
        sf.make("ReacherTrace-v0", noise=-1.0)
    with pytest.raises(SurefootError, match="horizon"):
        ReacherTrace(horizon=0)


def stock_reacher(mujoco):
    """Gymnasium's Reacher; its target stands still and touches nothing."""
    folder = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
    model = mujoco.MjModel.from_xml_path(str(folder / "reacher.xml"))
    model.opt.tolerance = 0.0  # let the solver of the soft limit run to the end
    return model


def test_numbers_are_those_of_mujocos_model() -> None:
    mujoco = pytest.importorskip("mujoco")
    model = stock_reacher(mujoco)
    np.testing.assert_allclose(model.body_mass[1:4], [arm.LINK_MASS, arm.LINK_MASS, arm.TIP_MASS])
    np.testing.assert_allclose(
        model.body_inertia[1:4, 1], [arm.LINK_INERTIA, arm.LINK_INERTIA, arm.TIP_INERTIA]
    )
    assert model.dof_invweight0[1] == pytest.approx(arm.ELBOW_RESPONSE)
    assert (model.dof_armature[:2] == arm.ARMATURE).all() and (model.dof_damping[:2] == arm.DAMPING).all()
    assert (model.actuator_gear[:, 0] == arm.GEAR).all() and model.opt.timestep == arm.TIMESTEP
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    np.testing.assert_array_equal(model.jnt_range[1], [-arm.LIMIT, arm.LIMIT])
    np.testing.assert_array_equal(model.jnt_solref[1], [arm.TIME_CONSTANT, arm.DAMPING_RATIO])
    np.testing.assert_array_equal(
        model.jnt_solimp[1], [arm.LEAST_IMPEDANCE, arm.LARGEST_IMPEDANCE, arm.WIDTH, 0.5, 2]
    )


def test_trajectories_are_mujocos() -> None:
    """From random states, some beyond the limit; actions random or held, which drives into the limit."""
    mujoco = pytest.importorskip("mujoco")
    model = stock_reacher(mujoco)
    data = mujoco.MjData(model)
    n, time = 150, 30
    angle, speed = random_states(n, 4, elbow=3.05)
    actions = np.random.default_rng(5).uniform(-1, 1, (time, n, 2))
    actions[:, :50] = np.sign(actions[0, :50])
    expected, limited = np.zeros((time, n, 4)), 0
    for i in range(n):
        mujoco.mj_resetData(model, data)
        data.qpos[:2], data.qvel[:2] = angle[i], speed[i]
        for t in range(time):
            data.ctrl[:] = actions[t, i]
            mujoco.mj_step(model, data, arm.SUBSTEPS)
            expected[t, i] = [*data.qpos[:2], *data.qvel[:2]]
            limited += data.nefc > 0
    assert limited > 200  # the sample exercises the limit

    def run(start: State) -> jax.Array:
        def step(state: State, action: jax.Array) -> tuple[State, jax.Array]:
            state, _ = jax.vmap(ReacherTrace().step)(state, action)
            return state, jnp.concatenate([state.angle, state.speed], axis=1)

        return jax.lax.scan(step, start, jnp.asarray(actions))[1]

    with double_precision():
        found = np.asarray(jax.jit(run)(states(angle, speed)))
    np.testing.assert_allclose(found, expected, atol=1e-5)  # angles rad, speeds rad/s up to 100
    assert np.median(np.abs(found - expected).max(axis=(0, 2))) < 1e-10
