"""The result of sending a message: logged, and written to `notices.json`. It fails no run."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass

from kfp_suite.contracts.errors import KfpSuiteError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """A channel, whether it took the message, and the reason if not."""

    channel: str
    sent: bool
    why: str = ""


def sent(channel: str) -> Delivery:
    """The delivery of a message that the channel took, logged."""
    log.info("notified %s", channel)
    return Delivery(channel, sent=True)


def failed(channel: str, *errors: Exception, hide: str = "") -> Delivery:
    """The delivery of a message that failed with `errors`, logged without the text `hide`."""
    counts = Counter(
        str(error) if isinstance(error, KfpSuiteError) else f"{type(error).__name__}: {error}"
        for error in errors
    )
    why = "; ".join(
        text if times == 1 else f"{text} ({times} times)" for text, times in counts.items()
    )
    if hide:
        why = why.replace(hide, "***")
    log.warning("could not notify %s: %s; the run is not affected", channel, why)
    return Delivery(channel, sent=False, why=why)
