"""Conditions of a status, with the times at which they changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kfp_suite.testing.kubernetes.kinds import Json


class Conditions:
    """The conditions of an object.

    Args:
        before: As they were.
        now: The time of what changes.
    """

    def __init__(self, before: Iterable[Json], now: str) -> None:
        self._found = {one["type"]: dict(one) for one in before}
        self._now = now

    def set(
        self, sort: str, status: str, reason: str = "", message: str = "", *, info: bool = False
    ) -> None:
        """Set one; `info`: Ready does not depend on it."""
        before = self._found.get(sort, {})
        same = before.get("status") == status
        found: Json = {
            "lastTransitionTime": before["lastTransitionTime"] if same else self._now,
            "status": status,
            "type": sort,
        }
        if message:
            found["message"] = message
        if reason:
            found["reason"] = reason
        if info:
            found["severity"] = "Info"
        self._found[sort] = found

    def clear(self, sort: str) -> None:
        """Take one away."""
        self._found.pop(sort, None)

    def status_of(self, sort: str) -> str:
        """True, False or Unknown."""
        return str(self._found.get(sort, {}).get("status", "Unknown"))

    def is_true(self, sort: str) -> bool:
        """Whether one is True."""
        return self.status_of(sort) == "True"

    def sum_up(self, sort: str, parts: tuple[str, ...]) -> None:
        """Set one by others: what is False counts before what is Unknown, the last of them."""
        for status in ("False", "Unknown"):
            bad = [part for part in parts if self.status_of(part) == status]
            if bad:
                found = self._found.get(bad[-1], {})
                self.set(sort, status, found.get("reason", ""), found.get("message", ""))
                return
        self.set(sort, "True")

    def each(self) -> Iterator[tuple[str, str, str, str]]:
        """Type, status, reason and message of each."""
        for sort, found in self._found.items():
            yield sort, found["status"], found.get("reason", ""), found.get("message", "")

    def listed(self) -> list[Json]:
        """As a status holds them, by type."""
        return [self._found[sort] for sort in sorted(self._found)]
