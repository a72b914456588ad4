"""The hash of a category: the same on every machine and in every version.

The first 8 bytes, little-endian, of the unkeyed BLAKE2b digest of 8 bytes of the UTF-8
text (RFC 7693), as an unsigned integer; a bucket is its remainder by the number of
buckets. It is part of the format of a fitted transform.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence


@functools.lru_cache(maxsize=65_536)
def stable_hash(text: str) -> int:
    """The 64-bit hash of `text`."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def joined(values: Sequence[str | None]) -> str:
    """One text for several: `2:AA3:JFK`, length first so that no two lists give the same.

    The length counts characters; a missing value is `-`.
    """
    return "".join("-" if value is None else f"{len(value)}:{value}" for value in values)
