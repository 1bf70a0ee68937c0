"""Sets on disk: Minari reads what we write, we read what Minari writes, and damage is one clear line."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import random
import re
import shutil
import warnings
from pathlib import Path

import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium import spaces

from surefoot.data import _minari, demonstrations
from surefoot.data.demonstrations import Demonstrations, load, save
from surefoot.errors import SurefootError
from surefoot.task import Box, Discrete, Task

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import minari
    from minari.data_collector import EpisodeBuffer


def make(lengths=(3, 1, 40), *, act=None, constraints=("zone", "speed"), name="toy", **metadata):
    rng = np.random.default_rng(7)
    steps = sum(lengths)
    done = np.isin(np.arange(steps), np.cumsum(lengths) - 1)
    return Demonstrations(
        observations=rng.normal(size=(steps, 3)),
        actions=rng.integers(0, 4, steps) if act is None else rng.uniform(-1, 1, (steps, act)),
        rewards=rng.normal(size=steps),
        costs=rng.random((steps, len(constraints))),
        terminations=done & (np.arange(steps) % 2 == 0),
        truncations=done & (np.arange(steps) % 2 == 1),
        lengths=np.array(lengths, int),
        final_observations=rng.normal(size=(len(lengths), 3)),
        constraints=constraints,
        metadata=metadata,
        name=name,
    )


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty store of Minari's."""
    place = tmp_path / "store"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(place))
    return place


@pytest.mark.parametrize("act", [None, 1, 2])
@pytest.mark.parametrize("constraints", [(), ("cost",), ("zone", "speed")])
def test_what_is_saved_is_what_is_loaded(tmp_path, act, constraints):
    demos = make(act=act, constraints=constraints, command="made up", environment={"id": "Toy-v0"})
    save(demos, tmp_path / "set")
    again = load(tmp_path / "set")
    assert again.digest() == demos.digest()
    assert (again.name, again.constraints) == ("toy", constraints)
    assert again.metadata["command"] == "made up"
    assert again.metadata["environment"] == {"id": "Toy-v0"}
    assert load(str(tmp_path / "set" / "main_data.hdf5")).digest() == demos.digest()


def test_saving_again_writes_the_same_bytes(tmp_path):
    save(make(), tmp_path / "one")
    save(load(tmp_path / "one"), tmp_path / "two")
    for file in (_minari.MAIN, _minari.METADATA):
        first, second = ((tmp_path / each / file).read_bytes() for each in ("one", "two"))
        if file == _minari.METADATA:  # what was loaded knows Minari's id
            first, second = json.loads(first), json.loads(second)
            second["surefoot"]["metadata"].pop("minari")
        assert first == second


# Ours, read by Minari --------------------------------------------------------------------------


@pytest.mark.parametrize("act", [None, 2])
def test_minari_reads_our_sets(tmp_path, store, act):
    demos = make(act=act)
    save(demos, store / "surefoot" / "toy-v0" / "data")
    task = Task(
        "Toy-v0",
        Box((3,), (-9.0,) * 3, (9.0,) * 3),
        Discrete(4) if act is None else Box((2,), (-1.0, -1.0), (1.0, 1.0)),
    )
    save(demos, tmp_path / "set", task=task)
    assert list(minari.list_local_datasets()) == demonstrations.stored() == ["surefoot/toy-v0"]
    for theirs in (minari.load_dataset("surefoot/toy-v0"), minari.MinariDataset(tmp_path / "set")):
        assert theirs.total_episodes == len(theirs) == 3
        assert theirs.total_steps == 44
        for index, episode in enumerate(theirs.iterate_episodes()):
            ours = demos.episode(index)
            assert episode.id == index
            for key in ("observations", "actions", "rewards", "terminations", "truncations"):
                assert np.array_equal(getattr(episode, key), ours[key]), key
            assert not episode.infos["cost"][0].any()
            assert np.array_equal(episode.infos["cost"][1:], ours["costs"])
    if act is None:
        assert theirs.action_space == spaces.Discrete(4)
    else:
        assert theirs.action_space == spaces.Box(-1, 1, (2,))
    assert theirs.observation_space == spaces.Box(-9, 9, (3,))
    assert load("surefoot/toy-v0").digest() == demos.digest()


