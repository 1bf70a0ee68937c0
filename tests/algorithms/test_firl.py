from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array

import surefoot as sf
from oracles import marginals as oracle
from probe.playing import collect
from surefoot.algorithms.imitation.firl import Firl, analytic_gradient, drawn, mixture, mmd_witness
from surefoot.algorithms.imitation.matching import visited
from surefoot.data.demonstrations import Demonstrations
from surefoot.errors import SurefootError
from surefoot.numerics.density import Function, Gaussian, OutsideDisc, Product, UniformBox
from surefoot.numerics.divergences import divergence
from surefoot.training.run import learner_from, options_of
from surefoot.worlds.world import Episodes

# The theorem, on problems where everything is known -----------------------------------------------------


class Table(eqx.Module):
    """A reward with one parameter a state; observations are one-hot."""

    values: Array

    def __call__(self, observation):
        return observation @ self.values


def one_hot(paths, states):
    return jnp.asarray(np.eye(states, dtype=np.float32)[paths])


def theorem(problem, reward, h):
    """The gradient by the library, with every trajectory and its probability; h is ``[states]``."""
    paths, p = oracle.trajectories(problem, reward)
    _, gradient = analytic_gradient(
        jnp.asarray(h[paths], jnp.float32),
        Table(jnp.asarray(reward, jnp.float32)),
        one_hot(paths, problem.states),
        alpha=problem.alpha,
        probability=jnp.asarray(p, jnp.float32),
    )
    return np.asarray(gradient.values)


def h_of(name, expert, own):
    return np.asarray(divergence(name).h(jnp.asarray(np.log(expert / own))))


@pytest.mark.parametrize("seed", [0, 3, 4])
@pytest.mark.parametrize("name", ["fkl", "rkl", "js"])
def test_gradient_equals_finite_differences_of_the_divergence(name, seed):
    problem = oracle.random_problem(seed)
    rng = np.random.default_rng(seed)
    reward, expert = rng.normal(size=problem.states), rng.dirichlet(2 * np.ones(problem.states))
    expected = oracle.finite_differences(
        lambda r: oracle.f_divergence(name, expert, oracle.marginal(problem, r)), reward
    )
    assert np.abs(expected).max() > 0.01
    found = theorem(problem, reward, h_of(name, expert, oracle.marginal(problem, reward)))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_with_a_random_start_the_covariance_is_that_within_each_start():
    # The theorem's distribution of trajectories, exp(sum of rewards) times the dynamics', lets the reward
    # move the start as well. No policy can, so where starts differ each has a covariance of its own.
    problem = oracle.random_problem(5, random_start=True)
    rng = np.random.default_rng(5)
    reward, expert = rng.normal(size=problem.states), rng.dirichlet(2 * np.ones(problem.states))
    h = h_of("js", expert, oracle.marginal(problem, reward))
    expected = oracle.finite_differences(
        lambda r: oracle.f_divergence("js", expert, oracle.marginal(problem, r)), reward
    )
    each = [theorem(dataclasses.replace(problem, start=one), reward, h) for one in np.eye(problem.states)]
    np.testing.assert_allclose(problem.start @ np.array(each), expected, rtol=1e-3, atol=1e-5)
    assert np.abs(theorem(problem, reward, h) - expected).max() > 0.01


