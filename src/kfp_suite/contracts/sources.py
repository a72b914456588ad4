"""Sources of data, as they were read: what lineage names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SourceObject:
    """One file or object of a source, pinned: `generation` for Cloud Storage, the version
    or ETag for S3, and a digest where the bytes were read."""

    uri: str
    bytes: int
    digest: str = ""
    generation: str = ""


@dataclass(frozen=True)
class Source:
    """A named source as it was read."""

    uri: str
    format: str
    digest: str
    objects: tuple[SourceObject, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
