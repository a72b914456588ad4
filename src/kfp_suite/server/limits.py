"""How large a request may be, and how long it may take."""

from __future__ import annotations

MAX_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 30.0
MAX_BODY_BYTES = 32 * 1024 * 1024
BODY_SECONDS = 30.0
PREDICT_SECONDS = 60.0
"""How long a prediction may take, from the request that was read to its answer."""
_SAY_SO_SECONDS = 2.0


def drain_seconds(predict_seconds: float) -> float:
    """Seconds for requests in flight when a server is asked to stop: as long as any request may
    take, and a margin to answer with a time-out."""
    return predict_seconds + _SAY_SO_SECONDS
