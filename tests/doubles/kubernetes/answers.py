"""What the server says when it does not do what it was asked: Status objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kfp_suite.testing.kubernetes.kinds import Json, Kind


@dataclass(frozen=True)
class Cause:
    """One thing that is wrong with an object: where, of which sort, and in words."""

    field: str
    reason: str
    message: str


class Refusal(Exception):
    """An answer that is no success.

    Args:
        code: The HTTP status.
        reason: Kubernetes' one word for it; empty where the server gives none.
        message: In words.
        details: Of the Status.
        headers: More headers of the answer.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.details, self.headers = details, dict(headers or {})

    def status(self) -> Json:
        """The Status object."""
        found: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            found["reason"] = self.reason
        if self.details:
            found["details"] = self.details
        return {**found, "code": self.code}


def not_found(kind: Kind, name: str) -> Refusal:
    """There is no such object."""
    return Refusal(404, "NotFound", f'{kind.qualified} "{name}" not found', _of(kind, name))


def already_exists(kind: Kind, name: str) -> Refusal:
    """An object to create is there."""
    message = f'{kind.qualified} "{name}" already exists'
    return Refusal(409, "AlreadyExists", message, _of(kind, name))


def conflict(kind: Kind, name: str, message: str = "") -> Refusal:
    """A write that is based on what is no longer there."""
    said = message or (
        "the object has been modified; please apply your changes to the latest version and try "
        "again"
    )
    text = f'Operation cannot be fulfilled on {kind.qualified} "{name}": {said}'
    return Refusal(409, "Conflict", text, _of(kind, name))


def bad_request(message: str) -> Refusal:
    """A request that makes no sense."""
    return Refusal(400, "BadRequest", message)


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> Refusal:
    """An object that its schema, or its rules, do not allow."""
    said = [f"{cause.field}: {cause.message}" for cause in causes]
    text = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    details: Json = {"name": name, "group": group, "kind": kind}
    details["causes"] = [
        {"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes
    ]
    qualified = f"{kind}.{group}" if group else kind
    return Refusal(422, "Invalid", f'{qualified} "{name}" is invalid: {text}', details)


def gone(asked: int, oldest: int) -> Refusal:
    """A resourceVersion that the server has forgotten."""
    return Refusal(410, "Expired", f"too old resource version: {asked} ({oldest})")


def deleted(kind: Kind, name: str, uid: str) -> Json:
    """The Status of a deletion."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {**_of(kind, name), "uid": uid},
    }


def _of(kind: Kind, name: str) -> Json:
    found = {"name": name, "group": kind.group, "kind": kind.plural}
    return {key: value for key, value in found.items() if value}
