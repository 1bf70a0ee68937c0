"""Reduction of blocks, the CSV file, what is not finite, signatures of failure."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.errors import SurefootError
from surefoot.training import metrics

NAN = math.nan


def test_names_of_episode_metrics_are_those_that_worlds_report():
    import equinox as eqx
    import jax

    import surefoot as sf
    from surefoot.data.trajectories import episode_metrics
    from surefoot.worlds.world import Steps
    from training.tiny import Tiny, Walk

    world = sf.make(Walk(), envs=2)

    def report(key):
        policy = Tiny().init(world.task, key).policy
        return episode_metrics(world.collect(policy, Steps(4), key)[1], world.task)

    names = eqx.filter_eval_shape(report, jax.random.key(0))
    assert set(names) == {"episodes", *metrics.episode_names(("left",))}
    for name in metrics.episode_names(("left",)):
        assert metrics.is_episode_metric(name)
        assert metrics.is_episode_metric(f"eval_{name}")
    for name in ("cost_loss", "critic_loss", "lambda/left", "returns", "episodes", "cost"):
        assert not metrics.is_episode_metric(name)


# Reduction ---------------------------------------------------------------------------------------------


def test_rounds_of_an_iteration_are_weighed_by_their_episodes():
    """Twenty short episodes and two long ones: not the mean of the rounds' means."""
    import jax.numpy as jnp

    from surefoot.data.trajectories import over_rounds

    nan = jnp.nan
    found = over_rounds(
        {
            "episodes": jnp.array([20.0, 1.0, 8.0, 0.0]),
            "return": jnp.array([50.0, 3000.0, 300.0, nan]),
            "cost/left": jnp.array([1.0, 0.0, 2.0, nan]),
            "critic_loss": jnp.array([1.0, 2.0, 3.0, nan]),
        }
    )
    np.testing.assert_allclose(found["return"], (20 * 50 + 3000 + 8 * 300) / 29, rtol=1e-6)
    np.testing.assert_allclose(found["cost/left"], 36 / 29, rtol=1e-6)
    assert float(found["episodes"]) == 29 and float(found["critic_loss"]) == 2.0
    none = over_rounds({"episodes": jnp.zeros(2), "return": jnp.array([nan, nan])})
    assert float(none["episodes"]) == 0 and np.isnan(none["return"])


def test_episode_metrics_are_means_over_episodes_and_others_over_iterations():
    """Against the mean over the single episodes, one by one."""
    chance = np.random.default_rng(0)
    episodes = chance.integers(0, 4, (6, 3))
    each = [[list(chance.normal(size=n)) for n in row] for row in episodes]
    returns = np.array([[np.mean(values) if values else NAN for values in row] for row in each])
    loss = chance.normal(size=(6, 3))
    reduced = metrics.reduce({"return": returns, "episodes": episodes, "loss": loss})
    for seed in range(3):
        together = [value for row in each for value in row[seed]]
        assert reduced["return"][seed] == pytest.approx(np.mean(together))
        assert reduced["episodes"][seed] == len(together)
        assert reduced["loss"][seed] == pytest.approx(loss[:, seed].mean())


def test_nan_is_left_out_and_stays_where_there_is_nothing_else():
    block = {"return": np.array([[NAN, NAN], [2.0, NAN]]), "episodes": np.array([[0, 0], [1, 0]])}
    block["loss"] = np.array([[NAN, NAN], [NAN, 4.0]])
    reduced = metrics.reduce(block)
    np.testing.assert_array_equal(reduced["return"], [2.0, NAN])
    np.testing.assert_array_equal(reduced["loss"], [NAN, 4.0])


def test_columns_are_in_one_order_whatever_the_order_of_the_learner():
    names = ["loss", "eval_return", "cost/zone", "violating_episodes", "alpha", "return", "episodes"]
    for shift in range(len(names)):
        mixed = {name: np.zeros(1) for name in names[shift:] + names[:shift]}
        order = list(metrics.ordered(mixed))
        assert order[:2] == ["return", "violating_episodes"]
        assert set(order[2:4]) == {"cost/zone", "episodes"}
        assert order[4:] == ["alpha", "loss", "eval_return"]


# Not finite --------------------------------------------------------------------------------------------


def find(values, name="loss", seen=False):
    return metrics.first_non_finite({name: np.array(values)}, {name: np.array([seen])})


