"""Who owns which field: server-side apply, and the ownership that other writes leave.

A path is a tuple of the elements that fieldsV1 writes: `f:name`, `k:{"name":"x"}`, `v:1`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from kfp_suite.testing.kubernetes.answers import Refusal
from kfp_suite.testing.kubernetes.kinds import Json, clone
from kfp_suite.testing.kubernetes.schemas import ANYTHING, Schema, rendered

Path = tuple[str, ...]

_META = "f:metadata"
_UNOWNED: frozenset[Path] = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        (_META,),
        *(
            (_META, f"f:{name}")
            for name in (
                "name",
                "namespace",
                "uid",
                "generation",
                "resourceVersion",
                "creationTimestamp",
                "managedFields",
                "selfLink",
                "generateName",
                "deletionTimestamp",
            )
        ),
    }
)


class _Mark(Enum):
    """What an index holds for a path that has paths below it."""

    STRUCT = 0
    ENTRY = 1
    EMPTY = 2


@dataclass(frozen=True)
class Manager:
    """Who writes: an entry of managedFields without its fields and time."""

    name: str
    operation: str
    subresource: str = ""
    api_version: str = ""

    def __str__(self) -> str:
        said = json.dumps(self.name)
        if self.subresource:
            said += f" with subresource {json.dumps(self.subresource)}"
        return f"{said} using {self.api_version}" if self.operation == "Update" else said


@dataclass(frozen=True)
class Managed:
    """The fields of a manager, and when it wrote last."""

    fields: frozenset[Path]
    time: str


Owners = dict[Manager, Managed]


def index(value: Any, schema: Schema, path: Path = ()) -> dict[Path, Any]:
    """Every field of an object; the leaves with their values."""
    found: dict[Path, Any] = {}
    _index(value, schema, path, found)
    return {path: one for path, one in found.items() if path and path not in _UNOWNED}


def _index(value: Any, schema: Schema, path: Path, found: dict[Path, Any]) -> None:
    if isinstance(value, dict) and not schema.atomic_map:
        if path not in found:
            found[path] = _Mark.STRUCT if value else _Mark.EMPTY
        for key, one in value.items():
            below = (*path, f"f:{key}")
            if isinstance(one, dict) and key not in schema.declared and schema.declared:
                found[below] = _Mark.ENTRY
            _index(one, schema.child(key) or ANYTHING, below, found)
    elif isinstance(value, list) and schema.list_type in ("map", "set"):
        found[path] = _Mark.STRUCT if value else _Mark.EMPTY
        for item in value:
            below = (*path, _element(item, schema))
            if isinstance(item, dict):
                found[below] = _Mark.ENTRY
            _index(item, schema.items, below, found)
    else:
        found[path] = value


def _element(item: Any, schema: Schema) -> str:
    if schema.list_type == "map":
        return f"k:{schema.key_of(item)}"
    return f"v:{json.dumps(item, separators=(',', ':'))}"


def compare(before: Mapping[Path, Any], after: Mapping[Path, Any]) -> tuple[set[Path], set[Path]]:
    """The paths that are new or have other values, and those that are gone."""
    changed = {
        path
        for path, value in after.items()
        if path not in before or not _same(before[path], value)
    }
    return changed, set(before) - set(after)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, _Mark) or isinstance(other, _Mark):
        return isinstance(one, _Mark) and isinstance(other, _Mark)
    return bool(one == other and type(one) is type(other))


def merge(live: Any, applied: Any, schema: Schema) -> Any:
    """`live` with what is applied over it."""
    if isinstance(applied, dict) and isinstance(live, dict) and not schema.atomic_map:
        found = dict(live)
        for key, value in applied.items():
            below = schema.child(key) or ANYTHING
            found[key] = merge(live[key], value, below) if key in live else clone(value)
        return found
    if isinstance(applied, list) and isinstance(live, list) and schema.list_type != "atomic":
        items = {_element(item, schema): item for item in live}
        for item in applied:
            key = _element(item, schema)
            items[key] = merge(items[key], item, schema.items) if key in items else clone(item)
        return list(items.values())
    return clone(applied)


def remove(value: Any, path: Path, schema: Schema) -> None:
    """Take a field out of an object, in place."""
    head, rest = path[0], path[1:]
    if isinstance(value, dict):
        key = head[2:]
        if not rest:
            value.pop(key, None)
        elif key in value:
            remove(value[key], rest, schema.child(key) or ANYTHING)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            if _element(item, schema) == head:
                if rest:
                    remove(item, rest, schema.items)
                else:
                    del value[position]
                return


def applied_object(
    live: Json,
    applied: Json,
    owners: Owners,
    manager: Manager,
    *,
    schema: Schema,
    force: bool,
    now: str,
) -> tuple[Json, Owners]:
    """Server-side apply.

    Args:
        live: The object as it is, empty where there is none.
        applied: What the manager wants.
        owners: Of the fields of `live`.
        manager: Who applies.
        schema: Of the object.
        force: Take what others own.
        now: The time, for managedFields.

    Returns:
        The object as it becomes, and the owners of its fields.

    Raises:
        Refusal: another manager owns a field that would change.
    """
    wanted = {path for path, value in index(applied, schema).items() if value is not _Mark.STRUCT}
    others = {who: held for who, held in owners.items() if who != manager}
    merged: Json = merge(clone(live), applied, schema)
    before = owners.get(manager, Managed(frozenset(), "")).fields
    held_by_others = {path for held in others.values() for path in held.fields}
    _take_out(merged, before - wanted, held_by_others | wanted, schema)
    changed, gone = compare(index(live, schema), index(merged, schema))
    taken = {who: held.fields & changed for who, held in others.items()}
    conflicts = sorted(
        ((who, path) for who, paths in taken.items() for path in paths),
        key=lambda pair: (str(pair[0]), pair[1]),
    )
    if conflicts and not force:
        raise apply_conflict(conflicts)
    left = {who: Managed(held.fields - changed - gone, held.time) for who, held in others.items()}
    left[manager] = Managed(frozenset(wanted), now)
    return merged, _held(left)


def written_object(
    before: Json, after: Json, owners: Owners, manager: Manager, *, schema: Schema, now: str
) -> Owners:
    """The owners after any other write: who changes a field owns it from then on."""
    old, new = index(before, schema), index(after, schema)
    changed, gone = compare(old, new)
    if not changed and not gone:
        return owners
    left = {}
    for who, held in owners.items():
        lost = gone if who == manager else gone | changed
        left[who] = Managed(held.fields - lost, held.time)
    if changed:
        mine = left.get(manager, Managed(frozenset(), now)).fields
        left[manager] = Managed(mine | changed, now)
    return _held(left)


def _held(owners: Owners) -> Owners:
    return {who: held for who, held in owners.items() if held.fields or who.operation == "Apply"}


def _take_out(merged: Json, dropped: Iterable[Path], owned: set[Path], schema: Schema) -> None:
    """Remove what a manager no longer applies and nobody else owns; then what is left empty."""
    held = {path[:end] for path in owned for end in range(1, len(path) + 1)}
    # From above: an item of a list is found by its key, which is one of its own fields.
    for path in sorted(dropped, key=len):
        if path in held:
            continue
        remove(merged, path, schema)
        for end in range(len(path) - 1, 0, -1):
            above = path[:end]
            if above in held or _at(merged, above, schema) not in ({}, []):
                break
            remove(merged, above, schema)


def _at(value: Any, path: Path, schema: Schema) -> Any:
    for element in path:
        if isinstance(value, dict):
            key = element[2:]
            if key not in value:
                return None
            value, schema = value[key], schema.child(key) or ANYTHING
        elif isinstance(value, list):
            found = [item for item in value if _element(item, schema) == element]
            if not found:
                return None
            value, schema = found[0], schema.items
    return value


def apply_conflict(conflicts: list[tuple[Manager, Path]]) -> Refusal:
    """The answer where others own what would change."""
    shown = [(str(who), "".join(map(rendered, path))) for who, path in conflicts]
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path}
        for who, path in shown
    ]
    if len(shown) == 1:
        message = f"Apply failed with 1 conflict: conflict with {shown[0][0]}: {shown[0][1]}"
    else:
        lines: list[str] = []
        for who in dict.fromkeys(who for who, _ in shown):
            lines.append(f"conflicts with {who}:")
            lines += [f"- {path}" for other, path in shown if other == who]
        message = f"Apply failed with {len(shown)} conflicts: " + "\n".join(lines)
    return Refusal(409, "Conflict", message, {"causes": causes})


def managed_fields(owners: Owners) -> list[Json]:
    """The owners as metadata.managedFields holds them."""
    found = []
    for who, held in sorted(owners.items(), key=lambda pair: (pair[1].time, str(pair[0]))):
        entry: Json = {
            "manager": who.name,
            "operation": who.operation,
            "apiVersion": who.api_version,
            "time": held.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _fields_v1(held.fields),
        }
        if who.subresource:
            entry["subresource"] = who.subresource
        found.append(entry)
    return found


def _fields_v1(fields: Iterable[Path]) -> Json:
    found: Json = {}
    paths = sorted(fields)
    above = {path[:end] for path in paths for end in range(1, len(path))}
    for path in paths:
        level = found
        for element in path:
            level = level.setdefault(element, {})
        if path in above:
            level["."] = {}
    return found