@pytest.mark.parametrize("seed", [0, 3, 4])
def test_where_steps_slip_the_covariance_is_too_long_but_still_a_descent(seed):
    # The theorem's distribution of trajectories would let the reward move chance itself, as with starts.
    # Here a tenth of the steps go as if the action had been drawn at random.
    problem = dataclasses.replace(oracle.random_problem(seed), slip=0.1)
    rng = np.random.default_rng(seed)
    reward, expert = rng.normal(size=problem.states), rng.dirichlet(2 * np.ones(problem.states))
    paths, p = oracle.trajectories(problem, reward)
    own = oracle.marginal(problem, reward)
    visits = np.bincount(paths.ravel(), weights=np.repeat(p, problem.horizon))
    np.testing.assert_allclose(visits / problem.horizon, own)
    expected = oracle.finite_differences(
        lambda r: oracle.f_divergence("js", expert, oracle.marginal(problem, r)), reward
    )
    found = theorem(problem, reward, h_of("js", expert, own))
    size, theirs = np.linalg.norm(found), np.linalg.norm(expected)
    assert 0.3 < np.linalg.norm(found - expected) / theirs < 0.7
    assert 1.2 < size / theirs < 1.7
    assert found @ expected / (size * theirs) > 0.95

    # Where all is chance no reward moves anything; the covariance goes on as if it did.
    problem = dataclasses.replace(problem, slip=1.0)
    h = h_of("js", expert, oracle.marginal(problem, reward))
    np.testing.assert_allclose(oracle.marginal(problem, 2 * reward), oracle.marginal(problem, reward))
    assert np.abs(theorem(problem, reward, h)).max() > 0.1


@pytest.mark.parametrize("seed", [0, 3, 4])
def test_gradient_of_a_wasserstein_distance(seed):
    problem = oracle.random_problem(seed)
    rng = np.random.default_rng(seed)
    reward, expert = rng.normal(size=problem.states), rng.dirichlet(np.ones(problem.states))
    places = rng.normal(size=(problem.states, 2))

    def distance(reward):
        return oracle.wasserstein(places, expert, oracle.marginal(problem, reward))[0]

    _, critic = oracle.wasserstein(places, expert, oracle.marginal(problem, reward))
    found = theorem(problem, reward, -critic)
    np.testing.assert_allclose(found, oracle.finite_differences(distance, reward), rtol=1e-3, atol=1e-5)


def test_gradient_of_a_maximum_mean_discrepancy():
    # Of the squared discrepancy (p - q)' K (p - q), so twice the covariance with minus its witness.
    problem = oracle.random_problem(3)
    rng = np.random.default_rng(3)
    reward, expert = rng.normal(size=problem.states), rng.dirichlet(np.ones(problem.states))
    places = rng.normal(size=(problem.states, 2))
    kernel = np.exp(-0.5 * ((places[:, None] - places) ** 2).sum(axis=-1))

    def squared(reward):
        difference = expert - oracle.marginal(problem, reward)
        return difference @ kernel @ difference

    witness = kernel @ (expert - oracle.marginal(problem, reward))
    expected = oracle.finite_differences(squared, reward)
    np.testing.assert_allclose(2 * theorem(problem, reward, -witness), expected, rtol=1e-3, atol=1e-5)


def test_the_normaliser_of_the_density_changes_nothing_for_reverse_kl():
    problem, reward = oracle.random_problem(4), np.linspace(-1, 1, 5)
    expert, own = np.random.default_rng(4).dirichlet(np.ones(5)), oracle.marginal(problem, reward)
    one = theorem(problem, reward, h_of("rkl", expert, own))
    np.testing.assert_allclose(theorem(problem, reward, h_of("rkl", 50 * expert, own)), one, atol=1e-5)
    other = theorem(problem, reward, h_of("js", expert, own))
    assert np.abs(theorem(problem, reward, h_of("js", 50 * expert, own)) - other).max() > 0.01


def test_worked_check():
    # By hand: two trajectories of two states, covariance of the sums, divided by T.
    log_ratio = jnp.array([[0.5, -1.0], [2.0, 0.0]])
    rewards = jnp.array([[1.0, 2.0], [3.0, -1.0]])
    states = jnp.eye(4).reshape(2, 2, 4)
    for name, expected in (("fkl", 0.796556), ("rkl", 0.3125), ("js", 0.191592)):
        loss, gradient = analytic_gradient(divergence(name).h(log_ratio), Table(rewards.ravel()), states)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        # The loss is linear in the table of rewards.
        np.testing.assert_allclose(jnp.sum(gradient.values * rewards.ravel()), expected, rtol=1e-5)


