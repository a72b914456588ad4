"""Patience with a cluster: wait until it is as it should be, whatever its API does meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from kfp_suite.contracts.errors import TransientError
from kfp_suite.kserve.cluster import Cluster

POLL_SECONDS = 2.0
T = TypeVar("T")

log = logging.getLogger(__name__)


class Missing(Exception):
    """What is still waited for, in words."""


class GivenUp(Missing):
    """Waiting longer is of no use."""


def wait_for(
    cluster: Cluster,
    look: Callable[[float], T],
    where: str,
    timeout_seconds: float,
    clock: Callable[[], float],
) -> T:
    """Look until nothing is missing.

    Args:
        cluster: Where.
        look: Given the seconds that have passed, what is there; raises Missing where it is
            not yet as it should be, GivenUp where it never will be.
        where: What is looked at.
        timeout_seconds: How long it may take; there is one look at least.
        clock: Monotonic seconds.

    Raises:
        Missing: the last one, when time is over; an API that does not answer counts as one.
        GivenUp: as `look`.
    """
    started, told = clock(), ""
    while True:
        passed = clock() - started
        try:
            return look(passed)
        except GivenUp:
            raise
        except (Missing, TransientError) as error:
            if passed >= timeout_seconds:
                raise Missing(str(error)) from error
            missing = str(error)
        if missing != told:
            log.info("%s: waiting for %s", where, missing)
            told = missing
        cluster.sleep(min(POLL_SECONDS, timeout_seconds - passed))


def patiently(
    cluster: Cluster, call: Callable[[], T], timeout_seconds: float, clock: Callable[[], float]
) -> T:
    """What a call to the API gives, however long the API does not answer meanwhile, or the
    object that was there before is on its way out.

    Raises:
        TransientError: it has not answered for `timeout_seconds`, or the object is still there.
    """
    started, told = clock(), ""
    while True:
        try:
            return call()
        except TransientError as error:
            passed = clock() - started
            if passed >= timeout_seconds:
                raise
            if str(error) != told:
                told = str(error)
                log.info("%s", told)
        cluster.sleep(min(POLL_SECONDS, timeout_seconds - passed))
