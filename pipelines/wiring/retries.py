"""How long a task may be tried for."""

from __future__ import annotations

_DAY = 24 * 3600
# For a step that has no end of its own; weeks are usual for a rollout.
_WITHOUT_END = 90 * _DAY


def window(retries: int, timeout: int, pause: int, factor: float) -> int:
    """Seconds for all tries of a task, to be its `backoff_max_duration`.

    Argo counts from the beginning of the first try, waiting for a node included, and ends a later
    one that is over it: what is shorter than the tries and pauses together takes tries away.

    Args:
        retries: After the first try.
        timeout: Seconds of a try; 0: without end.
        pause: Seconds before the first retry.
        factor: Between two pauses.
    """
    pauses = sum(pause * factor**number for number in range(retries))
    tries = (retries + 1) * timeout if timeout else _WITHOUT_END
    # Nodes and images are waited for, too.
    return int(tries + pauses) + _DAY
