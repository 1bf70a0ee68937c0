"""Checkpoints: any tree to one file and back to the bit, and clear words for a file that does not fit."""

from __future__ import annotations

import errno
import json
import os
import struct
import tracemalloc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors

from surefoot.errors import SurefootError
from surefoot.training import checkpoint


class Leaf(eqx.Module):
    array: Any
    key: Any
    name: str = "net"
    function: Any = jax.nn.relu


def tree():
    key = jax.random.key(5)
    return {
        "state": Leaf(jnp.arange(6, dtype=jnp.float32).reshape(2, 3) / 7, key),
        "many": [jnp.array(True), jnp.zeros((3, 0)), jnp.int32(-4), jax.random.split(key, 3)],
        "rbg": jax.random.key(1, impl="rbg"),
        "half": jnp.array([1.5, -0.0, jnp.nan], jnp.float16),
        "host": (np.array([1, 2], np.int64), 3, 2.5, True),
    }


def raw(leaf):
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf))
    return leaf


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "7.safetensors"
    checkpoint.save(path, tree(), {"iteration": 7, "config": "abc"})
    return path


@pytest.mark.parametrize("abstract", [False, True])
def test_every_leaf_comes_back_to_the_bit(file, abstract):
    template = tree()
    if abstract:  # arrays of NumPy have no abstract form of their own
        template = eqx.filter_eval_shape(tree) | {"host": template["host"]}
    found, notes = checkpoint.load(file, template)
    assert notes["iteration"] == 7
    assert notes["config"] == "abc"
    assert notes["format"] == 1
    assert jax.tree.structure(found) == jax.tree.structure(tree())
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(tree()), strict=True):
        assert type(a) is type(b)
        if callable(a) or isinstance(a, str):
            assert a == b
            continue
        if isinstance(a, jax.Array):
            assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(raw(a)), np.asarray(raw(b)))
        assert np.asarray(raw(a)).tobytes() == np.asarray(raw(b)).tobytes()
    sample = jax.random.normal(found["state"].key)
    assert sample == jax.random.normal(tree()["state"].key)
    assert str(jax.random.key_impl(found["rbg"])) == str(jax.random.key_impl(tree()["rbg"]))


def test_the_file_is_a_safetensors_file_by_tree_path(file):
    arrays = safetensors.load_file(file)
    np.testing.assert_array_equal(arrays["state/array"], tree()["state"].array)
    np.testing.assert_array_equal(arrays["many/3"], jax.random.key_data(tree()["many"][3]))
    assert {"state/array", "state/key", "many/0", "many/1", "many/2", "host/0", "host/1"} <= set(arrays)
    assert not {"state/name", "state/function"} & set(arrays)


def test_arrays_lie_at_multiples_of_their_item_size(file):
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    sizes = {"F32": 4, "F16": 2, "BOOL": 1, "I32": 4, "U32": 4, "I64": 8, "F64": 8}
    for name, entry in header.items():
        if name != "__metadata__":
            assert (8 + length + entry["data_offsets"][0]) % sizes[entry["dtype"]] == 0


def test_the_same_tree_makes_the_same_bytes(file, tmp_path):
    checkpoint.save(tmp_path / "again", tree(), {"iteration": 7, "config": "abc"})
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_cut_short_anywhere_it_says_so(file):
    content = file.read_bytes()
    for length in (0, 1, 7, 8, 100, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(checkpoint.CutShort, match=r"7\.safetensors is cut short or damaged .* delete it"):
            checkpoint.load(file, tree())
    file.write_bytes(os.urandom(len(content)))
    with pytest.raises(checkpoint.CutShort):
        checkpoint.load(file, tree())


def test_a_file_of_another_version_or_tool(file, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", 2)
        with pytest.raises(SurefootError, match="has format 1, but this version of surefoot reads format 2"):
            checkpoint.load(file, tree())
    safetensors.save_file({"a": np.zeros(2)}, tmp_path / "other")
    with pytest.raises(SurefootError, match="has format unknown"):
        checkpoint.load(tmp_path / "other", tree())
    safetensors.save_file({"a": np.zeros(2)}, tmp_path / "other", {"format": "{"})
    with pytest.raises(SurefootError, match="has format unknown"):
        checkpoint.load(tmp_path / "other", tree())
    with pytest.raises(SurefootError, match="no checkpoint"):
        checkpoint.load(tmp_path / "none", tree())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"new": jnp.zeros(2)}, "it has no 'new'"),
        ({"half": jnp.zeros(4, jnp.float16)}, r"'half' is float16\[3\] and not float16\[4\]"),
        ({"half": jnp.zeros(3)}, r"'half' is float16\[3\] and not float32\[3\]"),
        ({"rbg": jax.random.key(0)}, r"'rbg' is uint32\[4\] and not uint32\[2\]"),
    ],
)
def test_a_tree_that_does_not_fit(file, change, message):
    with pytest.raises(SurefootError, match=f"does not fit this run: {message}"):
        checkpoint.load(file, tree() | change)


def test_leaves_with_one_name_and_types_unknown_to_the_format_are_refused(tmp_path):
    with pytest.raises(SurefootError, match=r"Two leaves .* 'a/b'"):
        checkpoint.save(tmp_path / "c", {"a/b": jnp.zeros(1), "a": {"b": jnp.zeros(1)}}, {})
    with pytest.raises(SurefootError, match="'a' of type bfloat16 cannot be saved"):
        checkpoint.save(tmp_path / "c", {"a": jnp.zeros(1, jnp.bfloat16)}, {})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_checkpoint_before(file, monkeypatch):
    content = file.read_bytes()

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SurefootError, match=f"Could not write {file}: No space left"):
        checkpoint.save(file, tree(), {})
    assert file.read_bytes() == content
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_saving_holds_no_second_copy(tmp_path):
    big = {"replay": jnp.zeros((2_000_000, 4)), "other": jnp.ones(1_000_000)}
    jax.block_until_ready(big)
    tracemalloc.start()
    checkpoint.save(tmp_path / "c", big, {})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000  # bytes, of 36 million
    found, _ = checkpoint.load(tmp_path / "c", big)
    np.testing.assert_array_equal(found["other"], big["other"])