def test_huge_ratios_keep_their_digits():
    rng = np.random.default_rng(0)
    h, values = -np.exp(rng.uniform(9, 10, (20, 1000))), rng.normal(size=(20, 1000))
    sums, rewards = h.sum(axis=1), values.sum(axis=1)
    expected = np.mean((sums - sums.mean()) * (rewards - rewards.mean())) / 1000

    found, _ = analytic_gradient(
        jnp.asarray(h, jnp.float32), lambda s: s[..., 0], jnp.asarray(values)[..., None]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def recovered(problem, expert, name):
    """Descent along the theorem's gradient, from no reward at all."""

    @jax.jit
    def step(values, optimiser, h, states, p):
        _, gradient = analytic_gradient(h, Table(values), states, alpha=problem.alpha, probability=p)
        update, optimiser = adam.update(gradient.values, optimiser)
        return optax.apply_updates(values, update), optimiser

    adam = optax.adam(optax.cosine_decay_schedule(0.1, 500))
    values = jnp.zeros(problem.states)
    optimiser = adam.init(values)
    for _ in range(500):
        reward = np.asarray(values, np.float64)
        paths, p = oracle.trajectories(problem, reward)
        h = h_of(name, expert, oracle.marginal(problem, reward))[paths]
        values, optimiser = step(
            values, optimiser, jnp.asarray(h), one_hot(paths, problem.states), jnp.asarray(p, jnp.float32)
        )
    return np.asarray(values, np.float64)


@pytest.mark.parametrize("name", ["fkl", "js"])
def test_recovers_the_reward_up_to_a_constant_and_it_transfers(name):
    problem = oracle.random_problem(9)
    true = np.random.default_rng(9).normal(size=problem.states)
    found = recovered(problem, oracle.marginal(problem, true), name)
    difference = found - true
    np.testing.assert_allclose(difference, difference.mean(), atol=0.02)
    # Other dynamics: the soft-optimal policy there is that of the true reward.
    elsewhere = oracle.random_problem(7, horizon=6)
    ours, theirs = oracle.soft_policy(elsewhere, found), oracle.soft_policy(elsewhere, true)
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    assert np.abs(theirs - oracle.soft_policy(elsewhere, np.zeros(5))).max() > 0.3


def test_witness_of_the_maximum_mean_discrepancy():
    rng = np.random.default_rng(0)
    expert, agent, x = (rng.normal(size=(n, 3)).astype(np.float32) for n in (200, 300, 7))
    width = np.sqrt(np.median(((expert[:, None] - expert) ** 2).sum(axis=-1)))

    def mean_kernel(points):
        return np.exp(-0.5 * ((x[:, None] - points) ** 2).sum(axis=-1) / width**2).mean(axis=1)

    found = mmd_witness(*map(jnp.asarray, (expert, agent, x)))
    np.testing.assert_allclose(found, mean_kernel(expert) - mean_kernel(agent), atol=1e-5)


def test_demonstrated_trajectories_are_drawn_once_each_if_there_are_enough():
    marked = jnp.broadcast_to(jnp.arange(12.0)[:, None, None], (12, 2, 1))
    chosen = drawn(marked, 10, jax.random.key(0))[:, 0, 0]
    assert len(set(chosen.tolist())) == 10
    assert drawn(marked[:3], 10, jax.random.key(0)).shape == (10, 2, 1)


def test_agent_and_expert_share_the_covariance_in_halves():
    # By repetition: two of the agent's and six of the expert's, as if all were there six times.
    agent, expert, h = np.split(np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32), [2, 8])
    h = h[:8]
    reward = Table(jnp.ones(1))
    paths, p = mixture(jnp.asarray(agent[..., None]), jnp.asarray(expert[..., None]), 0.5)
    _, found = analytic_gradient(jnp.asarray(h), reward, paths, probability=p)
    sums = np.concatenate([np.tile(agent.sum(1), 3), expert.sum(1)])
    weights = np.concatenate([np.tile(h[:2].sum(1), 3), h[2:].sum(1)])
    np.testing.assert_allclose(found.values, np.cov(sums, weights, bias=True)[0, 1] / 3, rtol=1e-4)


# The whole method --------------------------------------------------------------------------------------

