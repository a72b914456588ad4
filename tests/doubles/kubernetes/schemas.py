"""Schemas of objects: what a CustomResourceDefinition allows, prunes, fills in, and merges."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from kfp_suite.testing.kubernetes.answers import Cause
from kfp_suite.testing.kubernetes.kinds import Json, Kind, clone

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_RANGES = {"int32": 2**31, "int64": 2**63}
_PLURAL = re.compile(r"^    plural: (\S+)$", re.MULTILINE)


class Schema:
    """One level of a schema; the levels below are compiled when they are first needed.

    Args:
        raw: A structural schema, as a CustomResourceDefinition holds it.
    """

    def __init__(self, raw: Json) -> None:
        self._raw = raw
        self._children: dict[str, Schema] = {}
        self.type: str = raw.get("type", "")
        self.preserve = bool(raw.get(_PRESERVE))
        self.int_or_string = bool(raw.get("x-kubernetes-int-or-string"))
        self.required: tuple[str, ...] = tuple(raw.get("required", ()))
        self.declared: dict[str, Any] = raw.get("properties", {})
        self.list_type: str = raw.get("x-kubernetes-list-type", "atomic")
        self.map_keys: tuple[str, ...] = tuple(raw.get("x-kubernetes-list-map-keys", ()))
        self.atomic_map = raw.get("x-kubernetes-map-type") == "atomic"
        self._pattern = re.compile(raw["pattern"]) if "pattern" in raw else None

    def child(self, key: str) -> Schema | None:
        """The schema of a field, None where there is no such field."""
        if key in self._children:
            return self._children[key]
        if key in self.declared:
            raw = self.declared[key]
        else:
            raw = self._raw.get("additionalProperties")
            if raw is True or (raw is None and self.preserve):
                return ANYTHING
            if not isinstance(raw, dict):
                return None
        found = raw if isinstance(raw, Schema) else Schema(raw)
        self._children[key] = found
        return found

    @property
    def items(self) -> Schema:
        """The schema of a list's items."""
        if "[]" not in self._children:
            raw = self._raw.get("items")
            self._children["[]"] = Schema(raw) if isinstance(raw, dict) else ANYTHING
        return self._children["[]"]

    def default_of(self, key: str) -> Any:
        """The default of a field, None where it has none."""
        raw = self.declared.get(key)
        return raw.get("default") if isinstance(raw, dict) else None

    def key_of(self, item: Any) -> str:
        """The key of an item of a list that merges by key, as JSON."""
        values = {}
        for key in self.map_keys:
            value = item.get(key) if isinstance(item, dict) else None
            value = self.items.default_of(key) if value is None else value
            if value is not None:
                values[key] = value
        return json.dumps(values, separators=(",", ":"), sort_keys=True)

    def prune(self, value: Any, path: str = "") -> list[str]:
        """Drop what the schema does not know, in place; the paths of what was dropped."""
        if isinstance(value, list):
            found: list[str] = []
            for index, item in enumerate(value):
                found += self.items.prune(item, f"{path}[{index}]")
            return found
        if not isinstance(value, dict):
            return []
        dropped = []
        for key in list(value):
            below = self.child(key)
            where = f"{path}.{key}" if path else key
            if below is None:
                if self.type == "object" or self.declared:
                    del value[key]
                    dropped.append(where)
            else:
                dropped += below.prune(value[key], where)
        return dropped

    def fill(self, value: Any) -> None:
        """Fill in defaults, in place."""
        if isinstance(value, list):
            for item in value:
                self.items.fill(item)
        elif isinstance(value, dict):
            for key in self.declared:
                default = self.default_of(key)
                if default is not None and value.get(key) is None:
                    value[key] = clone(default)
            for key, one in value.items():
                below = self.child(key)
                if below is not None:
                    below.fill(one)

    def check(self, value: Any, path: str = "") -> Iterator[Cause]:
        """What is wrong with a value, in the server's words."""
        if self.preserve and not self.type:
            return
        wrong = self._wrong_type(value)
        if wrong:
            named = "null" if value is None else _type_of(value)
            said = named if value is None else json.dumps(named)
            message = f"{path} in body must be of type {wrong}: {json.dumps(named)}"
            yield Cause(path, "FieldValueTypeInvalid", f"Invalid value: {said}: {message}")
        elif isinstance(value, dict):
            yield from self._check_object(value, path)
        elif isinstance(value, list):
            yield from self._check_list(value, path)
        else:
            yield from self._check_scalar(value, path)

    def mistyped(self, value: Any, path: str = "") -> Iterator[str]:
        """Why server-side apply cannot even read a value: fields and types it does not know."""
        if value is None or (self.preserve and not self.type):
            return
        if isinstance(value, dict) and self.type == "object":
            for key, one in value.items():
                below = self.child(key)
                where = f"{path}.{key}"
                if below is None:
                    yield f"{where}: field not declared in schema"
                else:
                    yield from below.mistyped(one, where)
        elif isinstance(value, list) and self.type == "array":
            seen = set()
            for index, item in enumerate(value):
                where = f"{path}[{index}]"
                if self.list_type == "map":
                    key = self.key_of(item)
                    where = f"{path}{rendered(f'k:{key}')}"
                    if key in seen:
                        yield f"{path}: duplicate entries for key {rendered(f'k:{key}')}"
                    seen.add(key)
                yield from self.items.mistyped(item, where)
        elif self._wrong_type(value):
            if self.type in ("integer", "number"):
                expected = "numeric (int or float)"
            else:
                expected = {"object": "map", "array": "list"}.get(self.type, self.type)
            got = f"&value.valueUnstructured{{Value:{json.dumps(value)}}}"
            yield f"{path}: expected {expected}, got {got}"

    def _wrong_type(self, value: Any) -> str:
        """The type that is wanted, where the value has another; else empty."""
        if self.int_or_string:
            right = isinstance(value, int | str) and not isinstance(value, bool)
            return "" if right else "integer,string"
        if value is None:
            return "" if self._raw.get("nullable") or not self.type else self.type
        right = {
            "object": isinstance(value, dict),
            "array": isinstance(value, list),
            "string": isinstance(value, str),
            "boolean": isinstance(value, bool),
            "integer": not isinstance(value, bool)
            and (isinstance(value, int) or (isinstance(value, float) and value.is_integer())),
            "number": isinstance(value, int | float) and not isinstance(value, bool),
        }.get(self.type, True)
        return "" if right else self.type

    def _check_object(self, value: Json, path: str) -> Iterator[Cause]:
        for key in self.required:
            if key not in value:
                where = f"{path}.{key}" if path else key
                yield Cause(where, "FieldValueRequired", "Required value")
        for key, one in value.items():
            below = self.child(key)
            if below is not None:
                yield from below.check(one, f"{path}.{key}" if path else key)

    def _check_list(self, value: list[Any], path: str) -> Iterator[Cause]:
        least, most = self._raw.get("minItems"), self._raw.get("maxItems")
        if least is not None and len(value) < least:
            yield _invalid(path, len(value), f"should have at least {least} items")
        if most is not None and len(value) > most:
            message = f"Too many: {len(value)}: must have at most {most} items"
            yield Cause(path, "FieldValueTooMany", message)
        seen: set[str] = set()
        for index, item in enumerate(value):
            where = f"{path}[{index}]"
            if self.list_type in ("map", "set"):
                key = self.key_of(item) if self.list_type == "map" else json.dumps(item)
                if key in seen:
                    yield Cause(where, "FieldValueDuplicate", f"Duplicate value: {key}")
                seen.add(key)
            yield from self.items.check(item, where)

    def _check_scalar(self, value: Any, path: str) -> Iterator[Cause]:
        raw = self._raw
        allowed = raw.get("enum")
        if allowed is not None and value not in allowed:
            among = ", ".join(json.dumps(one) for one in allowed)
            message = f"Unsupported value: {json.dumps(value)}: supported values: {among}"
            yield Cause(path, "FieldValueNotSupported", message)
        if isinstance(value, str):
            if self._pattern is not None and not self._pattern.search(value):
                yield _invalid(path, value, f"should match '{raw['pattern']}'")
            if len(value) < raw.get("minLength", 0):
                yield _invalid(path, value, f"should be at least {raw['minLength']} chars long")
            if "maxLength" in raw and len(value) > raw["maxLength"]:
                message = f"Too long: may not be more than {raw['maxLength']} bytes"
                yield Cause(path, "FieldValueTooLong", message)
            if raw.get("format") == "date-time" and not _is_time(value):
                yield _invalid(path, value, f'must be of type date-time: "{value}"')
        elif isinstance(value, int | float) and not isinstance(value, bool):
            limit = _RANGES.get(raw.get("format", ""))
            if limit is not None and not -limit <= value < limit:
                yield _invalid(path, value, f'must be of type {raw["format"]}: "{value}"')
            if "minimum" in raw and value < raw["minimum"]:
                yield _invalid(path, value, f"should be greater than or equal to {raw['minimum']}")
            if "maximum" in raw and value > raw["maximum"]:
                yield _invalid(path, value, f"should be less than or equal to {raw['maximum']}")


