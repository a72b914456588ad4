"""Server-side apply: which manager set which field, and what happens when two disagree.

Lists are whole values here; a real server merges some of them by key.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from kfp_suite.testing.cluster.objects import ApiError, Object

Path = tuple[str, ...]
Managers = dict[str, set[Path]]
_OWN = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
_NOTHING = object()


def apply(
    live: Object | None, applied: Object, manager: str, managers: Managers, *, force: bool
) -> Object:
    """What is live after `manager` applies an object; `managers` is changed with it.

    Raises:
        ApiError: 409, naming each field that another manager set to another value.
    """
    found = copy.deepcopy(live) if live is not None else {}
    paths = set(_leaves(applied)) - _OWN
    causes = []
    for other, owned in managers.items():
        if other == manager:
            continue
        for path in sorted(_touched(owned, paths)):
            if _get(applied, path) == _get(found, path):
                continue
            if force:
                owned.discard(path)
                continue
            field = "." + ".".join(path)
            causes.append(
                {
                    "reason": "FieldManagerConflict",
                    "message": f'conflict with "{other}" using {applied["apiVersion"]}',
                    "field": field,
                }
            )
    if causes:
        told = "\n".join(f"- {cause['message']}: {cause['field']}" for cause in causes)
        number = "1 conflict" if len(causes) == 1 else f"{len(causes)} conflicts"
        raise ApiError(409, f"Apply failed with {number}: {told}", causes)
    others = set().union(*(owned for name, owned in managers.items() if name != manager))
    for path in managers.get(manager, set()) - paths:
        if path not in others:
            _remove(found, path)
    for path in _leaves(applied):
        _set(found, path, copy.deepcopy(_get(applied, path)))
    managers[manager] = paths
    return found


def edited(before: Object | None, after: Object, manager: str, managers: Managers) -> None:
    """Give `manager` the fields that an update changed, as PUT and PATCH do."""
    was = before or {}
    changed = {
        path
        for path in set(_leaves(after)) - _OWN
        if path[0] != "status" and _get(was, path) != _get(after, path)
    }
    for name, owned in managers.items():
        if name != manager:
            owned.difference_update(changed)
    managers.setdefault(manager, set()).update(changed)


def managed_fields(managers: Managers, version: str) -> list[Object]:
    """As `metadata.managedFields` tells it."""
    found = []
    for manager, paths in sorted(managers.items()):
        fields: Object = {}
        for path in sorted(paths):
            at = fields
            for name in path:
                at = at.setdefault(f"f:{name}", {})
        found.append(
            {
                "manager": manager,
                "operation": "Apply" if manager == "kfp-suite" else "Update",
                "apiVersion": version,
                "fieldsType": "FieldsV1",
                "fieldsV1": fields,
            }
        )
    return found


def _touched(owned: set[Path], paths: set[Path]) -> set[Path]:
    return {
        path
        for path in owned
        if any(path[: len(new)] == new or new[: len(path)] == path for new in paths)
    }


def _leaves(value: Any, at: Path = ()) -> Iterator[Path]:
    if isinstance(value, Mapping) and (value or not at):
        for key, below in value.items():
            yield from _leaves(below, (*at, key))
    else:
        yield at


def _get(value: Any, path: Path) -> Any:
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return _NOTHING
        value = value[name]
    return value


def _set(value: Object, path: Path, to: Any) -> None:
    for name in path[:-1]:
        below = value.get(name)
        if not isinstance(below, dict):
            below = value[name] = {}
        value = below
    value[path[-1]] = to


def _remove(value: Object, path: Path) -> None:
    above: list[tuple[Object, str]] = []
    for name in path[:-1]:
        if not isinstance(value.get(name), dict):
            return
        above.append((value, name))
        value = value[name]
    value.pop(path[-1], None)
    for holder, name in reversed(above):
        if not holder[name]:
            del holder[name]
