"""Merge patches and JSON patches."""

from __future__ import annotations

from typing import Any

from kfp_suite.testing.kubernetes.answers import Refusal
from kfp_suite.testing.kubernetes.kinds import clone


def merge_patch(value: Any, patch: Any) -> Any:
    """RFC 7396: mappings merge, None removes, all else is replaced."""
    if not isinstance(patch, dict):
        return clone(patch)
    found = dict(value) if isinstance(value, dict) else {}
    for key, one in patch.items():
        if one is None:
            found.pop(key, None)
        else:
            found[key] = merge_patch(found.get(key), one)
    return found


def json_patch(value: Any, operations: Any) -> Any:
    """RFC 6902. Raises Refusal (422) for an operation that cannot be done."""
    found = clone(value)
    try:
        for operation in operations:
            found = _operate(found, operation)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        message = f"the server rejected our request due to an error in our request: {error}"
        raise Refusal(422, "Invalid", message) from error
    return found


def _operate(value: Any, operation: dict[str, Any]) -> Any:
    name, path = operation["op"], _parts(operation["path"])
    if name == "test":
        if _look(value, path) != operation["value"]:
            raise ValueError(f"testing path {operation['path']} failed")
        return value
    if name == "remove":
        return _without(value, path)
    if name in ("add", "replace"):
        if name == "replace":
            _look(value, path)
        return _with(value, path, clone(operation["value"]), insert=name == "add")
    source = _parts(operation["from"])
    moved = clone(_look(value, source))
    if name == "move":
        value = _without(value, source)
    elif name != "copy":
        raise ValueError(f"unknown operation {name}")
    return _with(value, path, moved, insert=True)


def _parts(pointer: str) -> list[str]:
    parts = pointer.split("/")[1:]
    return [part.replace("~1", "/").replace("~0", "~") for part in parts]


def _look(value: Any, path: list[str]) -> Any:
    for part in path:
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def _without(value: Any, path: list[str]) -> Any:
    above = _look(value, path[:-1])
    del above[int(path[-1]) if isinstance(above, list) else path[-1]]
    return value


def _with(value: Any, path: list[str], new: Any, *, insert: bool) -> Any:
    if not path:
        return new
    above, last = _look(value, path[:-1]), path[-1]
    if not isinstance(above, list):
        above[last] = new
    elif last == "-":
        above.append(new)
    elif insert:
        above.insert(int(last), new)
    else:
        above[int(last)] = new
    return value
