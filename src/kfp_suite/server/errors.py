"""Errors for valid requests that cannot be answered, with their HTTP and gRPC status."""

from __future__ import annotations

from grpc import StatusCode
from grpc_interceptor.exceptions import GrpcException

_MAX_CHARS = 500
# Errors that a client can handle: by retrying, later, or with less.
_PASSED_ON = {
    429: StatusCode.RESOURCE_EXHAUSTED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}


class Unanswered(GrpcException):
    """No answer; `code` is that of HTTP."""

    def __init__(self, details: str, code: int, status: StatusCode) -> None:
        super().__init__(details, status)
        self.code = code


class PredictTimeout(Unanswered):
    """No prediction in time: 504 over HTTP, DEADLINE_EXCEEDED over gRPC."""

    def __init__(self, seconds: float) -> None:
        details = (
            f"no prediction within {seconds:g} s; send fewer records at once, "
            "or allow more with --predict-timeout"
        )
        super().__init__(details, 504, StatusCode.DEADLINE_EXCEEDED)


class PredictorFailed(Unanswered):
    """The predictor behind this transformer gave no answer, or none that can be used: 502 over
    HTTP, UNAVAILABLE over gRPC; its own status if it is busy or timed out."""

    def __init__(self, what: str, where: str, got: str, answered: int = 0) -> None:
        details = f"{where}: {what}; got {got[:_MAX_CHARS]}"
        code = answered if answered in _PASSED_ON else 502
        super().__init__(details, code, _PASSED_ON.get(answered, StatusCode.UNAVAILABLE))


class VersionNotServed(Unanswered):
    """Another version than the one that serves: 404 over HTTP, NOT_FOUND over gRPC."""

    def __init__(self, name: str, version: str, served: str) -> None:
        details = f"model '{name}' serves version {served}, not {version!r}"
        super().__init__(details, 404, StatusCode.NOT_FOUND)


class NotExplained(Unanswered):
    """An explanation, which no model of ours has: 404."""

    def __init__(self, name: str) -> None:
        super().__init__(f"model '{name}' has no explainer", 404, StatusCode.UNIMPLEMENTED)


class NotLoadable(Unanswered):
    """Loading or unloading in a server with fixed models, in which any client could stop the
    model for all others. 403 over HTTP, PERMISSION_DENIED over gRPC."""

    def __init__(self, name: str) -> None:
        details = f"model '{name}' is served for good: only --multi_model loads and unloads"
        super().__init__(details, 403, StatusCode.PERMISSION_DENIED)