ANYTHING = Schema({_PRESERVE: True})
_TEXTS: Json = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA = Schema(
    {
        "type": "object",
        _PRESERVE: True,
        "properties": {
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "labels": _TEXTS,
            "annotations": _TEXTS,
            "finalizers": {
                "type": "array",
                "items": {"type": "string"},
                "x-kubernetes-list-type": "set",
            },
            "ownerReferences": {
                "type": "array",
                "items": {_PRESERVE: True},
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["uid"],
            },
        },
    }
)
# By which key the core types merge their lists; whatever is not here is replaced whole.
_CORE_LISTS = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "secrets": ("name",),
    "conditions": ("type",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}


class _CoreSchema(Schema):
    """A schema that knows how lists merge by their names alone, and allows everything."""

    def __init__(self, name: str = "", above: str = "") -> None:
        super().__init__({_PRESERVE: True})
        self._name = name
        keys = _CORE_LISTS.get(name)
        if name == "ports":
            keys = ("containerPort", "protocol") if above == "containers" else ("port", "protocol")
        if keys:
            self.list_type, self.map_keys = "map", keys

    def child(self, key: str) -> Schema:
        """The schema of a field."""
        if key == "metadata":
            return METADATA
        if key not in self._children:
            self._children[key] = _CoreSchema(key, self._name)
        return self._children[key]

    @property
    def items(self) -> Schema:
        """The schema of a list's items."""
        if "[]" not in self._children:
            self._children["[]"] = _CoreItems(self._name)
        return self._children["[]"]


