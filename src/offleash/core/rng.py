"""Hashed randomness: every random number is a function of a key, never of what was drawn before it.

Two forms. `stream(*key)` is a numpy Generator for code that draws many different things (a problem generator).
`uniforms(keys, start, count)` is the counter-based table the engines use: entry (i, t) belongs to sample key i and token
position start + t, so it is the same alone, in any batch, in any order and after a resume.

The counter-based generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW32 = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)

Part = str | int | bytes


def digest(*parts: Part, size: int = 16) -> bytes:
    """Hash a tuple of strings, integers and bytes; distinct tuples give distinct input to the hash.

    Every part is prefixed with its type and length, so ("ab", "c") and ("a", "bc") differ, and so do 1 and "1".
    """
    h = hashlib.blake2b(digest_size=size)
    for part in parts:
        if isinstance(part, bytes):
            kind, data = b"b", part
        elif isinstance(part, str):
            kind, data = b"s", part.encode()
        else:
            kind, data = b"i", str(int(part)).encode()
        h.update(kind + str(len(data)).encode() + b":" + data)
    return h.digest()


def key64(*parts: Part) -> int:
    """A 64-bit key for `uniforms`."""
    return int.from_bytes(digest(*parts, size=8), "little")


def fraction(*parts: Part) -> float:
    """A number in [0, 1) that depends only on the parts; used to assign splits."""
    return int.from_bytes(digest(*parts, size=8), "little") / 2.0**64


def stream(*parts: Part) -> np.random.Generator:
    """A numpy Generator of its own for this key."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest(*parts), "little")))


def philox4x32(counter: NDArray[np.uint64], key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Philox4x32-10 on arrays.

    Args:
        counter: (4, N) words below 2**32.
        key: (2, N) words below 2**32.

    Returns:
        (4, N) random words below 2**32.
    """
    c0, c1, c2, c3 = (np.ascontiguousarray(row) for row in counter)
    k0, k1 = key[0].copy(), key[1].copy()
    for _ in range(10):
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (product1 >> _32) ^ c1 ^ k0,
            product1 & _LOW32,
            (product0 >> _32) ^ c3 ^ k1,
            product0 & _LOW32,
        )
        k0, k1 = (k0 + _WEYL[0]) & _LOW32, (k1 + _WEYL[1]) & _LOW32
    return np.stack([c0, c1, c2, c3])


def uniforms(keys: Sequence[int] | NDArray[np.uint64], start: int, count: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) for each key at positions start ... start + count - 1.

    Args:
        keys: N 64-bit keys (`key64`).
        start: first position, at least 0.
        count: number of positions.

    Returns:
        (N, count) float64 with 53 random bits each.
    """
    keys_N = np.asarray(keys, dtype=np.uint64)
    n = len(keys_N)
    if n == 0 or count == 0:
        return np.zeros((n, count))
    position = np.tile(np.arange(start, start + count, dtype=np.uint64), n)
    key = np.repeat(keys_N, count)
    zero = np.zeros_like(position)
    words = philox4x32(
        np.stack([position & _LOW32, position >> _32, zero, zero]),
        np.stack([key & _LOW32, key >> _32]),
    )
    bits = ((words[0] << _32) | words[1]) >> np.uint64(11)
    table: NDArray[np.float64] = (bits.astype(np.float64) * 2.0**-53).reshape(n, count)
    return table
