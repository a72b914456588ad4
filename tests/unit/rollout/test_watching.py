"""What is slow is told by enough answers, and by none that come later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from kfp_suite.components.rollout.judging import Limits
from kfp_suite.components.rollout.measuring import Scrape, parse_metrics
from kfp_suite.components.rollout.parameters import RolloutParameters
from kfp_suite.components.rollout.targets import Target
from kfp_suite.components.rollout.watching import Watcher
from kfp_suite.server.metrics import EndpointMetrics


class Endpoint:
    """Two versions alike; each second it answers as many requests as it is told."""

    def __init__(self, requests: int, seed: int = 1) -> None:
        self.share, self.requests = 0, requests
        self.now, self._random = 0.0, np.random.default_rng(seed)
        self._registry = CollectorRegistry()
        self._metrics = EndpointMetrics(self._registry)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.answer(round(self.requests * seconds))

    def answer(self, requests: int) -> None:
        for number in range(requests):
            version = "2" if number < requests * self.share / 100 else "1"
            took = float(self._random.lognormal(np.log(0.02), 0.5))
            self._metrics.observe("wings", version, 200, took)

    def scrape(self) -> Scrape:
        return {"a": parse_metrics(generate_latest(self._registry).decode(), "wings")}

    def ailing(self) -> str:
        return ""


def watcher(endpoint: Endpoint, limits: Mapping[str, float] | None = None) -> Watcher:
    parameters = RolloutParameters(
        "store", "wings", manifest="wings.yaml", look_seconds=1, step_seconds=60
    )
    found = Limits(**(limits or {}))  # type: ignore[arg-type]
    target = cast(Target, endpoint)
    return Watcher(parameters, found, target, "wings", (1, 2), lambda: endpoint.now, endpoint.sleep)


@pytest.mark.parametrize("seed", range(5))
def test_versions_alike_need_as_many_answers_as_the_documentation_says(seed: int) -> None:
    """However few of them were there when it began to look."""
    endpoint = Endpoint(requests=100, seed=seed)
    found = watcher(endpoint)
    endpoint.answer(1)
    found.before(10)
    endpoint.share = 10
    step = found.step(10)
    assert step.judgement["verdict"] == "good", step.why
    assert step.answered <= 550


def test_before_the_last_step_it_waits_for_what_is_slow() -> None:
    endpoint = Endpoint(requests=40)
    found = watcher(endpoint)
    found.before(50)
    assert endpoint.now == 0
    found.before(100)
    assert endpoint.now == 5
    endpoint.share = 100
    step = found.step(100)
    assert step.judgement["verdict"] == "good", step.why
    assert [c["name"] for c in step.judgement["criteria"]][2].startswith("slower than ")


def test_it_does_not_wait_for_ever_and_nothing_unknown_is_good() -> None:
    endpoint = Endpoint(requests=3)
    found = watcher(endpoint)
    found.before(100)
    assert endpoint.now == 60
    endpoint.share, endpoint.requests = 100, 1000
    step = found.step(100)
    assert step.judgement["verdict"] == "unknown"
    assert "slow answers (fewer than 200 of the version before to tell)" in step.why


def test_who_says_what_is_slow_need_not_wait() -> None:
    endpoint = Endpoint(requests=40)
    watcher(endpoint, {"latency_seconds": 0.5}).before(100)
    assert endpoint.now == 0