class _CoreItems(_CoreSchema):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def default_of(self, key: str) -> Any:
        """The default of a field: a port is TCP."""
        return "TCP" if key == "protocol" else None


class _Root(Schema):
    """The schema of a whole object: its metadata is every object's."""

    def child(self, key: str) -> Schema | None:
        """The schema of a field."""
        return METADATA if key == "metadata" else super().child(key)


CORE: Schema = _CoreSchema()
UNKNOWN: Schema = _Root({"type": "object", _PRESERVE: True})


class Schemas:
    """The schemas of the custom kinds, read when they are first needed.

    Args:
        folder: With the CustomResourceDefinitions as YAML files; None: none, everything goes.
    """

    def __init__(self, folder: Path | None) -> None:
        self._files: dict[str, Path] = {}
        for file in sorted(folder.glob("*.yaml")) if folder else ():
            for plural in _plurals(file, file.stat().st_mtime_ns):
                self._files[plural] = file

    def of(self, kind: Kind) -> Schema:
        """The schema of a kind."""
        if not kind.custom:
            return CORE
        file = self._files.get(kind.plural)
        if file is None or kind.group not in _groups(file, file.stat().st_mtime_ns):
            return UNKNOWN
        found = _compiled(file, file.stat().st_mtime_ns).get((kind.plural, kind.version))
        return found or UNKNOWN


@lru_cache(maxsize=64)
def _plurals(file: Path, _changed: int) -> tuple[str, ...]:
    return tuple(_PLURAL.findall(file.read_text()))


@lru_cache(maxsize=64)
def _groups(file: Path, _changed: int) -> frozenset[str]:
    return frozenset(re.findall(r"^  group: (\S+)$", file.read_text(), re.MULTILINE))


@lru_cache(maxsize=64)
def _compiled(file: Path, _changed: int) -> dict[tuple[str, str], Schema]:
    # The C reader takes 0.7 s for InferenceService; the other takes ten times that.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[tuple[str, str], Schema] = {}
    for document in yaml.load_all(file.read_text(), Loader=loader):
        if not document or document.get("kind") != "CustomResourceDefinition":
            continue
        for version in document["spec"]["versions"]:
            raw = version.get("schema", {}).get("openAPIV3Schema", {})
            found[document["spec"]["names"]["plural"], version["name"]] = _Root(raw)
    return found


def rendered(element: str) -> str:
    """An element of a path of fieldsV1, as messages show it."""
    sort, text = element[:1], element[2:]
    if sort == "f":
        return f".{text}"
    if sort == "k":
        pairs = json.loads(text).items()
        return f"[{','.join(f'{key}={json.dumps(value)}' for key, value in pairs)}]"
    return f"[={text}]" if sort == "v" else f"[{text}]"


def _invalid(path: str, value: Any, said: str) -> Cause:
    shown = json.dumps(value)
    return Cause(path, "FieldValueInvalid", f"Invalid value: {shown}: {path} in body {said}")


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {dict: "object", list: "array", str: "string", int: "integer", float: "number"}
    return names.get(type(value), "null")


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
