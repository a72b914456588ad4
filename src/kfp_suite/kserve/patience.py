"""Poll the cluster until a condition holds, tolerating transient API errors."""

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
    """The condition that does not hold yet, in words."""


class GivenUp(Missing):
    """Waiting longer is of no use."""


def wait_for(
    cluster: Cluster,
    look: Callable[[float], T],
    where: str,
    timeout_seconds: float,
    clock: Callable[[], float],
) -> T:
    """Poll until a condition holds.

    Args:
        cluster: The cluster.
        look: Gets the seconds that have passed and returns the result; raises Missing if the
            condition does not hold yet, GivenUp if it never will.
        where: The object, for errors.
        timeout_seconds: The time limit; there is at least one look.
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
    """The result of a call to the API, repeated while the API does not answer, or while the former
    object is being deleted.

    Raises:
        TransientError: no answer within `timeout_seconds`, or the former object is still there.
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