def test_minari_can_filter_and_add_to_our_sets(tmp_path):
    demos = make()
    save(demos, tmp_path / "set")
    theirs = minari.MinariDataset(tmp_path / "set")
    assert theirs.filter_episodes(lambda e: len(e.rewards) > 2).total_episodes == 2
    extra = demos.episode(0)
    theirs.update_dataset_from_buffer(
        [
            EpisodeBuffer(
                **{
                    k: extra[k] for k in ("observations", "actions", "rewards", "terminations", "truncations")
                },
                infos={"cost": np.zeros((4, 2), np.float32)},
            )
        ]
    )
    assert load(tmp_path / "set").lengths.tolist() == [3, 1, 40, 3]


# Theirs, read by us ----------------------------------------------------------------------------


def buffers(observations, actions, *, infos=None, lengths=(4, 2)):
    """Episodes of Minari's with the given makers of observations and actions."""
    rng = np.random.default_rng(3)
    return [
        EpisodeBuffer(
            observations=observations(rng, n + 1),
            actions=actions(rng, n),
            rewards=rng.normal(size=n).tolist(),
            terminations=[False] * n,
            truncations=[False] * (n - 1) + [True],
            infos=None if infos is None else infos(rng, n + 1),
        )
        for n in lengths
    ]


def written(store, observation_space, action_space, episodes, *, name="theirs/set-v0", **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            name, episodes, observation_space=observation_space, action_space=action_space, **settings
        )
    return store / name / "data"


def box(shape, dtype=np.float32):
    return lambda rng, n: rng.normal(size=(n, *shape)).astype(dtype)


def whole(n_values, start=0):
    return lambda rng, n: rng.integers(start, start + n_values, n)


@pytest.mark.parametrize("kind", ["path", "id"])
def test_a_set_of_minaris_own(store, kind):
    episodes = buffers(box((3,), np.float64), box((2,)), infos=lambda rng, n: {"cost": rng.random(n)})
    path = written(
        store,
        spaces.Box(-np.inf, np.inf, (3,), np.float64),
        spaces.Box(-2, 2, (2,)),
        episodes,
        algorithm_name="somebody",
    )
    demos = load(path if kind == "path" else "theirs/set-v0")
    assert demos.name == "theirs/set-v0"
    assert demos.constraints == ("cost",)
    assert demos.metadata["minari"]["algorithm_name"] == "somebody"
    assert demos.lengths.tolist() == [4, 2]
    for index, theirs in enumerate(episodes):
        ours = demos.episode(index)
        assert np.allclose(ours["observations"], theirs.observations)
        assert np.allclose(ours["actions"], theirs.actions)
        assert np.allclose(ours["rewards"], theirs.rewards)
        assert np.allclose(ours["costs"][:, 0], theirs.infos["cost"][1:])  # the first one is the reset's
        assert ours["truncations"].tolist() == theirs.truncations
    demos.check(Task("Any-v0", Box((3,), (-9.0,) * 3, (9.0,) * 3), Box((2,), (-20.0,) * 2, (20.0,) * 2)))


def test_discrete_observations_become_one_hot_and_indices_start_at_zero(store):
    episodes = buffers(whole(5, start=2), whole(3, start=-1))
    written(store, spaces.Discrete(5, start=2), spaces.Discrete(3, start=-1), episodes)
    demos = load("theirs/set-v0")
    assert demos.observations.shape == (6, 5)
    assert demos.constraints == ()
    assert demos.costs.shape == (6, 0)
    first = demos.episode(0)
    assert np.array_equal(first["observations"].argmax(axis=1) + 2, episodes[0].observations)
    assert np.array_equal(first["observations"].sum(axis=1), np.ones(5))
    assert np.array_equal(first["actions"] - 1, episodes[0].actions)
    demos.check(Task("Any-v0", Box((5,), (0.0,) * 5, (1.0,) * 5), Discrete(3)))


