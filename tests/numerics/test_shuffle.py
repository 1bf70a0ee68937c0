"""Orders that are computed: they are permutations, they look random, and they cost no memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import chi2

from surefoot.numerics.shuffle import Split, shuffle_keys, shuffled

order = jax.jit(shuffled)


def test_an_order_is_a_permutation_whatever_the_count():
    rank, keys = jnp.arange(1100), shuffle_keys(jax.random.key(0), 3)
    for count in (1, 2, 3, 7, 64, 65, 1000, 1024, 1025, 1100):  # one compiled program
        found = np.asarray(order(rank, jnp.asarray(count), keys))[:, :count]
        np.testing.assert_array_equal(np.sort(found), np.tile(np.arange(count), (3, 1)))
        if count > 60:
            assert len({tuple(row) for row in found}) == 3  # each member its own


def test_every_number_comes_equally_often_to_every_place():
    keys, count = shuffle_keys(jax.random.key(1), 20_000), 13
    found = np.asarray(order(jnp.arange(count), jnp.asarray(count), keys))
    for place in (0, 5, 12):
        seen = np.bincount(found[:, place], minlength=count)
        assert np.sum((seen - 20_000 / 13) ** 2) / (20_000 / 13) < chi2.ppf(0.9999, 12)


def test_neighbours_do_not_go_together():
    keys, count = shuffle_keys(jax.random.key(2), 20_000), 13
    found = np.asarray(order(jnp.arange(count), jnp.asarray(count), keys))
    for first, second in ((0, 1), (3, 9)):
        pairs = np.zeros((count, count))
        np.add.at(pairs, (found[:, first], found[:, second]), 1)
        expected = 20_000 / (13 * 12)
        off = pairs[~np.eye(count, dtype=bool)]
        assert not np.diag(pairs).any()
        assert np.sum((off - expected) ** 2) / expected < 1.5 * chi2.ppf(0.9999, 155)


def test_a_split_is_complete_and_never_changes():
    held_before: set[int] = set()

    @jax.jit
    def places(count):
        split = Split.of(count, 0.2)
        return split.train, split.trained(jnp.arange(60)), split.held, split.held_out(jnp.arange(60))

    for count in range(60):
        train, trained, hold, held = map(np.asarray, places(jnp.asarray(count)))
        trained, held = trained[:train].tolist(), held[:hold].tolist()
        assert sorted(trained + held) == list(range(count))
        assert {h for h in held if h < count - 1} == held_before  # where a transition lies decides for ever
        held_before = set(held)
    assert len(held_before) in (11, 12)
    assert len({h % 5 for h in held_before}) > 2  # not every fifth, which may be one environment of five


def test_nothing_is_held_out_unless_asked_for():
    split = Split.of(jnp.asarray(7), 0.0)
    assert int(split.held) == 0 and int(split.train) == 7
    np.testing.assert_array_equal(split.trained(jnp.arange(7)), np.arange(7))
