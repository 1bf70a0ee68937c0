"""Sets of demonstrations in memory: slices, mixtures, checks, and what is said about them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.data import demonstrations
from surefoot.data.demonstrations import Demonstrations, describe, mix
from surefoot.errors import SurefootError
from surefoot.task import Box, Discrete, Task

TASK = Task("Toy-v0", Box((3,), (-9.0,) * 3, (9.0,) * 3), Discrete(4), ("zone", "speed"), (0.0, 0.0))
REAL = dataclasses.replace(TASK, action=Box((2,), (-1.0, 0.0), (1.0, 5.0)))


def make(lengths=(3, 1, 4), *, seed=0, name="toy", act=None, constraints=("zone", "speed"), **metadata):
    """Episodes of random numbers; ``act`` is the size of real actions, ``None`` for discrete ones."""
    rng = np.random.default_rng(seed)
    steps, lengths = sum(lengths), np.array(lengths, int)
    ends = np.cumsum(lengths) - 1
    done = np.isin(np.arange(steps), ends)
    actions = rng.integers(0, 4, steps) if act is None else rng.uniform(0, 1, (steps, act))
    return Demonstrations(
        observations=rng.normal(size=(steps, 3)),
        actions=actions,
        rewards=rng.normal(size=steps),
        costs=(rng.random((steps, len(constraints))) < 0.3).astype(float),
        terminations=done,
        truncations=np.zeros(steps, bool),
        lengths=lengths,
        final_observations=rng.normal(size=(len(lengths), 3)),
        constraints=constraints,
        metadata={"environment": {"id": "Toy-v0", "options": {"board": "gap"}, "decisive": ["board"]}}
        | metadata,
        name=name,
    )


def test_types_and_writing_is_refused():
    demos = make()
    assert demos.observations.dtype == np.float32
    assert demos.actions.dtype == np.int32
    assert demos.terminations.dtype == bool
    with pytest.raises(ValueError, match="read-only"):
        demos.rewards[0] = 1


def test_the_given_arrays_stay_writable():
    given_rewards = np.zeros(1, np.float32)
    Demonstrations(np.zeros((1, 3)), np.zeros(1, int), given_rewards, np.zeros((1, 0)), np.ones(1, bool),
                   np.zeros(1, bool), np.ones(1, int), np.zeros((1, 3)))  # fmt: skip
    given_rewards[0] = 1


def test_returns_and_violations_are_sums_over_each_episode():
    demos = make()
    at = 0
    for index, length in enumerate(demos.lengths):
        rows = slice(at, at + length)
        assert demos.returns[index] == pytest.approx(float(np.sum(demos.rewards[rows], dtype=np.float64)))
        assert np.array_equal(
            demos.violating_steps[index], [sum(c > 0 for c in col) for col in demos.costs[rows].T]
        )
        assert demos.any_violating_steps[index] == sum(any(row) for row in demos.costs[rows].tolist())
        at += length


def test_an_episode_has_the_observation_after_its_last_step():
    demos = make()
    episode = demos.episode(-1)
    assert episode["observations"].shape == (5, 3)
    assert np.array_equal(episode["observations"][-1], demos.final_observations[2])
    assert np.array_equal(episode["actions"], demos.actions[4:])
    with pytest.raises(SurefootError, match="has 3 episodes; there is no episode 3"):
        demos.episode(3)


def test_slices_by_number_slice_and_mask_agree():
    demos = make()
    by_number = demos.slice([2, 0])
    assert by_number.lengths.tolist() == [4, 3]
    for given_index, taken in enumerate((2, 0)):
        expected, found = demos.episode(taken), by_number.episode(given_index)
        assert all(np.array_equal(expected[key], found[key]) for key in expected)
    mask = np.array([True, False, True])
    assert demos.slice(mask).digest() == demos.slice([0, 2]).digest() == demos.slice(slice(0, 3, 2)).digest()
    assert demos.slice([]).episodes == 0
    with pytest.raises(SurefootError, match="3 episodes"):
        demos.slice([3])
    with pytest.raises(SurefootError, match="3 episodes"):
        demos.slice(np.array([True]))


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), horizon=st.none() | st.integers(1, 8))
def test_padding_keeps_every_step_in_its_place(lengths, horizon):
    demos = make(lengths)
    observations, actions, valid = demos.padded(horizon)
    time = horizon or max(lengths)
    assert observations.shape == (len(lengths), time, 3)
    for index, length in enumerate(lengths):
        kept = min(length, time)
        episode = demos.episode(index)
        assert valid[index].tolist() == [t < kept for t in range(time)]
        assert np.array_equal(observations[index, :kept], episode["observations"][:kept])
        assert np.array_equal(actions[index, :kept], episode["actions"][:kept])
        assert not observations[index, kept:].any()
        assert not actions[index, kept:].any()


def test_the_digest_tells_data_apart_and_ignores_the_rest():
    demos = make()
    assert demos.digest() == make(name="other", seed=0, command="x").digest()
    assert demos.digest() != make(seed=1).digest()
    changed = demos.rewards.copy()
    changed[0] += 1
    assert demos.digest() != dataclasses.replace(demos, rewards=changed).digest()
    assert demos.digest() != dataclasses.replace(demos, constraints=("zone", "tilt")).digest()
    assert (
        demos.digest()
        == dataclasses.replace(demos, observations=np.asfortranarray(demos.observations)).digest()
    )


# Mixtures --------------------------------------------------------------------------------------


def test_mixing_without_shares_puts_one_after_the_other():
    first, second = make(), make((2, 2), seed=1, name="second")
    both = mix(first, second)
    assert both.lengths.tolist() == [3, 1, 4, 2, 2]
    assert both.slice([3, 4]).digest() == second.digest()
    assert [part["digest"] for part in both.metadata["mixed"]] == [first.digest(), second.digest()]
    assert both.metadata["environment"] == first.metadata["environment"]


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    share=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_shares_hold_and_no_episode_is_taken_twice(sizes, share, seed):
    first = make([1] * sizes[0], seed=1)
    second = make([2] * sizes[1], seed=2)  # told apart by their lengths
    both = mix(first, second, shares=(share, 1 - share), seed=seed)
    counts = [(both.lengths == 1).sum(), (both.lengths == 2).sum()]
    total = sum(counts)
    assert abs(counts[0] - share * total) <= 1
    assert len(np.unique(both.final_observations, axis=0)) == total
    # No larger set with these shares exists: one of the two is used up, but for rounding.
    assert any(count + 1 >= size for count, size in zip(counts, sizes, strict=True))
    assert both.digest() == mix(first, second, shares=(share, 1 - share), seed=seed).digest()


@pytest.mark.parametrize(
    "other, message",
    [
        ({"act": 2}, "action shape is .* in one and"),
        ({"constraints": ("zone",)}, "constraints is"),
        ({"environment": {"id": "Else-v0"}}, "environment is Toy-v0 in one and Else-v0"),
        (
            {"environment": {"id": "Toy-v0", "options": {"board": "island"}, "decisive": ["board"]}},
            "board is gap in one and island",
        ),
    ],
)
def test_sets_of_different_kinds_do_not_mix(other, message):
    with pytest.raises(SurefootError, match=message):
        mix(make(), make(**other))


def test_a_set_of_unknown_origin_mixes():
    assert mix(make(), make(environment=None)).episodes == 6


def test_wrong_shares_are_refused():
    for shares in ((1,), (-1, 2), (0, 0), (float("nan"), 1)):
        with pytest.raises(SurefootError, match="2 numbers >= 0"):
            mix(make(), make(), shares=shares)
    with pytest.raises(SurefootError, match="at least one set"):
        mix()


# Checks ----------------------------------------------------------------------------------------


def test_good_sets_pass():
    make().check(TASK)
    make(act=2).check(REAL)
    make(environment=None).check(TASK)
    make().check(TASK, {"board": "gap"})
    make(constraints=()).check(TASK)


@pytest.mark.parametrize("prefix", ["gymnasium:", "surefoot/"])
def test_where_an_environment_is_registered_does_not_matter(prefix):
    make().check(dataclasses.replace(TASK, name=f"{prefix}Toy-v0"))


@pytest.mark.parametrize("name", ["python:my.module.make_toy-v2", "<lambda>", "make_else"])
def test_the_name_of_ones_own_function_says_nothing(name):
    make().check(dataclasses.replace(TASK, name=name))
    make(environment={"id": name}).check(TASK)


def changed(demos, key, place, value):
    values = np.array(getattr(demos, key), np.float64 if key != "actions" else None)
    values[place] = value
    return dataclasses.replace(demos, **{key: values})


@pytest.mark.parametrize(
    "demos, task, words",
    [
        (make(), dataclasses.replace(TASK, name="Else-v0"), ["made for 'Toy-v0', not for 'Else-v0'"]),
        (make(), dataclasses.replace(TASK, name="Toy-v1"), ["made for 'Toy-v0', not for 'Toy-v1'"]),
        (make(()), TASK, ["'toy' holds no episodes", "collect"]),
        (
            make(),
            dataclasses.replace(TASK, observation=Box((5,), (0.0,) * 5, (1.0,) * 5)),
            ["observations of 3 numbers", "gives 5"],
        ),
        (make(act=2), TASK, ["2 real numbers", "4 discrete"]),
        (make(), REAL, ["one discrete number", "takes 2 real"]),
        (make(act=3), REAL, ["3 numbers", "takes 2 real"]),
        (
            changed(make(), "actions", 5, 4),
            TASK,
            ["1 actions out of range", "4 at step 1 of episode 2", "0 to 3"],
        ),
        (changed(make(), "actions", 0, -1), TASK, ["-1 at step 0 of episode 0"]),
        (
            changed(make(act=2), "actions", (3, 1), 5.1),
            REAL,
            ["5.1 at step 0 of episode 1", "5"],
        ),
        (
            changed(make(), "observations", (4, 2), np.nan),
            TASK,
            ["1 observations", "NaN", "step 0 of episode 2"],
        ),
        (changed(make(), "rewards", 1, np.inf), TASK, ["1 rewards", "step 1 of episode 0"]),
        (changed(make(), "costs", (7, 0), np.nan), TASK, ["1 costs", "step 3 of episode 2"]),
        (changed(make(), "final_observations", (1, 0), np.nan), TASK, ["the end of episode 1"]),
        (changed(make(act=2), "actions", (0, 0), np.nan), REAL, ["1 actions", "NaN"]),
        (changed(make(), "rewards", 0, 1e300), TASK, ["rewards that are not finite"]),
    ],
)
def test_one_clear_line_for_each_fault(demos, task, words):
    with pytest.raises(SurefootError) as caught:
        demos.check(task)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_another_board_is_another_environment():
    with pytest.raises(SurefootError, match="board = 'gap', but this world has board = 'island'"):
        make().check(TASK, {"board": "island"})


def test_a_bound_may_be_rounded_over():
    edge = changed(make(act=2), "actions", (0, 1), np.nextafter(np.float32(5), np.float32(6)))
    edge.check(REAL)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"rewards": np.zeros(7)}, "rewards has shape"),
        ({"costs": np.zeros((8, 3))}, "costs has shape"),
        ({"lengths": np.array([8, 0])}, "without steps"),
        ({"final_observations": np.zeros((2, 3))}, "final_observations has shape"),
        ({"observations": np.zeros(8)}, r"needs observations \[steps, obs\]"),
        ({"actions": np.full(8, 0.5)}, r"not whole numbers; give real actions as \[steps, act\]"),
        ({"actions": np.full(8, np.nan)}, "not whole numbers"),
        ({"actions": np.arange(8) + 2**32}, r"actions from 4294967296 to .* must be below 2\^31"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(fields, words):
    with pytest.raises(SurefootError, match=words):
        dataclasses.replace(make(), **fields)


def test_actions_are_numbers_of_a_kind_by_their_shape(tmp_path):
    """Otherwise a set would be another one when it is read back, and a run on it could not go on."""
    whole = dataclasses.replace(make((2, 3)), actions=np.ones((5, 2), np.int64))
    assert whole.actions.dtype == np.float32
    demonstrations.save(whole, tmp_path / "set")
    assert demonstrations.load(str(tmp_path / "set")).digest() == whole.digest()
    discrete = dataclasses.replace(make((2, 3)), actions=np.array([0.0, 1, 2, 1, 0]))
    assert discrete.actions.dtype == np.int32


# Descriptions ----------------------------------------------------------------------------------


def test_a_description_counts_what_is_there():
    demos = make((2, 3), constraints=("zone",))
    demos = dataclasses.replace(
        demos,
        actions=np.array([0, 0, 3, 1, 0]),
        rewards=np.array([1, 2, -1, -1, -1]),
        costs=np.array([[0.0], [2.5], [0], [0], [0]]),
    )
    about = describe(demos)
    assert about["episodes"] == 2
    assert about["steps"] == 5
    assert about["lengths"] == {"min": 2, "mean": 2.5, "max": 3}
    assert about["returns"] == {"min": -3, "mean": 0, "max": 3}
    assert about["terminated"] == 2
    assert about["truncated"] == 0
    assert about["violations"]["zone"] == {
        "violating_steps": 1,
        "violating_steps_per_episode": 0.5,
        "violating_episodes": 1,
    }
    assert about["actions"] == {"kind": "discrete", "n": 4, "counts": [3, 1, 0, 1]}
    assert about["digest"] == demos.digest()


def test_a_description_of_real_actions_and_of_nothing():
    about = describe(make(act=2))
    assert about["actions"]["kind"] == "continuous"
    assert len(about["actions"]["mean"]) == 2
    nothing = describe(make(()))
    assert nothing["lengths"] is None
    assert nothing["violations"]["any"]["violating_steps_per_episode"] == 0


def test_importing_the_module_needs_no_jax():
    code = "import sys, surefoot.data.demonstrations as d; d.bundled(); assert 'jax' not in sys.modules"
    source = str(Path(demonstrations.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env={"PYTHONPATH": source})


def test_the_public_name():
    import surefoot

    assert surefoot.demonstrations is demonstrations
