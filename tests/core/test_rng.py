"""Hashed randomness: known answers, independence of batch and order, uniformity."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from offleash.core import rng

# Known-answer vectors of Philox4x32-10 from the authors' Random123 distribution (tests/kat_vectors, "philox4x32 10").
KNOWN = [
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def test_philox_known_answers() -> None:
    for counter, key, expected in KNOWN:
        words = rng.philox4x32(np.array(counter, np.uint64)[:, None], np.array(key, np.uint64)[:, None])
        assert words[:, 0].tolist() == expected


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5), st.integers(0, 50), st.integers(1, 20))
def test_an_entry_depends_on_its_key_and_position_only(keys: list[int], start: int, count: int) -> None:
    together = rng.uniforms(keys, start, count)
    for row, key in zip(together, keys, strict=True):
        for offset in range(count):
            assert row[offset] == rng.uniforms([key], start + offset, 1)[0, 0]


def test_uniform_and_uncorrelated() -> None:
    table = rng.uniforms([rng.key64("s", i) for i in range(2000)], 0, 50)
    assert table.min() >= 0.0 and table.max() < 1.0
    counts = np.histogram(table, bins=100, range=(0, 1))[0]
    chi2 = float(((counts - 1000) ** 2 / 1000).sum())
    assert chi2 < 99 + 5 * np.sqrt(2 * 99)  # five standard deviations of chi-square with 99 degrees of freedom
    for a, b in ((table[:, :-1], table[:, 1:]), (table[:-1], table[1:])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


def test_distinct_tuples_give_distinct_keys() -> None:
    assert (
        len(
            {rng.digest(*parts) for parts in [("ab", "c"), ("a", "bc"), ("abc",), (1,), ("1",), (b"1",), (1, 2), (12,)]}
        )
        == 8
    )


def test_streams_repeat_and_differ() -> None:
    assert rng.stream("a", 1).random() == rng.stream("a", 1).random()
    assert rng.stream("a", 1).random() != rng.stream("a", 2).random()