def test_matrices_are_flattened(store):
    episodes = buffers(box((2, 3)), box((1, 2)))
    written(store, spaces.Box(-9, 9, (2, 3)), spaces.Box(-9, 9, (1, 2)), episodes)
    demos = load("theirs/set-v0")
    assert np.array_equal(demos.episode(1)["observations"], episodes[1].observations.reshape(3, 6))
    assert np.array_equal(demos.episode(1)["actions"], episodes[1].actions.reshape(2, 2))


@pytest.mark.parametrize(
    "infos, names, columns",
    [
        (lambda rng, n: {"cost": np.ones((n, 2))}, ("cost_0", "cost_1"), [1, 1]),
        (lambda rng, n: {"cost": {"heat": np.ones(n), "noise": np.zeros(n)}}, ("heat", "noise"), [1, 0]),
        (lambda rng, n: {"other": np.ones(n)}, (), []),
    ],
)
def test_costs_in_their_forms(store, infos, names, columns):
    written(store, spaces.Box(-9, 9, (1,)), spaces.Discrete(2), buffers(box((1,)), whole(2), infos=infos))
    demos = load("theirs/set-v0")
    assert demos.constraints == names
    assert np.array_equal(demos.costs, np.tile(columns, (6, 1)))


def test_a_recording_of_the_maze_keeps_the_names_of_its_costs(store):
    import surefoot  # makes the maze known to Gymnasium

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = gymnasium.make("surefoot/MarbleMaze-v0", constraints=("speed", "tilt"))
        collector = minari.DataCollector(env, record_infos=True)
        collector.reset(seed=1)
        for _ in range(5):
            collector.step(8)
        collector.reset()
        collector.create_dataset("mine/maze-v0")
        collector.close()
        collector._tmp_dir.cleanup()  # Minari leaves it to the garbage collector, which warns
    demos = load("mine/maze-v0")
    assert demos.constraints == ("speed", "tilt")
    assert demos.actions.tolist() == [8] * 5
    assert demos.truncations[-1]
    tilts = np.minimum(0.12 * np.arange(1, 6), 0.5)  # rad after each decision
    assert np.array_equal(demos.costs[:, 1], tilts > surefoot.MarbleMaze().tilt_limit + 0.005)
    assert demos.costs[:, 1].any()
    demos.check(Task("MarbleMaze-v0", Box((8,), (-9.0,) * 8, (9.0,) * 8), Discrete(9)))


@pytest.mark.parametrize(
    "observation_space, action_space, episodes, words",
    [
        (
            spaces.Dict({"eye": spaces.Box(-1, 1, (2,))}),
            spaces.Discrete(2),
            buffers(lambda rng, n: {"eye": np.zeros((n, 2), np.float32)}, whole(2)),
            "several parts (eye)",
        ),
        (
            spaces.Tuple((spaces.Discrete(2),)),
            spaces.Discrete(2),
            buffers(lambda rng, n: (np.zeros(n, int),), whole(2)),
            "FlattenObservation",
        ),
        (
            spaces.Box(0, 255, (64, 64, 3), np.uint8),
            spaces.Discrete(2),
            buffers(lambda rng, n: np.zeros((n, 64, 64, 3), np.uint8), whole(2)),
            "encoded images",
        ),
        (
            spaces.MultiDiscrete([2, 2]),
            spaces.Discrete(2),
            buffers(lambda rng, n: np.zeros((n, 2), int), whole(2)),
            "MultiDiscrete observations",
        ),
        (
            spaces.Box(-1, 1, (1,)),
            spaces.MultiBinary(2),
            buffers(box((1,)), lambda rng, n: np.zeros((n, 2), np.int8)),
            "MultiBinary actions",
        ),
    ],
)
def test_what_cannot_be_a_flat_vector_is_refused(store, observation_space, action_space, episodes, words):
    written(store, observation_space, action_space, episodes)
    with pytest.raises(SurefootError, match="theirs/set-v0") as caught:
        load("theirs/set-v0")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# Names -----------------------------------------------------------------------------------------


