"""KServe's own CRDs: what an object may hold, and what is pruned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from kfp_suite.testing.cluster.objects import ApiError, Object


class Schemas:
    """The CRDs in a folder; without one, whatever is sent is taken."""

    def __init__(self, folder: Path | None) -> None:
        self._schemas: dict[tuple[str, str, str], Any] = {}
        self._validators: dict[tuple[str, str, str], Any] = {}
        for file in sorted(folder.glob("*.yaml")) if folder else ():
            for crd in yaml.load_all(file.read_text(), yaml.CSafeLoader):
                spec = crd["spec"]
                for version in spec["versions"]:
                    key = (spec["group"], version["name"], spec["names"]["plural"])
                    self._schemas[key] = version["schema"]["openAPIV3Schema"]

    def check(self, key: tuple[str, str, str], found: Object, *, strict: bool) -> Object:
        """The object without what the CRD does not know.

        Raises:
            ApiError: 422 for what the CRD does not take; 400 for an unknown field where
                validation is strict.
        """
        schema = self._schemas.get(key)
        if schema is None:
            return found
        unknown: list[str] = []
        pruned: Object = _pruned(found, schema, "", unknown)
        if strict and unknown:
            told = ", ".join(f'unknown field "{name}"' for name in unknown)
            raise ApiError(400, f"strict decoding error: {told}")
        if key not in self._validators:
            self._validators[key] = jsonschema.Draft7Validator(_plain(schema))
        causes = [
            {
                "reason": "FieldValueInvalid",
                "message": error.message,
                "field": ".".join(map(str, error.absolute_path)),
            }
            for error in self._validators[key].iter_errors(pruned)
        ]
        if causes:
            told = "; ".join(f"{c['field']}: {c['message'][:200]}" for c in causes)
            name = found["metadata"].get("name", "")
            raise ApiError(422, f'{found["kind"]}.{key[0]} "{name}" is invalid: {told}', causes)
        return {**pruned, "metadata": found["metadata"]}


def _pruned(value: Any, schema: Any, at: str, unknown: list[str]) -> Any:
    if isinstance(value, list):
        items = schema.get("items", {})
        return [_pruned(item, items, f"{at}[{i}]", unknown) for i, item in enumerate(value)]
    if not isinstance(value, Mapping) or "properties" not in schema:
        more = schema.get("additionalProperties")
        if isinstance(value, Mapping) and isinstance(more, Mapping):
            return {k: _pruned(v, more, f"{at}.{k}", unknown) for k, v in value.items()}
        return value
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
    known = schema["properties"]
    found = {}
    for key, below in value.items():
        if key in ("apiVersion", "kind", "metadata") and not at:
            found[key] = below
        elif key in known:
            found[key] = _pruned(below, known[key], f"{at}.{key}".lstrip("."), unknown)
        elif open_ended:
            found[key] = below
        else:
            unknown.append(f"{at}.{key}".lstrip("."))
    return found


def _plain(schema: Any) -> Any:
    """As JSON Schema: an int-or-string is either, and formats of Go are no formats."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    found = {
        key: _plain(value)
        for key, value in schema.items()
        if not key.startswith("x-") and key not in ("format", "default", "description")
    }
    if "properties" in schema:
        found["properties"] = {k: _plain(v) for k, v in schema["properties"].items()}
    return found
