"""Which version is rolled out, where, in which steps, and who judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kfp_suite.components.rollout.judging import Limits
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.parameters import parse, whole_numbers
from kfp_suite.kserve.settings import parse_settings
from kfp_suite.kserve.target import CLUSTER, LOCAL, TARGETS
from kfp_suite.runtimes.layout import parse_options
from kfp_suite.runtimes.runtime import SUITE
from kfp_suite.stores.versions import CHALLENGER

_UNDECIDED = ("rollback", "go_on")


@dataclass(frozen=True)
class RolloutParameters:
    """Which version, where, in which steps, and who judges.

    Attributes:
        store: Where versions are.
        model_name: The model.
        version: A number or an alias.
        target: `local`: a manifest that `kfp-suite serve` follows; `cluster`: KServe.
        namespace: The Kubernetes namespace.
        manifest: Of `local`: the file.
        steps: Percent of the requests, ascending. Below 100 at the end: there both stay side
            by side, an A/B test.
        shadow: Percent of the requests that a candidate at 0 % gets copies of, whose answers
            nobody sees; only with `local`.
        step_seconds: A step's longest time.
        look_seconds: Between two looks at the metrics.
        undecided: After `step_seconds` without a verdict: `rollback` or `go_on`.
        limits: `Limits` as a mapping.
        prometheus: Its address; empty: the servers' own metrics.
        quality_url: A `/metrics` that counts right and wrong predictions by version.
        labelled: A JSON Lines file of records with their labels, to be asked for.
        label: The label's name in these.
        label_tolerance: How far a number may be off.
        attempt: Which try of this version on this endpoint it is, 1 or more. One that was
            rolled back stays it; the next number rolls it out again.
        by_header: On a cluster: a request with `x-kfp-suite-version` gets that version; in
            Knative mode, one with `Knative-Serving-Tag` the one that is tagged so.
        runtime, runtime_options, settings, force, ingress, timeout_seconds: As deploy's.
    """

    store: str
    model_name: str
    version: str = CHALLENGER
    target: str = LOCAL
    namespace: str = "default"
    manifest: str = ""
    steps: tuple[int, ...] = (10, 50, 100)
    shadow: int = 0
    step_seconds: float = 600
    look_seconds: float = 10
    undecided: str = "rollback"
    limits: Mapping[str, Any] = field(default_factory=dict)
    prometheus: str = ""
    quality_url: str = ""
    labelled: str = ""
    label: str = ""
    label_tolerance: float = 0.0
    attempt: int = 1
    by_header: bool = False
    runtime: str = SUITE
    runtime_options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False
    ingress: str = ""
    timeout_seconds: float = 600

    def __post_init__(self) -> None:
        for name, allowed in (("target", TARGETS), ("undecided", _UNDECIDED)):
            if getattr(self, name) not in allowed:
                raise ParameterError(
                    "not allowed",
                    where=name,
                    got=getattr(self, name),
                    expected=" or ".join(allowed),
                )
        ascending = list(self.steps) == sorted(set(self.steps))
        if not self.steps or not ascending or self.steps[0] < 0 or self.steps[-1] > 100:
            raise ParameterError(
                "not allowed",
                where="steps",
                got=list(self.steps),
                expected="ascending percentages up to 100, as 10, 50, 100",
            )
        if not 0 <= self.shadow <= 100 or (self.shadow and self.steps[0]):
            raise ParameterError(
                "not allowed",
                where="shadow",
                got=self.shadow,
                expected="0 to 100 percent, and 0 as the first of steps",
            )
        if self.shadow and self.target == CLUSTER:
            raise ParameterError(
                "KServe copies no requests",
                where="shadow",
                fix="leave it at 0; infra_validate replays recorded requests",
            )
        if self.target == CLUSTER and self.runtime != SUITE:
            raise ParameterError(
                f"runtime '{self.runtime}' does not count its answers by version",
                where="runtime",
                expected=f"'{SUITE}' on a cluster: a rollout judges by what servers count",
                fix=f"use runtime '{SUITE}', or deploy; kfp-suite serve counts for every server",
            )
        if self.attempt < 1:
            raise ParameterError(
                "out of range", where="attempt", got=self.attempt, expected="1 or more"
            )
        if self.step_seconds <= 0 or self.look_seconds <= 0 or self.timeout_seconds < 1:
            raise ParameterError(
                "out of range",
                where="step_seconds, look_seconds or timeout_seconds",
                expected="above 0",
            )
        if self.target == LOCAL and not self.manifest:
            raise ParameterError(
                "no manifest",
                where="manifest",
                expected="the file that `kfp-suite serve` serves",
            )
        if bool(self.labelled) != bool(self.label):
            raise ParameterError(
                "labelled records and the name of their label belong together",
                where="labelled, label",
            )
        parse_options(self.runtime, self.runtime_options)
        if parse_settings(self.settings).shared:
            raise ParameterError(
                "a model of a shared server has no canary",
                where="settings.shared",
                fix="deploy it, or give it an endpoint of its own",
            )
        parse(Limits, whole_numbers(self.limits), "limits")