def test_an_unknown_name_gets_the_nearest(store, tmp_path, monkeypatch):
    monkeypatch.setattr(demonstrations, "BUNDLED", tmp_path / "bundled")
    monkeypatch.chdir(tmp_path)
    save(make(), tmp_path / "bundled" / "marble-maze" / "zone+speed")
    save(make(), store / "family" / "zebra-v0" / "data")
    assert load("zone+speed").digest() == load("marble-maze/zone+speed").digest() == make().digest()
    for wrong, near in (
        ("zone+sped", "zone+speed"),
        ("marble-maze/zone", "marble-maze/zone+speed"),
        ("family/zebra-v1", "family/zebra-v0"),
    ):
        with pytest.raises(SurefootError) as caught:
            load(wrong)
        assert f"Did you mean '{near}'?" in str(caught.value)
        assert "surefoot demos list" in str(caught.value)
    with pytest.raises(SurefootError, match="no folder or file"):
        load("./zone+speed")
    save(make((2,)), tmp_path / "zone+speed")
    with pytest.raises(
        SurefootError, match=re.escape("also a folder here; write 'marble-maze/zone+speed' or './zone+speed'")
    ):
        load("zone+speed")
    assert load("./zone+speed").episodes == 1


def test_other_files_are_told_apart(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SurefootError, match="neither a Minari folder"):
        load(tmp_path / "empty")
    with pytest.raises(SurefootError, match="no folder or file"):
        load(tmp_path / "nothing")


# Damage ----------------------------------------------------------------------------------------


def test_half_a_set_is_told_apart(tmp_path):
    save(make(), tmp_path / "set")
    (tmp_path / "set" / "main_data.hdf5").rename(tmp_path / "aside")
    with pytest.raises(SurefootError, match=r"has metadata.json but no main_data.hdf5"):
        load(tmp_path / "set")
    (tmp_path / "aside").rename(tmp_path / "set" / "main_data.hdf5")
    text = (tmp_path / "set" / "metadata.json").read_text()
    (tmp_path / "set" / "metadata.json").write_text(text[: len(text) // 2])
    with pytest.raises(SurefootError, match=r"metadata.json': it is damaged or cut short"):
        load(tmp_path / "set")
    (tmp_path / "set" / "metadata.json").write_text("[]")
    with pytest.raises(SurefootError, match="is not a JSON object"):
        load(tmp_path / "set")


def test_cuts_and_flipped_bytes_never_end_in_a_traceback(tmp_path):
    save(make((30,) * 6), tmp_path / "set")
    file = tmp_path / "set" / "main_data.hdf5"
    whole_file = file.read_bytes()
    rng = random.Random(5)
    refused = 0
    for round_number in range(60):
        damaged = bytearray(whole_file)
        if round_number % 2:
            damaged = damaged[: rng.randrange(len(damaged))]
        else:
            for _ in range(rng.choice((1, 5, 50))):
                damaged[rng.randrange(len(damaged))] ^= 1 + rng.randrange(255)
        file.write_bytes(damaged)
        message = None
        try:
            load(tmp_path / "set")
        except SurefootError as error:
            message = str(error)
            refused += 1
        assert message is None or (str(tmp_path) in message and "\n" not in message)
    assert refused >= 55  # all cuts; some small arrays carry no checksum


def change(path: Path, edit):
    with h5py.File(path / "main_data.hdf5", "a") as file:
        edit(file)


@pytest.mark.parametrize(
    "edit, words",
    [
        (lambda f: f.pop("episode_1"), "holds 2 episodes but metadata.json says 3"),
        (lambda f: f["episode_1"].pop("rewards"), "episode 1 has no 'rewards'"),
        (
            lambda f: (f["episode_2"].pop("actions"), f["episode_2"].create_dataset("actions", data=[1, 2])),
            "40 rewards but 2 actions",
        ),
        (
            lambda f: (
                f["episode_0"].pop("observations"),
                f["episode_0"].create_dataset("observations", data=np.zeros((3, 3))),
            ),
            "3 steps and 3 observations",
        ),
        (
            lambda f: (
                f["episode_0/infos"].pop("cost"),
                f["episode_0/infos"].create_dataset("cost", data=[1.0]),
            ),
            "3 steps and 1 rows of infos/cost",
        ),
        (lambda f: f["episode_0/infos"].pop("cost"), "0 and 2 cost columns"),
        (
            lambda f: (
                f["episode_0"].pop("actions"),
                f["episode_0"].create_dataset("actions", data=["a", "b", "c"]),
            ),
            "text, objects or encoded images",
        ),
        (
            lambda f: (
                f["episode_0"].pop("actions"),
                f["episode_0"].create_dataset("actions", data=[0.5, 1, 1]),
            ),
            "not whole numbers",
        ),
    ],
)
def test_faults_inside_are_named(tmp_path, edit, words):
    save(make(), tmp_path / "set")
    change(tmp_path / "set", edit)
    with pytest.raises(SurefootError) as caught:
        load(tmp_path / "set")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "spoiled", [{"observation_space": '{"type": "Box"}'}, {"env_spec": "{", "surefoot": {}}]
)
def test_a_description_that_does_not_fit_is_one_clear_error(tmp_path, spoiled):
    save(make(), tmp_path / "set")
    path = tmp_path / "set" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **spoiled}))
    with pytest.raises(SurefootError, match="set': it is damaged or cut short"):
        load(tmp_path / "set")


