"""KFP's own API definition: what a request may hold, and what an answer must be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft4Validator

Json = dict[str, Any]


class Definition:
    """A Swagger 2.0 file; without one everything is allowed.

    Args:
        file: `kfp_api_v2beta1.swagger.json`, or None.
    """

    def __init__(self, file: Path | None) -> None:
        self._whole: Json = _closed(json.loads(file.read_text())) if file else {"paths": {}}
        self._routes = [
            (method.upper(), _pattern(path), operation)
            for path, methods in self._whole["paths"].items()
            for method, operation in methods.items()
        ]

    def refuses(self, method: str, path: str, query: Mapping[str, str], body: Any) -> str:
        """Why a request is not allowed, empty where it is. `body` None: there is none."""
        operation = self._operation(method, path)
        if operation is None:
            return "no such path" if self._routes else ""
        parameters = operation.get("parameters", ())
        known = {one["name"] for one in parameters if one["in"] == "query"}
        if unknown := sorted(set(query) - known):
            return f"unknown query parameter '{unknown[0]}'"
        for one in parameters:
            if one["in"] == "body":
                return self._first(one["schema"], body if body is not None else {})
        return ""

    def check_answer(self, method: str, path: str, status: int, body: Any) -> None:
        """Raises AssertionError for an answer that the definition does not have."""
        operation = self._operation(method, path)
        if operation is None:
            return
        responses = operation["responses"]
        schema = responses.get(str(status), responses.get("default", {})).get("schema")
        found = self._first(schema, body) if schema else ""
        assert not found, f"{method} {path} answered {status}: {found}: {body}"

    def _operation(self, method: str, path: str) -> Any:
        # The literal path before one with a parameter in its place.
        fitting = [
            (pattern.groups, operation)
            for known, pattern, operation in self._routes
            if known == method and pattern.fullmatch(path)
        ]
        return min(fitting, key=lambda one: one[0])[1] if fitting else None

    def _first(self, schema: Json, value: Any) -> str:
        # In one schema, so that its references lead somewhere.
        whole = {"definitions": self._whole["definitions"], "allOf": [schema]}
        for error in Draft4Validator(whole).iter_errors(value):
            where = ".".join(map(str, error.absolute_path))
            return f"{where or 'body'}: {error.message[:200]}"
        return ""


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]+\}", path)
    return re.compile("([^/:]+)".join(map(re.escape, parts)))


def _closed(value: Any) -> Any:
    """The definition with objects that take nothing but what they list."""
    if isinstance(value, dict):
        found = {key: _closed(one) for key, one in value.items()}
        if isinstance(found.get("properties"), dict) and found.get("type") == "object":
            open_ended = "@type" in found["properties"]
            found.setdefault("additionalProperties", open_ended)
        return found
    return [_closed(one) for one in value] if isinstance(value, list) else value
