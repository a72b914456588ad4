"""Objects as an API server keeps them: names, versions, selectors, and answers to errors."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]
_SET = re.compile(r"^(?P<key>[^ !=,]+) (?P<not>not)?in \((?P<values>[^)]*)\)$")
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


class ApiError(Exception):
    """A request that is answered with a `Status`."""

    def __init__(self, code: int, message: str, causes: list[Object] | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.causes = code, message, causes or []

    def body(self) -> Object:
        """The `Status`."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": REASONS.get(self.code, "Unknown"),
            "details": {"causes": self.causes},
            "code": self.code,
        }


def selects(found: Object, labels: str, fields: str) -> bool:
    """Whether an object fits a label selector and a field selector."""
    own = found["metadata"].get("labels", {})
    return all(_fits(own, part) for part in _parts(labels)) and all(
        _field_fits(found, part) for part in _parts(fields)
    )


def merge(before: Any, patch: Any) -> Any:
    """JSON Merge Patch (RFC 7396)."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    found = dict(before) if isinstance(before, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merge(found.get(key), value)
    return found


def _parts(selector: str) -> list[str]:
    return [part.strip() for part in re.split(r",(?![^(]*\))", selector) if part.strip()]


def _fits(labels: Mapping[str, str], part: str) -> bool:
    if found := _SET.match(part):
        values = {value.strip() for value in found["values"].split(",")}
        return (labels.get(found["key"]) in values) != bool(found["not"])
    if "!=" in part:
        key, value = part.split("!=", 1)
        return labels.get(key.strip()) != value.strip()
    if "=" in part:
        key, value = part.replace("==", "=").split("=", 1)
        return labels.get(key.strip()) == value.strip()
    return part[1:] not in labels if part.startswith("!") else part in labels


def _field_fits(found: Object, part: str) -> bool:
    path, _, value = part.partition("=")
    at: Any = found
    for name in path.split("."):
        at = at.get(name, {}) if isinstance(at, Mapping) else {}
    return str(at) == value.lstrip("=")
