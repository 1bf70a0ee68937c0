"""The maze's physics: against an integrator written from the description, and against arguments."""

from __future__ import annotations

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracles import marble_maze as oracle
from probe.precision import double_precision
from surefoot.envs import marble_maze_board as geometry
from surefoot.envs.env import StepResult
from surefoot.envs.marble_maze import HORIZON, MarbleMaze, Peaks, State
from surefoot.errors import SurefootError

ALL = ("zone", "speed", "tilt", "contact")


def free_points(n: int, seed: int, margin: float = 8.5) -> np.ndarray:
    """Positions [n, 2] where the ball touches nothing."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(32, 448, (40 * n, 2))
    clear = (points.min(1) > 32 + margin) & (points.max(1) < 448 - margin)
    clear &= geometry.barrier_distance(points) > margin
    return points[clear][:n]


Motion = dict[str, np.ndarray]
"""Position, velocity, tilt, rate, each [n, 2] float64."""


def random_motion(n: int, seed: int, speed: float = 3.0) -> Motion:
    """Anywhere, in any motion, with random rates."""
    rng = np.random.default_rng(seed)
    return {
        "position": free_points(n, seed),
        "velocity": rng.normal(0, speed / 2, (n, 2)).clip(-speed, speed),
        "tilt": rng.uniform(-0.5, 0.5, (n, 2)),
        "rate": rng.integers(-1, 2, (n, 2)).astype(float),
    }


def run_frames(maze: MarbleMaze, motion: Motion) -> tuple[State, Peaks]:
    """One decision of each, in double precision; NumPy leaves [n, ...]."""

    with double_precision():
        given = jax.tree.map(jnp.asarray, motion)
        assert given["position"].dtype == jnp.float64
        return jax.tree.map(np.asarray, _frames(maze, given))


@partial(jax.jit, static_argnums=0)
def _frames(maze: MarbleMaze, motion: dict[str, jax.Array]) -> tuple[State, Peaks]:
    return jax.vmap(lambda m: maze.frames(State(**m, time=jnp.zeros((), jnp.int32))))(motion)


def oracle_decisions(motion: Motion) -> tuple[np.ndarray, list[oracle.Seen]]:
    """After each decision: x, y, vx, vy, tilt_x, tilt_y [n, 6], and what happened."""
    after, seen = [], []
    for place, velocity, tilt, rate in zip(*motion.values(), strict=True):
        ball = oracle.Ball(*map(float, (*place, *velocity, *tilt)))
        seen.append(oracle.decide(ball, round(float(rate[0])), round(float(rate[1]))))
        after.append([ball.x, ball.y, ball.vx, ball.vy, ball.tilt_x, ball.tilt_y])
    return np.array(after), seen


def test_decisions_agree_with_the_slow_integrator() -> None:
    motion = random_motion(6000, seed=1)
    expected, seen = oracle_decisions(motion)
    after, peaks = run_frames(MarbleMaze(), motion)
    np.testing.assert_allclose(
        np.concatenate([after.position, after.velocity, after.tilt], axis=1), expected, atol=1e-8
    )
    np.testing.assert_allclose(peaks.impact, [max(s.impacts, default=0.0) for s in seen], atol=1e-8)
    np.testing.assert_allclose(np.sqrt(peaks.squared_speed), [max(s.speeds) for s in seen], atol=1e-8)
    assert sum(bool(s.impacts) for s in seen) > 600  # the sample exercises contacts


def test_long_trajectory_agrees_with_the_slow_integrator() -> None:
    rates = np.repeat(np.random.default_rng(5).integers(-1, 2, (20, 2)), 5, axis=0).astype(float)
    motion = random_motion(1, seed=2, speed=1.0)
    ball = oracle.Ball(*map(float, np.concatenate([motion[k][0] for k in ("position", "velocity", "tilt")])))
    contacts, maze = 0, MarbleMaze()
    for rate in rates:
        state, _ = run_frames(maze, {**motion, "rate": rate[None]})
        motion = {name: getattr(state, name) for name in ("position", "velocity", "tilt")}
        contacts += len(oracle.decide(ball, int(rate[0]), int(rate[1])).impacts)
        np.testing.assert_allclose(motion["position"][0], [ball.x, ball.y], atol=1e-6)
    assert contacts > 5


@pytest.mark.parametrize("board", ["gap", "island"])
def test_flags_agree_with_brute_force_over_the_frames(board: str) -> None:
    maze = MarbleMaze(
        board=board, constraints=ALL, speed_limit=1.3, tilt_limit=0.3, contact_limit=0.4, goal_radius=24.0
    )
    motion = random_motion(4000, seed=3, speed=1.4)
    motion["tilt"] *= 0.8
    _, seen = oracle_decisions(motion)

    def one(motion: dict[str, jax.Array], action: jax.Array) -> StepResult:
        return maze.step(State(**motion, time=jnp.zeros((), jnp.int32)), action)[1]

    action = (3 * (motion["rate"][:, 0] + 1) + motion["rate"][:, 1] + 1).astype(np.int32)
    single = {name: jnp.asarray(values, jnp.float32) for name, values in motion.items()}
    result = jax.jit(jax.vmap(one))(single, jnp.asarray(action))
    discs = [(disc.x, disc.y, disc.radius) for disc in geometry.board(board).zones]
    margins = np.array(
        [
            [
                max(r - np.hypot(x - zx, y - zy) for x, y in s.places for zx, zy, r in discs),
                max(s.speeds) - maze.speed_limit,
                max(s.tilts) - (maze.tilt_limit + 0.005),
                max(s.impacts, default=0.0) - maze.contact_limit,
            ]
            for s in seen
        ]
    )
    clear = np.abs(margins) > 1e-3  # nearer than that, single precision may decide either way
    assert clear.mean() > 0.98
    np.testing.assert_array_equal(np.asarray(result.cost)[clear], (margins > 0)[clear])
    assert ((margins > 0).sum(axis=0) > 20).all()
    goal = np.array([min(np.hypot(x - 80, y - 80) for x, y in s.places) for s in seen])
    sure = np.abs(goal - maze.goal_radius) > 1e-3
    np.testing.assert_array_equal(np.asarray(result.terminated)[sure], (goal <= maze.goal_radius)[sure])
    assert (goal <= maze.goal_radius).sum() > 20


def test_a_tilt_of_exactly_the_limit_is_no_violation() -> None:
    maze = MarbleMaze(constraints=("tilt",), tilt_limit=0.24)
    state = maze.reset_at(jnp.array([400.0, 300.0]))
    costs = []
    step = jax.jit(maze.step)
    for action in (7, 7, 4, 7):  # tilt about x: 0.12, 0.24, 0.24, 0.36
        state, result = step(state, jnp.asarray(action))
        costs.append(float(result.cost[0]))
    assert costs == [0.0, 0.0, 0.0, 1.0]


def test_energy_identity_of_semi_implicit_euler() -> None:
    """With constant pull a and no contact, v^2/2 - a.x falls by |a|^2/2 in each frame, exactly."""
    rng = np.random.default_rng(0)
    n = 300
    tilt = rng.uniform(-0.3, 0.3, (n, 2))
    velocity = rng.uniform(-0.5, 0.5, (n, 2))
    position = np.array([380.0, 330.0]) + rng.uniform(-20, 20, (n, 2))  # nothing within reach of a decision
    pull = 0.05 * np.stack([-tilt[:, 1], tilt[:, 0]], axis=1)

    def energy(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        return (v**2).sum(1) / 2 - (pull * x).sum(1)

    after, peaks = run_frames(
        MarbleMaze(), {"position": position, "velocity": velocity, "tilt": tilt, "rate": np.zeros((n, 2))}
    )
    assert peaks.impact.max() == 0.0
    gained = energy(after.position, after.velocity) - energy(position, velocity)
    np.testing.assert_allclose(gained, -12 * (pull**2).sum(1) / 2, atol=1e-10)


def test_energy_never_grows_in_a_contact() -> None:
    motion = random_motion(3000, seed=8)
    motion["tilt"] *= 0
    motion["rate"] *= 0
    after, peaks = run_frames(MarbleMaze(), motion)
    before, later = (motion["velocity"] ** 2).sum(1), (after.velocity**2).sum(1)
    hit = peaks.impact > 0
    assert hit.sum() > 300
    assert (later <= before + 1e-12).all()
    np.testing.assert_allclose(later[~hit], before[~hit], rtol=1e-12)  # level tray: no force


def mirrored(motion: Motion) -> Motion:
    """Mirror image in x = y. Tilt about x moves y and tilt about y moves -x, so they swap with a sign."""
    sign = {"position": 1, "velocity": 1, "tilt": -1, "rate": -1}
    return {name: sign[name] * values[:, ::-1] for name, values in motion.items()}


def test_mirror_symmetry_of_tray_and_island() -> None:
    maze, motion = MarbleMaze(board="island"), random_motion(4000, seed=4)
    after, peaks = run_frames(maze, motion)
    image, image_peaks = run_frames(maze, mirrored(motion))
    expected = mirrored({name: getattr(after, name) for name in motion})
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(image, name), values, atol=1e-9)
    for one, other in zip(jax.tree.leaves(peaks), jax.tree.leaves(image_peaks), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize(
    ("place", "velocity", "after"),
    [
        ((438.0, 300.0), (2.5, 0.3), (-0.625, 0.3)),  # right wall
        ((42.0, 200.0), (-2.5, 0.3), (0.625, 0.3)),  # left wall
        ((60.0, 42.0), (0.3, -2.5), (0.3, 0.625)),  # upper wall
        ((300.0, 438.0), (0.3, 2.5), (0.3, -0.625)),  # lower wall
        ((246.0, 208.0), (2.5, 0.0), (-0.625, 0.0)),  # left end of barrier A
        ((272.0, 234.0), (0.0, -2.5), (0.0, 0.625)),  # lower end of barrier A
        ((208.0, 246.0), (0.0, 2.5), (0.0, -0.625)),  # upper end of barrier B
        ((234.0, 272.0), (-2.5, 0.0), (0.625, 0.0)),  # right end of barrier B
    ],
)
def test_restitution_at_walls_and_ends(
    place: tuple[float, float], velocity: tuple[float, float], after: tuple[float, float]
) -> None:
    """The component along the normal turns and keeps a quarter; the other one stays."""
    maze = MarbleMaze()
    state = eqx.tree_at(lambda s: s.velocity, maze.reset_at(jnp.array(place)), jnp.array(velocity))
    state, peaks = maze.frames(state)
    np.testing.assert_allclose(state.velocity, after, atol=1e-5)
    np.testing.assert_allclose(peaks.impact, 2.5, atol=1e-5)


@pytest.mark.parametrize(
    ("place", "normal"), [((330.0, 105.0), (-1, -1)), ((105.0, 330.0), (-1, -1)), ((380.0, 145.0), (1, 1))]
)
def test_slides_along_diagonals(place: tuple[float, float], normal: tuple[int, int]) -> None:
    """The component along the normal is lost, the one along the diagonal stays."""
    n = np.array(normal) / np.sqrt(2)
    along = np.array([n[1], -n[0]])
    maze = MarbleMaze()
    velocity = jnp.asarray(-2.0 * n + 0.7 * along, jnp.float32)
    state = eqx.tree_at(lambda s: s.velocity, maze.reset_at(jnp.array(place)), velocity)
    state, peaks = maze.frames(state)
    np.testing.assert_allclose(state.velocity, 0.7 * along, atol=1e-5)
    np.testing.assert_allclose(peaks.impact, 2.0, atol=1e-5)


@partial(jax.jit, static_argnums=(0, 2, 3))
def wander(maze: MarbleMaze, key: jax.Array, envs: int, time: int) -> State:
    """States [time, envs] of random play that holds each action for about eight decisions."""

    def step(carry: tuple, key: jax.Array) -> tuple:
        states, action = carry
        key_change, key_action = jax.random.split(key)
        change = jax.random.bernoulli(key_change, 1 / 8, (envs,))
        action = jnp.where(change, jax.random.randint(key_action, (envs,), 0, 9), action)
        states, _ = jax.vmap(maze.step)(states, action)
        return (states, action), states

    key, key_reset = jax.random.split(key)
    states = jax.vmap(maze.reset)(jax.random.split(key_reset, envs))
    _, states = jax.lax.scan(step, (states, jnp.full(envs, 4)), jax.random.split(key, time))
    return states


def test_never_penetrates_walls_and_stays_in_its_observation_space() -> None:
    maze = MarbleMaze()
    states = wander(maze, jax.random.key(3), 200, 500)  # 100,000 decisions
    places = np.asarray(states.position).reshape(-1, 2)
    assert np.isfinite(places).all()
    room = np.minimum(geometry.wall_distance(places), geometry.barrier_distance(places))
    # In the four acute pockets between a diagonal and a wall both push, and the ball may be squeezed by a
    # part of its path of one frame; its centre stays out of the walls there too.
    pocket = np.zeros(len(places), bool)
    for tip in ((13, 1), (14, 2), (1, 13), (2, 14)):
        pocket |= np.hypot(*(places - 32.0 * np.array(tip)).T) < 32
    assert room[~pocket].min() > 8 - 1e-3
    assert room.min() > 4
    assert np.mean(geometry.wall_distance(places) < 8.01) > 0.05  # it did lean on walls
    assert not any(oracle.inside_barrier(x, y) for x, y in places[::50])
    observations = np.asarray(jax.vmap(jax.vmap(maze.observe))(states)).reshape(-1, 8)
    assert (np.abs(observations) <= np.array(maze.task.observation.high) + 1e-6).all()


@pytest.mark.parametrize(
    ("kind", "plain", "at_goal", "late"), [("step", -0.1, 9.9, -0.1), ("timeout", -0.1, 9.9, -5.1)]
)
def test_rewards_and_ends(kind: str, plain: float, at_goal: float, late: float) -> None:
    maze = MarbleMaze(reward=kind)
    step = jax.jit(maze.step)
    still = jnp.asarray(4)
    _, result = step(maze.reset_at(jnp.array([400.0, 300.0])), still)
    assert (float(result.reward), bool(result.terminated), bool(result.truncated)) == (
        pytest.approx(plain),
        False,
        False,
    )
    _, result = step(maze.reset_at(jnp.array([80.0, 90.0])), still)
    assert float(result.reward) == pytest.approx(at_goal)
    assert bool(result.terminated) and bool(result.success) and not bool(result.truncated)
    state = eqx.tree_at(
        lambda s: s.time, maze.reset_at(jnp.array([400.0, 300.0])), jnp.asarray(HORIZON - 1, jnp.int32)
    )
    _, result = step(state, still)
    assert float(result.reward) == pytest.approx(late)
    assert bool(result.truncated) and not bool(result.terminated)


def test_distance_reward_is_in_cells() -> None:
    maze = MarbleMaze(reward="distance", reward_scale=1.0)
    _, result = maze.step(maze.reset_at(jnp.array([80.0 + 96.0, 80.0 + 128.0])), jnp.asarray(4))
    assert float(result.reward) == pytest.approx(-5.0)  # 3 and 4 cells away


def test_goal_at_the_last_decision_terminates_only() -> None:
    maze = MarbleMaze()
    state = maze.reset_at(jnp.array([80.0, 90.0]))
    state = eqx.tree_at(lambda s: s.time, state, jnp.asarray(HORIZON - 1, jnp.int32))
    _, result = maze.step(state, jnp.asarray(4))
    assert bool(result.terminated) and not bool(result.truncated)


def test_resets_are_drawn_from_the_set_by_the_key() -> None:
    maze = MarbleMaze(starts="train/right")
    keys = jax.random.split(jax.random.key(0), 500)
    places = np.asarray(jax.vmap(maze.reset)(keys).position)
    np.testing.assert_array_equal(places, np.asarray(jax.vmap(maze.reset)(keys).position))
    known = {tuple(point) for point in geometry.starts("train/right")}
    drawn = {tuple(point) for point in places}
    assert drawn <= known
    assert len(drawn) > 0.9 * len(known)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"board": "gapp"}, "Did you mean 'gap'"),
        ({"constraints": ("zones",)}, "Did you mean 'zone'"),
        ({"constraints": ("zone", "zone")}, "twice"),
        ({"starts": "trian"}, "Did you mean 'train'"),
        ({"reward": "steps"}, "Did you mean 'step'"),
        ({"goal_radius": 0.0}, "goal_radius"),
        ({"speed_limit": float("nan")}, "speed_limit"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(SurefootError, match=message):
        MarbleMaze(**options)