SMALL = {
    "hidden": (32, 32),
    "batch_size": 64,
    "steps_per_iteration": 160,
    "trajectories": 100,
    "expert_samples": 1_000,
}


def point_mass(envs=16):
    return sf.make("PointMass-v0", envs=envs)


def test_matches_a_density(tmp_path):
    given = SMALL | {"trajectories": 50, "kl_every": 4}
    learner = Firl(density="point-mass/gaussian", reward_updates=5, reward_activation="tanh", **given)
    run = sf.fit(learner, point_mass(), steps=180 * 160, run=tmp_path / "run", log_every=160, progress=False)
    forward = run.metrics()["forward_kl"]
    assert np.mean(forward[:5]) > 1.5
    assert np.mean(forward[-20:]) < 0.5
    # The reward is best where the density is; the start is far from there.
    reward = sf.load_reward(run.path)
    assert reward(np.array([2.0, 2.0])) > reward(np.array([0.0, 0.0])) + 1


def walks(task, episodes=4, length=29, towards=(0.12, 0.06), terminated=False):
    """Straight walks from the corner."""
    steps = np.asarray(towards, np.float32) * np.arange(length + 1, dtype=np.float32)[:, None]
    ends = np.zeros((episodes, length), bool)
    ends[:, -1] = True
    nothing = np.zeros_like(ends)
    return Demonstrations(
        observations=np.concatenate([steps[:-1]] * episodes),
        actions=np.tile(np.asarray(towards, np.float32), (episodes * length, 1)),
        rewards=np.zeros(episodes * length),
        costs=np.zeros((episodes * length, 0)),
        terminations=(ends if terminated else nothing).ravel(),
        truncations=(nothing if terminated else ends).ravel(),
        lengths=np.full(episodes, length),
        final_observations=np.stack([steps[-1]] * episodes),
    )


FAR = "point-mass/gaussian"
"""A density whose middle the agent, who starts in a corner, does not reach by chance."""


@pytest.mark.parametrize(
    "name, density",
    [("fkl", ""), ("rkl", ""), ("ipm", ""), ("mmd", ""), ("ipm", FAR)],
)
def test_the_experts_states_earn_more_than_the_agents(name, density):
    # Many steps of the reward on one set of trajectories, before the policy can follow.
    ratio = {"ratio_hidden": 32, "ratio_updates": 200, "ratio_batch_size": 64}
    given = SMALL | {"trajectories": 30, "reward_updates": 100, "reward_learning_rate": 3e-3}
    learner = Firl(divergence=name, density=density, **ratio, **given)
    world = point_mass()
    shown = None if density else walks(world.task)
    state = learner.init(world.task, jax.random.key(0), demonstrations=shown)
    _, batch = collect(world, learner.policy(state), Episodes(30), jax.random.key(1))
    agent, expert = visited(batch), state.expert.samples if density else state.expert.trajectories

    def margin(state):
        return jnp.mean(state.reward(expert)) - jnp.mean(state.reward(agent))

    before = margin(state)
    given_away = jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, (state, batch))
    after, metrics = learner.update_reward(*given_away, jax.random.key(2))
    assert margin(after) > before + 0.5
    if not density:  # whose hill is its own mirror image
        mirrored = jnp.mean(after.reward(expert[..., ::-1]))
        assert margin(after) > mirrored - jnp.mean(after.reward(agent))
    told = "discrepancy" if name == "mmd" else "discriminator_loss"
    assert np.isfinite(metrics[told])
    # What the next iteration takes is given back: of the same form.
    form = eqx.filter_eval_shape(lambda: after)
    assert eqx.tree_equal(form, eqx.filter_eval_shape(lambda: state))
    if (name, density) in (("mmd", ""), ("ipm", FAR)):  # also by the whole, traced and not compiled
        again, _, names = eqx.filter_eval_shape(learner.iteration, after, world, jax.random.key(3))
        assert eqx.tree_equal(again, form)
        assert {"return", "episodes", told, "reward_loss"} <= set(names)