def test_nan_and_infinity_are_found_where_they_first_are():
    assert find([[1.0], [2.0]]) is None
    assert find([[1.0], [NAN]])[:3] == ("loss", 1, 0)
    assert find([[1.0, 1.0], [1.0, math.inf]]) == ("loss", 1, 1, math.inf)
    both = {"a": np.array([[1.0], [NAN], [1.0]]), "b": np.array([[math.inf], [1.0], [1.0]])}
    assert metrics.first_non_finite(both, {})[:2] == ("b", 0)


def test_nan_is_fine_where_no_episode_ended_and_before_a_metric_exists():
    assert find([[1.0], [NAN]], "return") is None
    assert find([[1.0], [NAN]], "eval_violating_episodes/zone") is None
    assert find([[math.inf]], "return") is not None
    assert find([[NAN], [NAN], [1.0]]) is None
    assert find([[NAN]], seen=True) is not None


# The file ----------------------------------------------------------------------------------------------


def two(width):
    return st.lists(st.floats(width=width), min_size=2, max_size=2)


@given(two(64), two(32), st.integers(0, 2**60))
def test_numbers_are_read_back_to_the_bit(values, single, steps):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.csv"
        text = metrics.rows(3, steps, (0, 5), {"a": np.array(values), "b": np.array(single, np.float32)})
        path.write_bytes(metrics.header(("a", "b")) + text)
        columns = metrics.columns(path, block=2)
    assert columns["steps"].tolist() == [steps, steps]
    assert columns["seed"].tolist() == [0, 5]
    assert columns["iteration"].dtype == np.int64
    np.testing.assert_array_equal(columns["a"], values)
    np.testing.assert_array_equal(columns["b"], np.array(single))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "metrics.csv"
    text = metrics.header(("return", "loss"))
    for block in range(1, 4):
        text += metrics.rows(
            block, 8 * block, (0, 1), {"return": np.array([NAN, 1.5]), "loss": np.ones(2) / 3}
        )
    path.write_bytes(text)
    return path


def test_torn_at_any_byte_whole_blocks_are_left(file):
    whole = file.read_bytes()
    lines = whole.split(b"\n")[:-1]
    ends = np.cumsum([len(line) + 1 for line in lines])
    for length in range(len(whole) + 1):
        file.write_bytes(whole[:length])
        found = metrics.columns(file, block=2)
        complete = int(np.sum(ends <= length)) - 1  # lines after the header
        rows = len(found.get("seed", ()))
        # A line torn right before its line break, or in its last number, is not yet a line.
        assert rows == max(complete, 0) // 2 * 2
        assert set(found) == ({"iteration", "steps", "seed", "return", "loss"} if complete >= 0 else set())


def test_a_damaged_line_in_the_middle_is_named(file):
    lines = file.read_bytes().split(b"\n")
    lines[3] = b"2,16,0,1.0"
    file.write_bytes(b"\n".join(lines))
    with pytest.raises(SurefootError, match=r"metrics\.csv, line 4 is damaged; .* delete all lines"):
        metrics.columns(file, block=2)
    file.write_bytes(b"\n".join(line for line in lines if not line.startswith(b"2,")))
    assert 2 not in metrics.columns(file, block=2)["iteration"]
    file.write_text("a,b\n1,2\n")
    with pytest.raises(SurefootError, match="is not a metrics file"):
        metrics.columns(file)
    file.write_bytes(b"\xff\xfe\n")
    with pytest.raises(SurefootError, match="cannot be read"):
        metrics.columns(file)


def test_cutting_keeps_the_bytes_of_what_stays(file):
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert metrics.cut(file, 3, block=2) == whole
    assert metrics.cut(file, 2, block=2) == b"".join(lines[:5])
    assert metrics.cut(file, 0, block=2) is None
    assert metrics.cut(file.with_name("none.csv"), 3) is None


def test_a_metric_must_have_a_name_that_fits_a_column():
    with pytest.raises(SurefootError, match="cannot be named 'a,b'"):
        metrics.header(("a,b",))


# Signatures of failure ---------------------------------------------------------------------------------

ROWS = 100
CHANCE = np.random.default_rng(1)


def columns_of(seed=0, rows=ROWS, **series):
    base = {"return": np.zeros(rows), "violating_episodes": np.full(rows, 0.4)} | series
    return {"seed": np.full(rows, seed), **{name: np.asarray(values, float) for name, values in base.items()}}


