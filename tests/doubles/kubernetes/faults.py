"""Faults: answers that the server gives instead of doing what it was asked."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from kfp_suite.testing.kubernetes.answers import Refusal

DROPPED = 0
_REASONS = {
    401: ("Unauthorized", "Unauthorized"),
    403: ("Forbidden", "forbidden"),
    409: ("Conflict", "the object has been modified"),
    429: ("TooManyRequests", "Too many requests, please try again later."),
    500: ("InternalError", "Internal error occurred: etcdserver: request timed out"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "the server was unable to return a response in the time allotted"),
}


@dataclass
class Fault:
    """What goes wrong with the next requests of a verb on a resource.

    Attributes:
        status: The HTTP status; 0: the connection is dropped without an answer.
        times: For how many requests.
        verb: As RBAC names it; None: any.
        resource: A plural, with its subresource; None: any.
        retry_after: Seconds, for the Retry-After header.
        performed: The request is carried out first, and only its answer is lost.
    """

    status: int
    times: int = 1
    verb: str | None = None
    resource: str | None = None
    retry_after: int | None = None
    performed: bool = False

    def refusal(self) -> Refusal:
        """The answer."""
        reason, message = _REASONS.get(self.status, ("", f"status {self.status}"))
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        details = {} if self.retry_after is None else {"retryAfterSeconds": self.retry_after}
        return Refusal(self.status, reason, message, details, headers)


class Faults:
    """The faults that are still to come, the first that fits first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._coming: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """One more."""
        with self._lock:
            self._coming.append(fault)

    def take(self, verb: str, resource: str) -> Fault | None:
        """The fault of a request, which is used up by it; None where nothing goes wrong."""
        with self._lock:
            for fault in self._coming:
                if fault.verb in (None, verb) and fault.resource in (None, resource):
                    fault.times -= 1
                    if fault.times <= 0:
                        self._coming.remove(fault)
                    return fault
        return None