def test_another_data_format_is_named(tmp_path):
    save(make(), tmp_path / "set")
    path = tmp_path / "set" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data_format": "arrow"}))
    with pytest.raises(SurefootError, match="stores its data as arrow"):
        load(tmp_path / "set")


def test_a_set_without_spaces_is_read_by_its_types(tmp_path):
    save(make(), tmp_path / "set")
    path = tmp_path / "set" / "metadata.json"
    metadata = json.loads(path.read_text())
    del metadata["observation_space"], metadata["action_space"]
    path.write_text(json.dumps(metadata))
    assert load(tmp_path / "set").digest() == make().digest()


# Writing ---------------------------------------------------------------------------------------


def test_nothing_is_overwritten_unasked(tmp_path):
    save(make(), tmp_path / "set")
    with pytest.raises(SurefootError, match="exists; choose another place or overwrite it"):
        save(make((2,)), tmp_path / "set")
    assert load(tmp_path / "set").episodes == 3
    save(make((2,)), tmp_path / "set", overwrite=True)
    assert load(tmp_path / "set").episodes == 1
    assert sorted(os.listdir(tmp_path)) == ["set"]


def test_what_is_no_set_is_never_replaced(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("years")
    for overwrite in (False, True):
        with pytest.raises(SurefootError, match="is no set of demonstrations"):
            save(make(), tmp_path / "work", overwrite=overwrite)
        with pytest.raises(SurefootError, match="is no set of demonstrations"):
            save(make(), tmp_path / "work" / "thesis.txt", overwrite=overwrite)
    assert (tmp_path / "work" / "thesis.txt").read_text() == "years"
    (tmp_path / "empty").mkdir()
    save(make(), tmp_path / "empty")
    assert load(tmp_path / "empty").episodes == 3


@pytest.mark.parametrize("fails_in", ["_write_main", "_sync"])
def test_a_full_disk_leaves_the_old_set_alone(tmp_path, monkeypatch, fails_in):
    save(make(), tmp_path / "set")

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_minari, fails_in, no_space)
    with pytest.raises(SurefootError, match=r"No space left on device\. Free space"):
        save(make((2,)), tmp_path / "set", overwrite=True)
    monkeypatch.undo()
    assert load(tmp_path / "set").digest() == make().digest()
    assert os.listdir(tmp_path) == ["set"]


