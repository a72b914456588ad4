"""What became of telling somebody: in the log, and in `notices.json`. It fails no run."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass

from kfp_suite.contracts.errors import KfpSuiteError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """A channel, whether it took the message, and why it did not."""

    channel: str
    sent: bool
    why: str = ""


def sent(channel: str) -> Told:
    """It took the message."""
    log.info("told %s", channel)
    return Told(channel, sent=True)


def failed(channel: str, *errors: Exception, hide: str = "") -> Told:
    """It did not, because of `errors`, whose text does not show `hide`."""
    counts = Counter(
        str(error) if isinstance(error, KfpSuiteError) else f"{type(error).__name__}: {error}"
        for error in errors
    )
    why = "; ".join(
        text if times == 1 else f"{text} ({times} times)" for text, times in counts.items()
    )
    if hide:
        why = why.replace(hide, "***")
    log.warning("could not tell %s: %s; the run is not affected", channel, why)
    return Told(channel, sent=False, why=why)
