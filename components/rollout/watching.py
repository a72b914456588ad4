"""Both versions, looked at again and again until there is a verdict."""

from __future__ import annotations

import logging
from collections.abc import Callable

from kfp_suite.components.rollout.judging import Judgement, Limits, judge, slow_from, told
from kfp_suite.components.rollout.measuring import Growth, Observed, Scrape, scrape_url
from kfp_suite.components.rollout.outcome import Step
from kfp_suite.components.rollout.parameters import RolloutParameters
from kfp_suite.components.rollout.quality import Labelled
from kfp_suite.components.rollout.targets import Target
from kfp_suite.contracts.errors import EndpointError, TransientError

_LABELLED_A_LOOK = 20
# Of metrics that do not answer before there is a candidate: that is no fault of a moment.
_LOOKS_AT_FIRST = 3

log = logging.getLogger(__name__)


class Watcher:
    """What a stable version and a candidate do from now on."""

    def __init__(
        self,
        parameters: RolloutParameters,
        limits: Limits,
        target: Target,
        name: str,
        versions: tuple[int, int],
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        """Of the endpoint `name` and the `versions` there, the stable one first.

        Raises:
            EndpointError, TransientError: the metrics do not answer.
            MissingError, DataError: the labelled records are not there, or are not labelled.
        """
        self._parameters, self._limits, self._target, self._name = parameters, limits, target, name
        self._before, self._version = versions
        self._clock, self._sleep = clock, sleep
        self._latency = limits.latency_seconds
        self._labelled: Labelled | None = None
        if parameters.labelled:
            self._labelled = Labelled.read(
                parameters.labelled, parameters.label, parameters.label_tolerance
            )
        self._patience = _LOOKS_AT_FIRST * parameters.look_seconds
        self._growth = Growth(self._scrape)
        self._patience = parameters.timeout_seconds

    def before(self, percent: int) -> None:
        """Look at what is slow while the stable version still says it. Before it gets no request
        any more, that is waited for, for as long as a step may take.

        Raises:
            EndpointError, TransientError: the metrics have not answered for as long as a
                change may take.
        """
        started = self._clock()
        while True:
            self._learn(told(self._growth.look(), self._before))
            waited = self._clock() - started >= self._parameters.step_seconds
            if self._latency or percent < 100 or waited:
                return
            self._sleep(self._parameters.look_seconds)

    def step(self, percent: int) -> Step:
        """Look until there is a verdict, or the step's time is over.

        Raises:
            EndpointError, TransientError: the metrics have not answered for as long as a
                change may take.
        """
        started = self._clock()
        seen = told(self._growth.look(), self._version).errors.total
        while True:
            judgement, answered = self._look(percent)
            seconds = self._clock() - started
            enough = answered - seen >= self._limits.min_requests
            if self._decided(judgement, percent, enough=enough):
                break
            if seconds >= self._parameters.step_seconds:
                break
            self._sleep(self._parameters.look_seconds)
        log.info("%s %%: %s", percent, judgement.why)
        return Step(percent, round(seconds, 3), judgement.to_json(), judgement.why, answered - seen)

    def _look(self, percent: int) -> tuple[Judgement, int]:
        """The verdict as it is, and how many answers the candidate has given."""
        if self._labelled is not None and percent:
            sides = self._target.sides()
            for base, headers in sides:
                requests = _LABELLED_A_LOOK // len(sides)
                self._labelled.send(base, self._name, headers, requests)
        observed = self._growth.look()
        if self._labelled is not None:
            observed = self._labelled.add_to(observed)
        stable, candidate = told(observed, self._before), told(observed, self._version)
        self._learn(stable)
        judgement = judge(stable, candidate, self._limits, self._latency)
        if ailing := self._target.ailing():
            judgement = Judgement("worse", judgement.criteria, ailing)
        return judgement, candidate.errors.total

    def _learn(self, stable: Observed) -> None:
        """What is slow, once: a limit that moved with the answers would be no limit."""
        self._latency = self._latency or slow_from(stable, self._limits)

    def _decided(self, judgement: Judgement, percent: int, *, enough: bool) -> bool:
        if percent == 0 and not self._parameters.shadow:
            return True  # it has started: that is all a share of nothing shows
        return judgement.verdict == "worse" or (judgement.verdict == "good" and enough)

    def _scrape(self) -> Scrape:
        """Metrics that do not answer for a while say nothing about a version."""
        started = self._clock()
        while True:
            try:
                found = self._target.scrape()
                if self._parameters.quality_url:
                    found |= scrape_url(self._parameters.quality_url, self._name)
                return found
            except (EndpointError, TransientError) as error:
                if self._clock() - started >= self._patience:
                    raise
                log.warning("%s", error)
            self._sleep(self._parameters.look_seconds)
