"""skops archives whose bytes depend on the object alone.

skops names parts by memory address and stamps them with the time. Here parts are numbered
in the order in which the schema mentions them, and carry a fixed date.

skops takes a second to import, all of scikit-learn with it; a model that is served as a
graph needs neither.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

_SCHEMA = "schema.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def dumps(value: object) -> bytes:
    """`value` as a skops archive; equal values give equal bytes."""
    import skops.io

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(value))) as archive:
        schema = json.loads(archive.read(_SCHEMA))
        parts = {name: archive.read(name) for name in archive.namelist() if name != _SCHEMA}
    numbering = _Numbering()
    schema = numbering.of(schema)
    renamed = {numbering.files[name]: content for name, content in parts.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(renamed):
            archive.writestr(_entry(name), renamed[name])
        archive.writestr(_entry(_SCHEMA), json.dumps(schema, sort_keys=True, indent=1))
    return buffer.getvalue()


def loads(archive: bytes, trusted: Sequence[str]) -> Any:
    """The value of an archive.

    Raises:
        Exception: of any kind, if it holds a type that is not `trusted`, or cannot be read.
    """
    import skops.io

    return skops.io.loads(archive, trusted=list(trusted))


def types_to_trust(archive: bytes) -> list[str]:
    """The types that must be passed to `loads` as trusted, sorted."""
    import skops.io

    return sorted(skops.io.get_untrusted_types(data=archive))


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    return entry


class _Numbering:
    """New numbers for the memory addresses in a schema."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self._ids: dict[int, int] = {}
        self._next = 0

    def of(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.of(item) for item in node]
        if not isinstance(node, dict):
            return node
        node = dict(node)
        if "__id__" in node:
            node["__id__"] = self._number(node)
        if isinstance(node.get("file"), str) and "__loader__" in node:
            name = node["file"]
            suffix = name[name.rfind(".") :] if "." in name else ""
            node["file"] = self.files.setdefault(name, f"{len(self.files):04d}{suffix}")
        return {key: self.of(item) for key, item in node.items()}

    def _number(self, node: dict[str, Any]) -> int:
        """Constants are numbered one by one: which of them share an object is an accident."""
        known = self._ids.get(node["__id__"])
        if known is not None and not node.get("is_json"):
            return known
        self._next += 1
        if not node.get("is_json"):
            self._ids[node["__id__"]] = self._next
        return self._next
