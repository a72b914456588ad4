"""How large a request may be, and how long it may take."""

from __future__ import annotations

MOST_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 30.0
MOST_BODY_BYTES = 32 * 1024 * 1024
BODY_SECONDS = 30.0
PREDICT_SECONDS = 60.0
"""How long a prediction may take, from the request that was read to its answer."""
_SAY_SO_SECONDS = 2.0


def drain_seconds(predict_seconds: float) -> float:
    """How long requests may take that were there when a server was asked to stop: as long as
    any, and to say so where that was not enough."""
    return predict_seconds + _SAY_SO_SECONDS
