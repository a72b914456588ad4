"""One rollout: a share at a time, judged at each, then promoted or taken back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kfp_suite.components.contracts.errors import EndpointError
from kfp_suite.components.contracts.parameters import parse, whole_numbers
from kfp_suite.components.kserve.canary import (
    SHADOW,
    Split,
    promoted,
    replacing,
    split_of,
    with_candidate,
    without_candidate,
)
from kfp_suite.components.kserve.deployable import Deployable
from kfp_suite.components.kserve.manifests import inference_service, server_image, serving_runtime
from kfp_suite.components.kserve.settings import EndpointSettings
from kfp_suite.components.kserve.smoke import smoke_test
from kfp_suite.components.rollout.judging import Judgement, Limits, judge, slow_from, told
from kfp_suite.components.rollout.measuring import Growth, Observed, scrape_url
from kfp_suite.components.rollout.outcome import Outcome, Step
from kfp_suite.components.rollout.parameters import RolloutParameters
from kfp_suite.components.rollout.quality import Labelled
from kfp_suite.components.rollout.targets import Target
from kfp_suite.components.runtimes.runtime import SUITE
from kfp_suite.components.stores.versions import CHAMPION

_LABELLED_A_LOOK = 20
# Metrics that once do not answer say nothing about a version.
_SCRAPES = 3

log = logging.getLogger(__name__)


class Rolling:
    """One rollout."""

    def __init__(
        self,
        parameters: RolloutParameters,
        deployable: Deployable,
        settings: EndpointSettings,
        target: Target,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._parameters, self._deployable, self._settings = parameters, deployable, settings
        self._target, self._clock, self._sleep = target, clock, sleep
        self._limits = parse(Limits, whole_numbers(parameters.limits), "limits")
        self._steps: list[Step] = []

    def run(self) -> Outcome:
        served = self._deployable.served
        live = self._target.live()
        self._manifest()  # refused before anything is changed, where the cluster would not take it
        if served.runtime == SUITE:
            image = server_image(served, self._settings)
            self._target.prepare([serving_runtime(image, self._parameters.namespace)])
        if live is None:
            return self._first()
        split = split_of(live)
        if split.candidate is None and split.stable.version == served.version:
            self._make_champion("it serves")
            return self._outcome(served.version, True, f"version {served.version} serves already")
        if split.candidate is not None and split.candidate.version != served.version:
            raise EndpointError(
                "another rollout is under way",
                where=served.name,
                got=f"version {split.candidate.version} at {split.percent} %",
                expected=f"version {served.version}, or none",
                fix="let it end, or roll it back: kfp-suite endpoints rollback",
            )
        return self._from(live, split)

    def _from(self, live: dict[str, Any], split: Split) -> Outcome:
        """The steps that are left."""
        version = self._deployable.served.version
        before = split.stable.version
        done = split.percent if split.candidate is not None else -1
        waiting = [percent for percent in self._parameters.steps if percent >= done]
        try:
            growth = Growth(self._scrape)
            worse = self._climb(waiting, before, growth)
            if worse:
                return self._roll_back(worse)
        except EndpointError as error:
            return self._roll_back(str(error))
        share = self._parameters.steps[-1]
        if share < 100:
            why = f"version {version} answers {share} % beside version {before}"
            return self._outcome(before, False, why, share)
        try:
            self._promote()
        except EndpointError as error:
            stable = without_candidate(live, self._target.mode)
            self._target.apply(replacing(stable, self._live()))
            return self._rolled_back(before, str(error))
        why = self._steps[-1].why if self._steps else "picked up after the last step"
        return self._outcome(before, True, f"version {version} promoted: {why}")

    def _climb(self, waiting: list[int], before: int, growth: Growth) -> str:
        """Step by step; why it must go back, empty where it need not."""
        labelled, latency = self._labelled(), self._limits.latency_seconds
        for percent in waiting:
            latency = latency or slow_from(told(growth.look(), before), self._limits)
            self._share(percent, before)
            step, latency = self._watch(percent, before, growth, labelled, latency)
            self._steps.append(step)
            if step.judgement["verdict"] == "worse":
                return step.why
            if step.judgement["verdict"] == "unknown" and (percent or self._parameters.shadow):
                if self._parameters.undecided == "rollback":
                    return f"at {percent} % {step.why}"
                log.warning("%s", step.why)
        return ""

    def _first(self) -> Outcome:
        """No endpoint yet: there is nothing to be compared with."""
        served = self._deployable.served
        self._target.apply(self._manifest())
        self._smoke()
        self._make_champion("the first version of the endpoint")
        return self._outcome(0, True, f"version {served.version} is the first")

    def _manifest(self) -> dict[str, Any]:
        """The endpoint with the candidate alone."""
        return inference_service(
            self._deployable.served,
            namespace=self._parameters.namespace,
            settings=self._settings,
            options=self._parameters.runtime_options,
            mode=self._target.mode if self._parameters.target == "cluster" else None,
        )

    def _live(self) -> dict[str, Any]:
        live = self._target.live()
        if live is None:
            raise EndpointError(
                "somebody deleted the endpoint meanwhile",
                where=self._deployable.served.name,
                fix="run the rollout again",
            )
        return live

    def _share(self, percent: int, before: int) -> None:
        live = self._live()
        stable = split_of(live).stable.version
        if stable != before:
            raise EndpointError(
                "somebody deployed another version meanwhile",
                where=self._deployable.served.name,
                got=f"version {stable}",
                expected=f"version {before}",
            )
        side = self._manifest()["spec"]["predictor"]
        if self._parameters.shadow and not percent:
            side["annotations"][SHADOW] = str(self._parameters.shadow)
        self._target.apply(with_candidate(live, side, percent, self._target.mode))
        log.info("version %s gets %s %%", self._deployable.served.version, percent)

    def _watch(
        self, percent: int, before: int, growth: Growth, labelled: Labelled | None, latency: float
    ) -> tuple[Step, float]:
        """Look until there is a verdict, or the step's time is over."""
        version = self._deployable.served.version
        started = self._clock()
        seen = told(growth.look(), version).errors.total
        while True:
            if labelled is not None and percent:
                sides = self._target.sides()
                for base, headers in sides:
                    requests = _LABELLED_A_LOOK // len(sides)
                    labelled.send(base, self._deployable.served.name, headers, requests)
            observed = growth.look()
            if labelled is not None:
                observed = labelled.add_to(observed)
            stable, candidate = told(observed, before), told(observed, version)
            latency = latency or slow_from(stable, self._limits)
            judgement = judge(stable, candidate, self._limits, latency)
            seconds = self._clock() - started
            if self._decided(judgement, percent, candidate, seen):
                break
            if seconds >= self._parameters.step_seconds:
                break
            self._sleep(self._parameters.look_seconds)
        step = Step(percent, round(seconds, 3), judgement.to_json(), judgement.why)
        log.info("%s %%: %s", percent, judgement.why)
        return step, latency

    def _decided(self, judgement: Judgement, percent: int, candidate: Observed, seen: int) -> bool:
        if percent == 0 and not self._parameters.shadow:
            return True  # it has started: that is all a share of nothing shows
        if judgement.verdict == "worse":
            return True
        enough = candidate.errors.total - seen >= self._limits.min_requests
        return judgement.verdict == "good" and enough

    def _roll_back(self, why: str) -> Outcome:
        """The stable version gets every request at once; then the candidate goes."""
        live = self._live()
        split = split_of(live)
        if split.candidate is not None:
            self._target.roll_back(live)
        return self._rolled_back(split.stable.version, why)

    def _rolled_back(self, before: int, why: str) -> Outcome:
        version = self._deployable.served.version
        self._deployable.models.set_alias(
            self._parameters.model_name, CHAMPION, before, f"version {version} was rolled back"
        )
        return self._outcome(before, False, f"version {version} rolled back: {why}")

    def _promote(self) -> None:
        side = self._manifest()["spec"]["predictor"]
        self._target.apply(promoted(self._live(), side, self._target.mode))
        self._smoke()
        self._make_champion("rolled out")

    def _smoke(self) -> None:
        sample, question = self._deployable.question(self._live())
        base, headers = self._target.address()
        version = str(self._deployable.served.version)
        smoke_test(base, headers, question, sample, version=version, sleep=self._sleep)

    def _make_champion(self, reason: str) -> None:
        served = self._deployable.served
        self._deployable.models.set_alias(served.model, CHAMPION, served.version, reason)

    def _labelled(self) -> Labelled | None:
        given = self._parameters
        if not given.labelled:
            return None
        return Labelled.read(given.labelled, given.label, given.label_tolerance)

    def _scrape(self) -> dict[Any, float]:
        for _ in range(_SCRAPES - 1):
            with suppress(EndpointError):
                return self._scraped()
            self._sleep(self._parameters.look_seconds)
        return self._scraped()

    def _scraped(self) -> dict[Any, float]:
        found = self._target.scrape()
        if self._parameters.quality_url:
            found |= scrape_url(self._parameters.quality_url, self._deployable.served.name)
        return found

    def _outcome(self, before: int, done: bool, why: str, share: int | None = None) -> Outcome:
        served = self._deployable.served
        left = share if share is not None else 100 * done
        steps = tuple(self._steps)
        return Outcome(served.model, served.name, served.version, before, done, why, left, steps)
