"""The two ants: their weights, their likeness to Gymnasium's ant, and what they are paid."""

from __future__ import annotations

import os
import warnings
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import surefoot as sf
from surefoot.envs.ant import CustomAnt, DisabledAnt
from surefoot.errors import SurefootError

mujoco: Any = pytest.importorskip("mujoco")
os.environ.setdefault("MUJOCO_GL", "egl")

BOTH = [CustomAnt, DisabledAnt]


def test_masses_are_the_published_ones() -> None:
    healthy, disabled = (ant().model.body_mass for ant in BOTH)
    assert healthy.sum() == pytest.approx(0.9224, abs=5e-5)
    assert disabled.sum() == pytest.approx(0.8370, abs=5e-5)
    whole, short = [0.0392, 0.0392, 0.0676], [0.0392, 0.0249, 0.0392]
    np.testing.assert_allclose(healthy, [0, 0.3387, *whole, *whole, *whole, *whole], atol=5e-5)
    np.testing.assert_allclose(disabled, [0, 0.3387, *whole, *whole, *short, *short], atol=5e-5)


def test_the_short_legs_are_at_negative_y() -> None:
    """In the default pose: feet of legs 1 to 4, and how far out they are."""
    for ant, reach in ((CustomAnt, [0.8, 0.8, 0.8, 0.8]), (DisabledAnt, [0.8, 0.8, 0.5, 0.5])):
        model = ant().model
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        for leg, (side, far) in enumerate(zip([(1, 1), (-1, 1), (-1, -1), (1, -1)], reach, strict=True)):
            geom = model.geom(f"shank_{leg + 1}")
            axis = data.geom_xmat[geom.id].reshape(3, 3)[:, 2]
            middle = data.geom_xpos[geom.id]
            ends = [middle + sign * geom.size[1] * axis for sign in (1, -1)]
            foot = max(ends, key=lambda end: np.abs(end).sum())
            np.testing.assert_allclose(foot, [side[0] * far, side[1] * far, 0.75], atol=1e-9)


def test_motors_come_in_the_published_order() -> None:
    for ant, order, gears in (
        (CustomAnt, [4, 1, 2, 3], [30] * 8),
        (DisabledAnt, [1, 2, 3, 4], [30] * 4 + [1] * 4),
    ):
        model = ant().model
        joints = [model.joint(model.actuator_trnid[i, 0]).name for i in range(8)]
        assert joints == [f"{part}_{leg}" for leg in order for part in ("hip", "ankle")]
        np.testing.assert_array_equal(model.actuator_gear[:, 0], gears)


def test_moves_as_gymnasiums_ant_but_for_what_was_changed() -> None:
    """Gymnasium's gets our motors and friction, ours gets a torso that weighs like one without a face."""
    path = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / "ant.xml"
    stock, env = mujoco.MjModel.from_xml_path(str(path)), CustomAnt()
    stock.actuator_gear[:, 0] = 30
    stock.geom_friction[:, 0] = 1.5
    for what in ("body_mass", "body_inertia", "body_ipos", "body_iquat"):
        getattr(env.model, what)[1] = getattr(stock, what)[1]
    mujoco.mj_setConst(env.model, mujoco.MjData(env.model))
    data = mujoco.MjData(stock)
    rng = np.random.default_rng(0)
    contacts = 0
    for episode in range(3):
        env.reset(seed=episode)
        mujoco.mj_resetData(stock, data)
        data.qpos[:], data.qvel[:] = env.data.qpos, env.data.qvel
        mujoco.mj_forward(stock, data)
        for _ in range(20):
            action = rng.uniform(-1, 1, 8)
            observation, *_ = env.step(action)
            data.ctrl[:] = action
            mujoco.mj_step(stock, data, 5)
            contacts += data.ncon
            found = np.concatenate([env.data.qpos[:2], observation[:27]])
            np.testing.assert_allclose(found, np.concatenate([data.qpos, data.qvel]), atol=1e-6)
    assert contacts > 30