def kinds(columns):
    return {key.partition(",")[0] for key in metrics.signatures(columns)}


def noise(scale, rows=ROWS):
    return CHANCE.normal(size=rows) * scale


def test_lambda_that_runs_away_is_named_with_its_seed():
    growing = np.geomspace(0.01, 1e4, ROWS)
    found = metrics.signatures(columns_of(seed=3, **{"lambda": growing}))
    assert list(found) == ["runaway lambda, seed 3"]
    assert found["runaway lambda, seed 3"].startswith("lambda grew")
    assert "runaway lambda" in kinds(columns_of(**{"multiplier/zone": growing}))


@pytest.mark.parametrize(
    "series",
    [
        {
            "lambda": np.geomspace(0.01, 1e4, ROWS),
            "violating_episodes": np.linspace(1, 0.1, ROWS),
        },  # it works
        {"lambda": np.geomspace(0.01, 1e4, ROWS), "violating_episodes": np.zeros(ROWS)},  # nothing is broken
        {"lambda": np.linspace(1, 3, ROWS)},  # steady, but slow
        {"lambda": np.linspace(0, 0.2, ROWS)},  # from nothing to little
        {"lambda": np.concatenate([np.geomspace(1, 1e4, 50), np.full(50, 1e4)])},  # it has settled
        {"lambda": np.exp(noise(2))},  # up and down
    ],
)
def test_lambda_that_does_not_run_away(series):
    assert "runaway lambda" not in kinds(columns_of(**series))


@pytest.mark.parametrize("sign", [1, -1])
def test_oscillation_is_seen_through_noise(sign):
    wave = np.sin(np.arange(ROWS) * 2 * np.pi / 12)
    violations = np.clip(0.5 + 0.4 * wave + noise(0.05), 0, 1)
    found = metrics.signatures(
        columns_of(violating_episodes=violations, **{"return": sign * wave + noise(0.1)})
    )
    assert list(found) == ["oscillation, seed 0"]
    assert ("together" if sign > 0 else "take turns") in found["oscillation, seed 0"]


@pytest.mark.parametrize("repeat", range(5))
def test_noise_and_learning_are_no_oscillation(repeat):
    # The rate of ten episodes a block, which shows in the return as well.
    violations = CHANCE.binomial(10, 0.3, ROWS) / 10
    assert not kinds(columns_of(violating_episodes=violations, **{"return": -10 * violations}))
    learning = np.linspace(0.9, 0.05, ROWS) + noise(0.05)
    assert not kinds(columns_of(violating_episodes=learning, **{"return": -learning}))


def test_a_temperature_that_has_collapsed():
    assert kinds(columns_of(alpha=np.geomspace(1, 1e-5, ROWS))) == {"temperature collapse"}
    assert not kinds(columns_of(alpha=np.geomspace(1, 1e-2, ROWS)))
    dip = np.ones(ROWS)
    dip[-2] = 1e-5
    assert not kinds(columns_of(alpha=dip))


def test_a_limit_that_is_never_kept():
    unsafe = np.ones(ROWS)
    unsafe[: ROWS // 2] = CHANCE.integers(0, 2, ROWS // 2)
    assert kinds(columns_of(unsafe=unsafe)) == {"limit never kept"}
    unsafe[-3] = 0
    assert not kinds(columns_of(unsafe=unsafe))


def test_a_density_that_is_zero_wherever_the_agent_is():
    told = metrics.faults({"zero_density": np.array([0.99, 1.0])}, (3, 4))
    assert list(told) == ["density, seed 4"] and "zero at every state" in told["density, seed 4"]
    assert not metrics.faults({"zero_density": np.array([np.nan])}, (0,))


def test_negative_costs_are_told():
    found = metrics.faults(
        {"cost/heat": np.array([0.0, -2.5, np.nan]), "return": np.array([-1.0] * 3)}, (0, 1, 2)
    )
    assert list(found) == ["cost/heat, seed 1"] and "costs -2.5" in found["cost/heat, seed 1"]


def test_nothing_is_said_of_a_short_run_or_of_no_run():
    assert not metrics.signatures(columns_of(rows=10, alpha=np.full(10, 1e-6)))
    assert not metrics.signatures({})
    assert not metrics.signatures({"seed": np.zeros(50), "demo_nll": np.full(50, NAN)})
