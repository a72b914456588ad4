"""The fields of an object that are ours, which server-side apply may contain again.

Applying a field makes the applier one of its owners: the others can then neither remove it nor
change it without a conflict.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kfp_suite.kserve.cluster import FIELD_MANAGER
from kfp_suite.kserve.manifests import own_part


def applied_part(service: Mapping[str, Any]) -> dict[str, Any]:
    """An InferenceService as we applied it: without the fields that the cluster and other field
    managers added. One that is wholly applied by others is returned unchanged.

    Args:
        service: As the API gives it, with `metadata.managedFields`.
    """
    ours = next(
        (
            entry["fieldsV1"]
            for entry in service["metadata"].get("managedFields", ())
            if (entry["manager"], entry["operation"]) == (FIELD_MANAGER, "Apply")
            and not entry.get("subresource")
        ),
        None,
    )
    if ours is None:
        return own_part(service)
    whole = own_part(service)
    found: dict[str, Any] = _part(whole, ours)
    for key in ("apiVersion", "kind"):
        found[key] = whole[key]
    place = {key: whole["metadata"][key] for key in ("name", "namespace")}
    found["metadata"] = {**found.get("metadata", {}), **place}
    return found


def _part(value: Any, fields: Mapping[str, Any]) -> Any:
    """The part of a value that FieldsV1 names; all of it if FieldsV1 names no field within."""
    within = {key: below for key, below in fields.items() if key != "."}
    if not within:
        return value
    if isinstance(value, Mapping):
        named = ((key.removeprefix("f:"), below) for key, below in within.items())
        return {key: _part(value[key], below) for key, below in named if key in value}
    if isinstance(value, list):
        return list(_items(value, within))
    return value


def _items(items: list[Any], fields: Mapping[str, Any]) -> Iterator[Any]:
    """An item is named by its keys (`k:{"name":"x"}`) or, in a set, by its value (`v:1`)."""
    for item in items:
        for name, below in fields.items():
            sort, _, text = name.partition(":")
            said = json.loads(text)
            if sort == "v" and said == item:
                yield item
            elif sort == "k" and all(item.get(key) == value for key, value in said.items()):
                yield _part(item, below)