def test_equal_arrays_are_stored_once(tmp_path):
    same = make((50,) * 20)
    still = dataclasses.replace(
        same,
        rewards=np.zeros(1000),
        costs=np.zeros((1000, 2)),
        terminations=np.zeros(1000, bool),
        truncations=np.zeros(1000, bool),
    )
    save(same, tmp_path / "changing")
    save(still, tmp_path / "still")
    sizes = [(tmp_path / each / "main_data.hdf5").stat().st_size for each in ("changing", "still")]
    assert sizes[1] < 0.75 * sizes[0]
    assert load(tmp_path / "still").digest() == still.digest()


# Plain arrays ----------------------------------------------------------------------------------


def arrays(**changes):
    demos = make()
    given = {
        "observations": demos.observations,
        "actions": demos.actions,
        "lengths": demos.lengths,
        "rewards": demos.rewards,
        "costs": demos.costs,
        "constraints": np.array(["zone", "speed"]),
        "final_observations": demos.final_observations,
        "terminations": demos.terminations,
        "truncations": demos.truncations,
    } | changes
    return {key: value for key, value in given.items() if value is not None}


def test_plain_arrays_load(tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays())
    demos = load(tmp_path / "mine.npz")
    assert demos.digest() == make().digest()
    assert demos.name == "mine"


def test_what_plain_arrays_may_leave_out(tmp_path):
    left_out = ("rewards", "costs", "constraints", "final_observations", "lengths")
    np.savez(tmp_path / "mine.npz", **arrays(**dict.fromkeys(left_out)))
    demos = load(tmp_path / "mine.npz")
    assert demos.lengths.tolist() == [3, 1, 40]
    assert demos.constraints == ()
    assert not demos.rewards.any()
    assert np.array_equal(demos.final_observations, make().observations[[2, 3, 43]])
    np.savez(tmp_path / "ends.npz", **arrays(terminations=None, truncations=None))
    cut = load(tmp_path / "ends.npz")
    assert np.flatnonzero(cut.truncations).tolist() == [2, 3, 43]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"actions": None}, "has no array 'actions'"),
        ({"observation": np.zeros(3)}, "Did you mean 'observations'?"),
        ({"observations": np.zeros((5, 3))}, "(5, 3) and actions (44,)"),
        ({"lengths": np.array([3, 1])}, "add up to 4, but there are 44 steps"),
        ({"lengths": None, "terminations": None, "truncations": None}, "add an array 'lengths'"),
        ({"terminations": np.zeros(3)}, "3 terminations"),
        ({"constraints": np.array(["zone"])}, "costs has shape"),
        ({"observations": np.zeros((0, 3)), "actions": np.zeros(0), "costs": None}, "holds no steps"),
        ({"costs": np.zeros(0)}, "44 steps, but no costs"),
        ({"actions": np.array(["up"] * 44)}, "'actions' of"),
    ],
)
def test_wrong_plain_arrays_are_named(tmp_path, changes, words):
    np.savez(tmp_path / "mine.npz", **arrays(**changes))
    with pytest.raises(SurefootError) as caught:
        load(tmp_path / "mine.npz")
    assert words in str(caught.value)


class Trap:
    """Leaves a mark if it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("unpickled"),))


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "trap.npz", observations=np.array([Trap()], object), actions=np.zeros(1))
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(Trap()))
    for name, words in (("trap.npz", "never unpickled"), ("plain.npz", "Cannot read")):
        with pytest.raises(SurefootError, match=words):
            load(tmp_path / name)
    assert not (tmp_path / "unpickled").exists()


def test_a_cut_archive_is_one_line(tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays())
    whole_file = (tmp_path / "mine.npz").read_bytes()
    for size in (0, 10, len(whole_file) // 2, len(whole_file) - 5):
        (tmp_path / "mine.npz").write_bytes(whole_file[:size])
        with pytest.raises(SurefootError, match="Cannot read"):
            load(tmp_path / "mine.npz")


def test_the_store_is_where_minari_says(store):
    shutil.rmtree(store, ignore_errors=True)
    assert demonstrations.stored() == []
    assert demonstrations.store() == store
