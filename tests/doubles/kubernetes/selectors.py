"""Label and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from kfp_suite.testing.kubernetes.answers import bad_request
from kfp_suite.testing.kubernetes.kinds import Json, Kind

Test = Callable[[Json], bool]

_COMMAS = re.compile(r",(?![^(]*\))")
_SET = re.compile(r"^(\S+)\s+(in|notin)\s+\(([^)]*)\)$")
_EQUAL = re.compile(r"^([^=!\s]+)\s*(==|!=|=)\s*([^=!\s]*)$")
_EXISTS = re.compile(r"^(!?)\s*([^=!\s(),]+)$")
_FIELDS = {
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "secrets": ("type",),
    "namespaces": ("status.phase",),
    "replicasets": ("status.replicas",),
}


def label_test(selector: str) -> Test:
    """Whether an object's labels match. Raises Refusal (400) where it cannot be read."""
    tests = [_label(part.strip()) for part in _COMMAS.split(selector) if part.strip()]
    return lambda item: all(test(item["metadata"].get("labels") or {}) for test in tests)


def field_test(selector: str, kind: Kind) -> Test:
    """Whether an object's fields match. Raises Refusal (400) for a field of another sort."""
    known = ("metadata.name", "metadata.namespace", *_FIELDS.get(kind.plural, ()))
    tests: list[tuple[tuple[str, ...], bool, str]] = []
    for part in filter(None, selector.split(",")):
        match = _EQUAL.match(part.strip())
        if match is None:
            raise bad_request(f"invalid selector: '{selector}'; can't understand '{part}'")
        name, operator, value = match.groups()
        if name not in known:
            raise bad_request(f"field label not supported: {name}")
        tests.append((tuple(name.split(".")), operator != "!=", value))
    return lambda item: all(
        (_field(item, path) == value) is wanted for path, wanted, value in tests
    )


def _field(item: Json, path: tuple[str, ...]) -> str:
    found: Any = item
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, dict):
        found = found.get("component")
    return "" if found is None else str(found)


def _label(part: str) -> Callable[[dict[str, str]], bool]:
    if match := _SET.match(part):
        key, operator, listed = match.groups()
        values = {value.strip() for value in listed.split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match := _EQUAL.match(part):
        key, operator, value = match.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match := _EXISTS.match(part):
        absent, key = match.groups()
        return lambda labels: (key in labels) is not bool(absent)
    raise bad_request(
        f"unable to parse requirement: found '{part}', expected: in, notin, =, ==, !="
    )