def test_the_number_of_demonstrations_in_the_covariance_does_not_move_it():
    """One demonstration is the same expert however often it is drawn."""
    given = SMALL | {"trajectories": 3, "ratio_hidden": 8, "ratio_updates": 2, "ratio_batch_size": 16}
    world, after = point_mass(), []
    for number in (1, 6):
        learner = Firl(expert_trajectories=number, **given)
        state = learner.init(world.task, jax.random.key(0), demonstrations=walks(world.task, episodes=1))
        _, batch = collect(world, learner.policy(state), Episodes(3), jax.random.key(1))
        after.append(learner.update_reward(state, batch, jax.random.key(2)))
    losses = [float(metrics["reward_loss"]) for _, metrics in after]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[0] != 0


def test_settings_survive_a_record():
    for density in (Gaussian((1, 1), 2), "reacher/mixture", {"gaussian": {"mean": [0, 0], "std": 1}}):
        learner = Firl(density=density, state_indices=(0, 1))
        assert learner_from("firl", options_of(learner)) == learner
    assert learner_from("firl", options_of(Firl())) == Firl()


def test_settings_that_are_not_given_suit_what_is_given():
    with_density, with_demonstrations = Firl(density="point-mass/gaussian"), Firl()
    assert (with_density.alpha, with_density.trajectories) == (1.0, 1_000)
    assert (with_demonstrations.alpha, with_demonstrations.reward_decay) == (0.2, 1e-3)
    assert Firl(density="point-mass/gaussian", alpha=0.3).alpha == 0.3


def log_hill(points):
    return -jnp.sum((points - 2.0) ** 2, axis=-1)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Firl(divergence="fk"), "Did you mean 'fkl'"),
        (lambda: Firl(density="point-mass/gausian"), "Did you mean 'point-mass/gaussian'"),
        (
            lambda: Firl(density=Product((Gaussian((0,), 1), OutsideDisc((0,), 1)))),
            "not known to integrate to one",
        ),
        (
            lambda: Firl(density=Function(log_hill), divergence="js"),
            "not known to integrate|cannot be imported",
        ),
        (lambda: Firl(steps_per_iteration=100), "must be a multiple of steps_per_round = 80"),
        (lambda: Firl(bandwidth=0.0), "bandwidth = 0.0 is out of range"),
        (lambda: Firl(alpha=-1.0), "alpha = -1.0 is out of range"),
        (lambda: init(Firl()), "neither is given"),
        (lambda: init(Firl(density="point-mass/gaussian"), walks), "both are given"),
        (
            lambda: init(Firl(density="point-mass/gaussian", state_indices=(0,))),
            "over 2 numbers, but 1 numbers",
        ),
        (lambda: init(Firl(density="point-mass/gaussian", state_indices=(0, 2))), "entries 0 to 1"),
        (lambda: init(Firl(density="point-mass/gaussian", state_indices=(1, 1))), "names an entry twice"),
        (lambda: init(Firl(density=UniformBox((8, 8), (9, 9)))), "zero at all of 2000 states"),
        (
            lambda: init(Firl(), lambda task: walks(task, length=20)),
            "cut after 20 steps, before the horizon of",
        ),
    ],
)
def test_clear_errors(make, words):
    with pytest.raises(SurefootError, match=words):
        make()


def init(learner, demonstrations=None):
    task = point_mass(1).task
    return learner.init(task, jax.random.key(0), demonstrations=demonstrations and demonstrations(task))


def test_an_episode_that_ended_early_stays_in_its_last_state():
    state = init(Firl(), lambda task: walks(task, length=20, terminated=True))
    assert state.expert.trajectories.shape == (4, 29, 2)
    np.testing.assert_allclose(state.expert.trajectories[0, 19:], np.tile([2.4, 1.2], (10, 1)), rtol=1e-5)
    np.testing.assert_allclose(state.expert.trajectories[0, 0], [0.12, 0.06], rtol=1e-5)


def test_settings_can_be_replaced():
    assert dataclasses.replace(Firl(density="point-mass/gaussian"), divergence="rkl").alpha == 1.0
