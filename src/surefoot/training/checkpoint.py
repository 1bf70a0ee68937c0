"""Checkpoints: any pytree of arrays as one safetensors file, leaf by leaf. Nothing is ever unpickled.

A leaf is stored under its path in the tree (``state/agent/actor/network/weights/0``), a random key as
its key data, a Python number as an array without axes. What is not an array (functions, names) is not
stored: it comes from the template, a tree of the same form that was made from the run's settings.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

import surefoot
from surefoot.errors import SurefootError
from surefoot.training.run import atomic_write

FORMAT = 1
"""Version of what the metadata and the names of the leaves mean."""

_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16",
    "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
"""NumPy's names -> those of the file format."""


class CutShort(SurefootError):
    """The file ends too early or is damaged; another checkpoint may do."""


def save(path: Path, tree: Any, metadata: Mapping[str, Any]) -> None:
    """Writes every array of ``tree``, and ``metadata`` as JSON values, atomically.

    Leaves go to the disk one by one, so that no second copy of a replay buffer is held. Raises
    :class:`SurefootError` if the disk is full, and leaves older files as they are.
    """
    leaves = {name: leaf for name, leaf in _named(tree) if _stored(leaf)}
    notes = {"format": FORMAT, "surefoot": surefoot.__version__, **metadata}
    atomic_write(path, _file(leaves, {key: json.dumps(value) for key, value in notes.items()}))


def load(path: Path, template: Any) -> tuple[Any, dict[str, Any]]:
    """The tree that was saved and its metadata.

    ``template`` has the tree's form; its arrays, or ``jax.ShapeDtypeStruct`` in their place, say which
    shapes and types are expected. Raises :class:`CutShort` for a damaged file, and
    :class:`SurefootError` for one of another version or of another tree.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            notes = _metadata(path, file.metadata())
            stored = set(file.keys())

            def revive(name: str, leaf: Any) -> Any:
                if not _stored(leaf):
                    return leaf
                if name not in stored:
                    raise _other_tree(path, f"it has no '{name}'")
                return _revive(path, name, leaf, file.get_tensor(name))

            named, structure = jax.tree_util.tree_flatten_with_path(template)
            leaves = [revive(_name(where), leaf) for where, leaf in named]
    except FileNotFoundError as error:
        raise SurefootError(f"There is no checkpoint {path}.") from error
    except (SafetensorError, OSError) as error:
        raise CutShort(
            f"The checkpoint {path} is cut short or damaged ({error}); delete it and resume from the one "
            "before."
        ) from error
    return jax.tree_util.tree_unflatten(structure, leaves), notes


def _file(leaves: Mapping[str, Any], notes: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """The file as chunks: length of the header, header, data (https://github.com/huggingface/safetensors)."""
    header: dict[str, Any] = {"__metadata__": dict(notes)}
    # Wide types first, so that every array lies at a multiple of its item size.
    order = sorted(leaves, key=lambda name: -_dtype(leaves[name]).itemsize)
    offset = 0
    for name in order:
        shape, dtype = _shape(leaves[name]), _dtype(leaves[name])
        if dtype.name not in _DTYPES:
            raise SurefootError(f"'{name}' of type {dtype.name} cannot be saved in a checkpoint.")
        end = offset + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _DTYPES[dtype.name], "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for name in order:
        # A NumPy view of a JAX array is remembered by the array and would keep its buffer from being
        # donated later; a view of its one shard dies with this line.
        leaf = _plain(leaves[name])
        values = np.asarray(leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf)
        yield np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        del values


def _named(tree: Any) -> Iterator[tuple[str, Any]]:
    taken = set()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = _name(path)
        if name in taken:
            raise SurefootError(f"Two leaves of the training state are called '{name}'; rename one.")
        taken.add(name)
        yield name, leaf


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _stored(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct, np.ndarray, np.generic, bool, int, float))


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_impl(leaf: Any) -> Any:
    """Which generator a random key, or the form of one, is for."""
    found: list[Any] = []
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), leaf)
    return found[0]


def _plain(leaf: Any) -> Any:
    """Random keys as their key data; all else as it is."""
    if not _is_key(leaf):
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.eval_shape(jax.random.key_data, leaf)
    return jax.random.key_data(leaf)


def _shape(leaf: Any) -> tuple[int, ...]:
    return tuple(np.shape(_plain(leaf)))


def _dtype(leaf: Any) -> np.dtype[Any]:
    plain = _plain(leaf)
    return np.dtype(plain.dtype) if hasattr(plain, "dtype") else np.asarray(plain).dtype


def _revive(path: Path, name: str, leaf: Any, values: np.ndarray) -> Any:
    if values.shape != _shape(leaf) or values.dtype != _dtype(leaf):
        raise _other_tree(
            path,
            f"'{name}' is {values.dtype}{list(values.shape)} and not {_dtype(leaf)}{list(_shape(leaf))}",
        )
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.array(values), impl=_key_impl(leaf))
    if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
        return jnp.array(values)
    return values if isinstance(leaf, np.ndarray) else type(leaf)(values.item())


def _metadata(path: Path, raw: Mapping[str, str] | None) -> dict[str, Any]:
    try:
        notes = {key: json.loads(value) for key, value in (raw or {}).items()}
    except json.JSONDecodeError as error:
        raise _other_version(path, "unknown") from error
    if notes.get("format") != FORMAT:
        raise _other_version(path, notes.get("format", "unknown"))
    return notes


def _other_version(path: Path, found: Any) -> SurefootError:
    return SurefootError(
        f"The checkpoint {path} has format {found}, but this version of surefoot reads format {FORMAT}; "
        "resume with the version that wrote it, or train again."
    )


def _other_tree(path: Path, why: str) -> SurefootError:
    return SurefootError(
        f"The checkpoint {path} does not fit this run: {why}. It was written with other settings or "
        "another version of surefoot; resume with that version, or train again."
    )