@pytest.mark.parametrize("ant", BOTH)
@pytest.mark.parametrize("contact_forces", [False, True])
def test_what_a_step_yields(ant: Any, contact_forces: bool) -> None:
    env = ant(contact_forces=contact_forces)
    env.reset(seed=1)
    rng = np.random.default_rng(1)
    touched = 0.0
    for _ in range(60):
        action = rng.uniform(-1.2, 1.2, 8)
        before = env.data.qvel[0]
        observation, reward, terminated, truncated, info = env.step(action)
        forces = observation[27:]
        paid = before - 0.01 * (action.clip(-1, 1) ** 2).sum() - 5e-4 * (forces**2).sum()
        assert reward == pytest.approx(paid - (observation[0] < 0.2))
        assert reward == pytest.approx(sum(v for k, v in info.items() if k.startswith("reward")))
        assert not terminated and not truncated and np.abs(forces).max() <= 1
        touched = max(touched, np.abs(forces).max())
    assert (touched > 0) == contact_forces


def test_a_fall_costs_one_a_step_and_does_not_end() -> None:
    env = CustomAnt()
    env.reset(seed=0)
    env.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT  # or the floor lifts it at once
    env.data.qpos[:7] = [0, 0, 0.15, 0, 1, 0, 0]  # upside down, in the floor
    env.data.qvel[:] = 0
    _, reward, terminated, _, info = env.step(np.zeros(8))
    assert env.data.qpos[2] < 0.2 and info["reward_fallen"] == -1.0
    assert reward == pytest.approx(-1.0) and not terminated
    env.data.qpos[2], env.data.qvel[:] = 1.0, 0
    _, reward, _, _, info = env.step(np.zeros(8))
    assert env.data.qpos[2] > 0.2 and info["reward_fallen"] == 0.0 and reward == pytest.approx(0.0)


@pytest.mark.parametrize("ant", BOTH)
def test_starts_are_strewn_about_the_default_pose(ant: Any) -> None:
    env = ant()
    starts = np.array([env.reset(seed=seed)[0] for seed in range(300)])
    assert starts.shape == (300, 111)
    places, speeds = starts[:, :13] - [0.75, 1, *[0] * 11], starts[:, 13:27]
    assert np.abs(places).max() <= 0.1 and np.abs(places).max(0).min() > 0.095
    np.testing.assert_allclose(speeds.std(0), 0.1, rtol=0.2)
    assert not starts[:, 27:].any()
    np.testing.assert_array_equal(env.reset(seed=7)[0], starts[7])


@pytest.mark.parametrize("name", ["CustomAnt-v0", "DisabledAnt-v0"])
def test_gymnasiums_checker_has_no_complaint(name: str) -> None:
    env = gymnasium.make(f"surefoot/{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*infinity")  # speeds have no bound
        check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_worlds_know_them() -> None:
    world = sf.make("DisabledAnt-v0", envs=1, contact_forces=True)
    assert (world.task.name, world.task.horizon, world.task.constraints) == ("DisabledAnt-v0", 500, ())
    assert world.task.observation.size == 111
    with pytest.raises(SurefootError, match="Did you mean 'contact_forces'"):
        sf.make("CustomAnt-v0", contact_force=True)


def test_wrong_use_is_refused_clearly() -> None:
    env = CustomAnt()
    with pytest.raises(SurefootError, match="reset"):
        env.step(np.zeros(8))
    env.reset(seed=0)
    for action in (np.zeros(7), np.full(8, np.nan)):
        with pytest.raises(SurefootError, match="8 numbers"):
            env.step(action)
    with pytest.raises(SurefootError, match="Did you mean 'rgb_array'"):
        CustomAnt(render_mode="rgb")


@pytest.mark.skipif(find_library("EGL") is None, reason="this machine cannot draw without a screen")
def test_pictures_show_the_ant() -> None:
    env = CustomAnt(render_mode="rgb_array")
    env.reset(seed=0)
    picture: Any = env.render()
    env.close()
    assert picture.shape == (480, 480, 3) and picture.dtype == np.uint8
    red, _, blue = picture[190:290, 190:290].astype(int).mean((0, 1))
    assert red > blue + 30  # the brown body, in the middle
