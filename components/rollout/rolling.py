"""One rollout: a share at a time, judged at each, then promoted or taken back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any

from kfp_suite.components.rollout.decisions import Decision
from kfp_suite.components.rollout.judging import Limits
from kfp_suite.components.rollout.outcome import Outcome, Step
from kfp_suite.components.rollout.parameters import RolloutParameters
from kfp_suite.components.rollout.targets import Target
from kfp_suite.components.rollout.watching import Watcher
from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    EndpointError,
    KfpSuiteError,
    ParameterError,
    SupersededError,
)
from kfp_suite.contracts.parameters import parse, whole_numbers
from kfp_suite.kserve.canary import (
    SHADOW,
    promoted,
    settled,
    split_of,
    version_before,
    with_candidate,
)
from kfp_suite.kserve.candidates import check_nothing_dropped, check_nothing_inherited
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.manifests import inference_service, server_image, serving_runtime
from kfp_suite.kserve.settings import EndpointSettings
from kfp_suite.kserve.smoke import smoke_test
from kfp_suite.runtimes.runtime import SUITE
from kfp_suite.stores.aliases import AliasRecord
from kfp_suite.stores.versions import CHAMPION

_NOTHING_MEASURED = "nothing was measured"

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
        self._version = deployable.served.version
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
        if split.candidate is None and split.stable.version == self._version:
            return self._in_place(live)
        if split.candidate is not None and split.candidate.version != self._version:
            raise EndpointError(
                "another rollout is under way",
                where=served.name,
                got=f"version {split.candidate.version} at {split.percent} %",
                expected=f"version {self._version}, or none",
                fix="let it end, or roll it back: kfp-suite endpoints rollback",
            )
        if self._parameters.target == "cluster" and split.stable.runtime != SUITE:
            raise ParameterError(
                f"runtime '{split.stable.runtime}' does not count its answers by version",
                where=served.name,
                got=f"version {split.stable.version}, which serves",
                fix=f"deploy a version on runtime '{SUITE}' first",
            )
        if why := self._decision.read():
            return self._roll_back(why)
        waiting = self._waiting(split.percent if split.candidate else -1)
        return self._through(waiting, split.stable.version)

    def _waiting(self, done: int) -> list[int]:
        """The steps that are left where the candidate has `done` percent. Where it has them all,
        the stable version has nothing left to be compared by: the step before is done again."""
        steps = self._parameters.steps
        if done > steps[-1]:
            raise ParameterError(
                "the rollout is further than that",
                where="steps",
                got=list(steps),
                expected=f"up to {done} or more: version {self._version} is at {done} %",
                fix="or roll it back first: kfp-suite endpoints rollback",
            )
        if done == 100:
            return [*([percent for percent in steps if percent < 100] or [0])[-1:], 100]
        return [percent for percent in steps if percent >= done]

    def _through(self, waiting: list[int], before: int) -> Outcome:
        """The steps that are left, and what they come to."""
        try:
            why = self._climb(waiting, before)
        except SupersededError as error:
            return self._superseded(error)
        except KfpSuiteError as error:
            if settled(self._live()):
                raise  # nothing was changed
            why = str(error)
        if why:
            return self._roll_back(why)
        share = self._parameters.steps[-1]
        if share < 100:
            why = f"version {self._version} answers {share} % beside version {before}"
            return self._outcome(before, False, why, share)
        return self._promoted(before, f"version {self._version} promoted: {self._steps[-1].why}")

    def _climb(self, waiting: list[int], before: int) -> str:
        """Step by step; why it must go back, empty if it need not."""
        versions, name = (before, self._version), self._deployable.served.name
        watcher = Watcher(
            self._parameters, self._limits, self._target, name, versions, self._clock, self._sleep
        )
        for percent in waiting:
            watcher.before(percent)
            self._share(percent, before)
            step = watcher.step(percent)
            self._steps.append(step)
            verdict = step.judgement["verdict"]
            if verdict == "worse":
                return step.why
            if verdict == "unknown" and (percent or self._parameters.shadow):
                if percent and not step.answered:
                    return f"at {percent} % it gave no answer that was counted; {step.why}"
                if self._parameters.undecided == "rollback":
                    return f"at {percent} % {step.why}"
                log.warning("%s", step.why)
        return ""

    def _share(self, percent: int, before: int) -> None:
        live = self._live()
        split = split_of(live)
        if split.stable.version != before or (self._steps and split.candidate is None):
            raise SupersededError(
                "somebody deployed another version meanwhile, or took the candidate away",
                where=self._deployable.served.name,
                got=f"version {split.stable.version} alone",
                expected=f"version {self._version} beside version {before}",
            )
        wanted = self._manifest()
        side = wanted["spec"]["predictor"]
        check_nothing_dropped(live, wanted, self._target.mode)
        if self._merges:
            check_nothing_inherited(live["spec"]["predictor"], side)
        if self._parameters.shadow and not percent:
            side["annotations"][SHADOW] = str(self._parameters.shadow)
        self._target.apply(with_candidate(live, side, percent, self._target.mode))
        log.info("version %s gets %s %%", self._version, percent)

    def _first(self) -> Outcome:
        """No endpoint yet: there is nothing to be compared with."""
        self._target.apply(self._manifest())
        self._smoke()
        self._make_champion("the first version of the endpoint")
        why = f"version {self._version} is the first: {_NOTHING_MEASURED}"
        return self._outcome(0, True, why)

    def _in_place(self, live: dict[str, Any]) -> Outcome:
        """It serves alone already: deployed, or promoted by a run that was killed. Who killed it
        may have done so before it had answered."""
        models, model = self._deployable.models, self._deployable.served.model
        checked = models.alias(model, CHAMPION) == self._version
        replaced = None if checked else version_before(live)
        if replaced is not None and (decided := self._decision.read()):
            return self._roll_back(decided)
        if taken := models.alias_taken_from(model, CHAMPION, self._version):
            return self._not_champion(taken)
        if replaced is None:
            try:
                self._target.wait()
                self._smoke()
                self._make_champion("it serves")
            except SupersededError as error:
                return self._superseded(error)
            why = f"version {self._version} serves already: {_NOTHING_MEASURED}"
            return self._outcome(self._version, True, why)
        why = (
            f"version {self._version} promoted: picked up after the last step; "
            f"{_NOTHING_MEASURED} by this run"
        )
        return self._checked(split_of(replaced).stable.version, why)

    def _not_champion(self, taken: AliasRecord) -> Outcome:
        """Somebody took the champion from the version, and its endpoint still serves it: with
        nothing to compare it with, that decision stands."""
        why = (
            f"version {self._version} serves already, and is no longer the champion; version "
            f"{taken.version} is ({taken.reason}); {_NOTHING_MEASURED}, and nothing was changed"
        )
        return self._outcome(self._version, False, why, share=100)

    def _promoted(self, before: int, why: str) -> Outcome:
        """Every request to it, as the stable version."""
        try:
            side = self._manifest()["spec"]["predictor"]
            self._target.apply(promoted(self._live(), side, self._target.mode))
        except SupersededError as error:
            return self._superseded(error)
        except KfpSuiteError as error:
            return self._roll_back(str(error))
        return self._checked(before, why)

    def _checked(self, before: int, why: str) -> Outcome:
        """It is promoted when it has answered right."""
        try:
            self._target.wait()
            self._smoke()
            self._make_champion("rolled out")
        except SupersededError as error:
            return self._superseded(error)
        except KfpSuiteError as error:
            return self._roll_back(str(error))
        return self._outcome(before, True, why)

    def _roll_back(self, why: str) -> Outcome:
        """The stable version gets every request at once; then the candidate goes. Or the
        version before a promoted one serves again."""
        try:
            self._decision.record(why)
            live = self._live()
            replaced = (
                version_before(live) if split_of(live).stable.version == self._version else None
            )
            if not settled(live):
                self._target.roll_back(live)
            elif replaced is not None:
                self._target.apply(replaced)
            stable = split_of(self._live()).stable.version
        except KfpSuiteError as error:
            raise EndpointError(
                f"version {self._version} is to be rolled back ({why}), and that fails: {error}",
                where=self._deployable.served.name,
                fix="run the rollout again, which goes on taking it back",
            ) from error
        self._give_up_champion(stable)
        return self._outcome(stable, False, f"version {self._version} rolled back: {why}")

    def _give_up_champion(self, stable: int) -> None:
        """The alias goes back with the version it names. What else it names is another
        endpoint's word: two of one model share it."""
        reason = f"version {self._version} was rolled back"
        model = self._deployable.served.model
        try:
            self._deployable.models.set_alias(
                model, CHAMPION, stable, reason, expected=self._version
            )
        except AlreadyExistsError:
            log.info("version %s is not the champion, which stays as it is", self._version)

    def _superseded(self, error: SupersededError) -> Outcome:
        """Somebody else's change stands."""
        live = self._live()
        split = split_of(live)
        if split.candidate is not None and split.candidate.version == self._version:
            return self._roll_back(str(error))
        why = f"version {self._version} was not rolled out: {error}"
        return self._outcome(split.stable.version, False, why)

    @cached_property
    def _decision(self) -> Decision:
        store, attempt = self._deployable.models.store, self._parameters.attempt
        model, place = self._deployable.served.model, self._target.place()
        return Decision(store, model, place, self._version, attempt)

    @property
    def _merges(self) -> bool:
        """Whether a canary inherits: the gateway of `serve` starts what the candidate says."""
        return self._parameters.target == "cluster" and self._target.mode == "Standard"

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

    def _smoke(self) -> None:
        sample, question = self._deployable.question(self._live())
        base, headers = self._target.address()
        smoke_test(
            base,
            headers,
            question,
            sample,
            version=str(self._version),
            seconds=self._parameters.timeout_seconds,
            sleep=self._sleep,
        )

    def _make_champion(self, reason: str) -> None:
        def in_place() -> None:
            stable = split_of(self._live()).stable
            if stable.manifest_digest != self._deployable.served.manifest_digest:
                raise SupersededError(
                    f"version {stable.version} was deployed there meanwhile",
                    where=stable.name,
                    expected=f"version {self._version}",
                )

        in_place()
        self._target.served(self._deployable.models, self._deployable.served.model)
        self._deployable.make_champion(reason, in_place)

    def _outcome(self, before: int, done: bool, why: str, share: int | None = None) -> Outcome:
        served = self._deployable.served
        left = share if share is not None else 100 * done
        steps = tuple(self._steps)
        return Outcome(served.model, served.name, served.version, before, done, why, left, steps)
