"""Constant requests to an endpoint while it changes."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.smoke import address_of
from kfp_suite.runtimes.http_client import Answer, ask

_CLIENTS = 2
_PAUSE_SECONDS = 0.05


@dataclass
class Load:
    """What became of the requests.

    Attributes:
        seconds: The time that each answer took.
        versions: How many answers each version gave.
        failed: The error of each request that got no answer.
    """

    seconds: list[float] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """How many requests have ended."""
        return len(self.seconds) + len(self.failed)

    def figures(self) -> dict[str, object]:
        """The figures for the table: times in milliseconds, answers by version."""
        if len(self.seconds) > 1:
            cuts = statistics.quantiles(self.seconds, n=100, method="inclusive")
            times = {"p50 ms": round(cuts[49] * 1000), "p99 ms": round(cuts[98] * 1000)}
        else:
            times = {}
        versions = ", ".join(f"{version}: {self.versions[version]}" for version in self.versions)
        found = {"requests": self.requests, "failed": len(self.failed), **times}
        return found | {"answers by version": versions}


def asking(
    service: Mapping[str, Any], deployable: Deployable, ingress: str
) -> Callable[[], Answer]:
    """What asks an endpoint for a model's sample, always at the same address.

    Args:
        service: The InferenceService, with its status.
        deployable: A version of the model.
        ingress: The address of the cluster's ingress; empty: the endpoint's own address.
    """
    base, headers = address_of(service, ingress)
    question = deployable.question(service)[1]
    return lambda: ask(base, question, headers=headers)


@contextmanager
def constant_load(ask_once: Callable[[], Answer]) -> Iterator[Load]:
    """Send requests from several clients until the block ends.

    Args:
        ask_once: Sends one request; raises EndpointError if it gets no answer.
    """
    load, ended, lock = Load(), threading.Event(), threading.Lock()

    def send() -> None:
        while not ended.wait(_PAUSE_SECONDS):
            try:
                answer = ask_once()
            except EndpointError as error:
                with lock:
                    load.failed.append(str(error))
                continue
            with lock:
                load.seconds.append(answer.seconds)
                load.versions[answer.version] += 1

    clients = [threading.Thread(target=send, daemon=True) for _ in range(_CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield load
    finally:
        ended.set()
        for client in clients:
            client.join()


def wait_for_requests(load: Load, count: int) -> None:
    """Wait until `count` more requests have ended, however long each takes."""
    wanted = load.requests + count
    while load.requests < wanted:
        time.sleep(_PAUSE_SECONDS)
