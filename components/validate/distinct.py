"""The number of distinct values, estimated from the smallest of their hashes.

The k minimum values (Bar-Yossef et al., RANDOM 2002; Beyer et al., SIGMOD 2007): keep the
`SIZE` smallest distinct hashes; if the largest of them is the fraction f of the hash range,
there are about (SIZE - 1) / f distinct values, with a relative standard error of
1 / sqrt(SIZE - 2) = 0.8%. The hashes kept depend on the set of values alone, so partial
results merge in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

SIZE = 16_384

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_BASE = np.uint64(0x100000001B3)


def mix(values: NDArray[np.int64] | Hashes) -> Hashes:
    """SplitMix64's finalizer (Steele, Lea and Flood, OOPSLA 2014): a bijection of 64 bits."""
    z = values.view(np.uint64) + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    mixed: Hashes = z ^ (z >> np.uint64(31))
    return mixed


def hash_strings(strings: pa.Array) -> Hashes:
    """A 64-bit hash of each of the strings (UTF-8, no nulls); the same on every machine.

    A polynomial over the bytes, each replaced by a 64-bit word, modulo 2**64, then `mix`.
    The bytes are taken a window at a time: memory does not grow with the text.
    """
    strings = strings.cast(pa.large_string())
    if not len(strings):
        return np.empty(0, np.uint64)
    _, offset_buffer, data = strings.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[strings.offset :][: len(strings) + 1]
    lengths = np.diff(offsets)
    sums = np.zeros(len(strings), np.uint64)
    if data is not None:
        text = np.frombuffer(data, np.uint8)
        for start in range(int(offsets[0]), int(offsets[-1]), _WINDOW_BYTES):
            _add_window(sums, text, offsets, start, min(start + _WINDOW_BYTES, int(offsets[-1])))
    return mix(sums + mix(lengths))


def _add_window(
    sums: Hashes, text: NDArray[np.uint8], offsets: NDArray[np.int64], start: int, stop: int
) -> None:
    """Add the terms of the bytes from `start` to `stop` to the sums of their strings."""
    first = int(np.searchsorted(offsets, start, side="right")) - 1
    last = int(np.searchsorted(offsets, stop, side="left"))
    edges = np.clip(offsets[first : last + 1], start, stop) - start
    lengths = np.diff(edges)
    positions = np.arange(stop - start) - np.repeat(edges[:-1], lengths)
    words = _BYTE_WORDS[text[start:stop]] * _POWERS[positions]
    up_to = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words, dtype=np.uint64)])
    terms = up_to[edges[1:]] - up_to[edges[:-1]]
    # The first string may have begun in an earlier window.
    terms[:1] *= np.uint64(pow(int(_BASE), start - int(offsets[first]), 1 << 64))
    sums[first:last] += terms


_WINDOW_BYTES = 1 << 17
_POWERS = np.cumprod(np.r_[np.uint64(1), np.full(_WINDOW_BYTES - 1, _BASE)], dtype=np.uint64)
_BYTE_WORDS = mix(np.arange(256, dtype=np.int64))


@dataclass
class DistinctCount:
    """The smallest distinct hashes seen, sorted; at most `SIZE`."""

    hashes: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))

    def add(self, hashes: Hashes) -> None:
        """Count values by their hashes."""
        if len(self.hashes) == SIZE:
            hashes = hashes[hashes < self.hashes[-1]]
        if len(hashes):
            self.hashes = np.unique(np.concatenate([self.hashes, hashes]))[:SIZE]

    def merge(self, other: DistinctCount) -> None:
        """Count the values of `other` too."""
        self.add(other.hashes)

    def estimate(self) -> int:
        """The number of distinct values: exact below `SIZE`."""
        if len(self.hashes) < SIZE:
            return len(self.hashes)
        return round((SIZE - 1) * 2**64 / (int(self.hashes[-1]) + 1))


def byte_lengths(strings: pa.Array) -> NDArray[np.int64]:
    """The UTF-8 bytes of each string."""
    lengths: NDArray[np.int64] = pc.binary_length(strings).to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64)
