"""Load the candidate in the real server, ask it, and compare: before anybody depends on it."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from kfp_suite.components.infra_validate.expecting import expected_answers
from kfp_suite.components.infra_validate.limits import Figures, Limits, percentile, reasons
from kfp_suite.components.infra_validate.places import Candidate, Place, open_place
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file, write_json
from kfp_suite.contracts.errors import EndpointError, KfpSuiteError, ParameterError
from kfp_suite.contracts.model import Model, read_model
from kfp_suite.contracts.parameters import parse, whole_numbers
from kfp_suite.contracts.run_record import INFRA_BLESSING
from kfp_suite.contracts.sample import Sample
from kfp_suite.kserve.manifests import Served, takes_features
from kfp_suite.kserve.settings import parse_settings
from kfp_suite.kserve.trials import trial_name
from kfp_suite.reports.markdown import escape_markdown
from kfp_suite.runtimes.launching import check_startable
from kfp_suite.runtimes.layout import LayoutRequest, lay_out, parse_options
from kfp_suite.runtimes.protocol import OTHER, difference, finite, question_for
from kfp_suite.runtimes.runtime import SUITE, find_runtime
from kfp_suite.stores.versions import check_model_name

SUMMARY = "infra_validation.md"
FORMAT_VERSION = 1
AUTO = "auto"
PLACES = (AUTO, "process", "container", "cluster")
CANDIDATE = 1
"""A candidate has no version yet: servers that need an integer are given this one."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InfraParameters:
    """Where the candidate is loaded, and what it is asked.

    Attributes:
        name: What requests call the model.
        place: `process` of this machine, `container`, or `cluster`: an InferenceService of
            its own, without traffic, that is deleted afterwards. `auto`: a process of the
            server, or of ours where its program is not on this machine.
        runtime, runtime_options, settings: As deploy's.
        image: Of the container.
        namespace, ingress: Of the cluster.
        store: What the cluster reads the candidate from; empty: the artifact's own place,
            which our server alone can load.
        run_id: The run's: it names what is on the cluster.
        split: Of the dataset, to sample from.
        rows: Requests of one row each, at least 1.
        limits: `Limits` as a mapping.
    """

    name: str
    place: str = AUTO
    runtime: str = SUITE
    runtime_options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    image: str = ""
    namespace: str = "default"
    ingress: str = ""
    store: str = ""
    run_id: str = ""
    split: str = "test"
    rows: int = 200
    limits: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_model_name(self.name)
        if self.place not in PLACES:
            raise ParameterError(
                "not allowed", where="place", got=self.place, expected=", ".join(PLACES)
            )
        if self.rows < 1:
            raise ParameterError("out of range", where="rows", got=self.rows, expected="1 or more")
        parse_options(self.runtime, self.runtime_options)
        parse_settings(self.settings)
        parse(Limits, whole_numbers(self.limits), "limits")


@dataclass(frozen=True)
class InfraBlessing:
    """The content of `infra_blessing.json`.

    `runtime` and `place` are those it was tried in; `note` says why, where that is not the
    server that it will be deployed on. `figures` None: it did not come so far.
    """

    blessed: bool
    reasons: tuple[str, ...]
    runtime: str
    place: str
    model_digest: str
    limits: dict[str, Any]
    figures: dict[str, Any] | None
    note: str = ""
    format_version: int = FORMAT_VERSION


def infra_validate(
    parameters: InfraParameters,
    model: Path,
    dataset: Path | None,
    output: Path,
    *,
    requests: Path | None = None,
    model_uri: str = "",
) -> InfraBlessing:
    """Say whether the candidate can be served, and what it costs.

    Args:
        parameters: Where and what.
        model: A Model artifact.
        dataset: A Dataset artifact to sample requests from.
        output: A folder with `infra_blessing.json` and `infra_validation.md`.
        requests: Recorded requests, instead of sampled ones.
        model_uri: Where a cluster reads the Model artifact.

    Returns:
        The verdict: a candidate that hangs, crashes, answers wrongly or costs too much is
        not blessed, with the reasons.

    Raises:
        ParameterError: a server that cannot serve such a model, or not there.
        EndpointError: its program is not on this machine, where that was asked for.
        StoreError: the cluster or the store refused.
        ContractError, IntegrityError: it is not a Model artifact, or not as it was written.
        InputError: there are no rows to ask for, or they are not what the model takes.
    """
    artifact = read_model(model)
    artifact.verify()
    limits = parse(Limits, whole_numbers(parameters.limits), "limits")
    figures = None
    with tempfile.TemporaryDirectory(prefix="kfp-suite-infra-") as scratch:
        # Whatever it is tried in: can its server load it at all?
        candidate = _candidate(parameters, artifact, model, model_uri, Path(scratch) / "layout")
        tried, note = _chosen(parameters)
        if tried.runtime != parameters.runtime:
            candidate = _candidate(tried, artifact, model, model_uri, Path(scratch) / "own")
        try:
            sample = expected_answers(
                model, dataset, requests, parameters.split, parameters.rows, limits.expected_seconds
            )
            with open_place(tried, candidate) as place:
                figures = _measure(tried, candidate, sample, place, limits)
            why = reasons(figures, limits)
        except EndpointError as error:
            why = [str(error)]
    blessing = InfraBlessing(
        blessed=not why,
        reasons=tuple(why),
        runtime=tried.runtime,
        place=tried.place,
        model_digest=artifact.manifest.digest,
        limits=asdict(limits),
        figures=None if figures is None else asdict(figures),
        note=note,
    )
    log.info("blessed" if blessing.blessed else f"not blessed: {'; '.join(why)}")
    with whole_folder(output) as whole:
        write_json(whole / INFRA_BLESSING, asdict(blessing))
        write_file(whole / SUMMARY, _summary(blessing).encode())
    return blessing


def _candidate(
    parameters: InfraParameters, artifact: Model, model: Path, uri: str, folder: Path
) -> Candidate:
    """The candidate, laid out for its server in `folder`."""
    name = service = parameters.name
    if parameters.place == "cluster":
        service = trial_name(name, artifact.manifest.digest, parameters.run_id)
        if not find_runtime(parameters.runtime).names_model:
            name = service
    folder.mkdir()
    lay_out(
        LayoutRequest(parameters.runtime, name, parameters.runtime_options),
        {CANDIDATE: model},
        folder,
    )
    return Candidate(name, service, artifact, model, folder, uri)


def _chosen(parameters: InfraParameters) -> tuple[InfraParameters, str]:
    """The place and the server it is tried in, and why that is not the one it is meant for."""
    if parameters.place not in (AUTO, "process"):
        return parameters, ""
    try:
        check_startable(parameters.runtime)
    except (EndpointError, ParameterError) as error:
        if parameters.place != AUTO:
            raise
        note = (
            f"not tried in {parameters.runtime}, which is not on this machine, but in {SUITE}: "
            f"{error}; place 'cluster' tries it there"
        )
        log.warning("%s", note)
        return replace(parameters, place="process", runtime=SUITE, runtime_options={}), note
    return replace(parameters, place="process"), ""


def _measure(
    parameters: InfraParameters,
    candidate: Candidate,
    sample: Sample,
    place: Place,
    limits: Limits,
) -> Figures:
    """Ask for each row and compare.

    Raises:
        EndpointError: the server ended, or does not answer in time.
    """
    start = place.wait(limits.start_seconds)
    features = _takes_features(parameters) and not place.has_transformer
    asked = finite(sample) if features else sample
    if not len(asked):
        raise EndpointError(
            "no row to ask for", where=parameters.split, got="features that are not numbers"
        )
    signature = candidate.artifact.manifest.signature
    latencies, farthest = [], 0.0
    ends = time.monotonic() + limits.request_seconds * len(asked)
    for row in range(len(asked)):
        one = asked.picked([row])
        question = question_for(
            parameters.runtime,
            candidate.name,
            one,
            features=features,
            inputs=signature.inputs,
            probabilities=len(signature.outputs) > 1,
        )
        answer = place.ask(question, limits.request_seconds)
        latencies.append(answer.seconds * 1000)
        farthest = max(farthest, difference(one, answer.body))
        if time.monotonic() > ends:
            raise EndpointError("the requests take too long", got=f"{len(latencies)} answered")
    memory = _memory(place)
    return Figures(
        start_seconds=round(start, 3),
        requests=len(latencies),
        p50_ms=round(percentile(latencies, 0.5), 3),
        p99_ms=round(percentile(latencies, 0.99), 3),
        difference=None if math.isinf(farthest) or farthest == OTHER else farthest,
        memory_mb=None if memory is None else round(memory / 1e6, 1),
        left_out=len(sample) - len(asked),
    )


def _memory(place: Place) -> int | None:
    try:
        return place.memory()
    except KfpSuiteError as error:  # a limit that cannot be told is not kept: see `reasons`
        log.warning("the memory cannot be measured: %s", error)
        return None


def _takes_features(parameters: InfraParameters) -> bool:
    served = Served(parameters.name, parameters.name, CANDIDATE, "", "", "", "", parameters.runtime)
    return takes_features(served, parameters.runtime_options)


def _summary(blessing: InfraBlessing) -> str:
    """Markdown: the verdict, and the figures against their limits."""
    verdict = "blessed" if blessing.blessed else "not blessed"
    lines = [f"# {verdict.capitalize()}: served by {blessing.runtime}", ""]
    lines += [
        f"- {escape_markdown(said)}" for said in (*blessing.reasons, blessing.note) if said
    ] + [""]
    if blessing.figures is not None:
        lines += ["| | measured | limit |", "|---|---|---|"]
        for name, value in blessing.figures.items():
            limit = blessing.limits.get(name) or "none"
            shown = "not measured" if value is None else f"{value:,.6g}"
            lines.append(f"| {name} | {shown} | {limit} |")
        if left_out := blessing.figures["left_out"]:
            said = f"{left_out} rows with a missing number were not asked for"
            lines += ["", f"{said}: {blessing.runtime} takes features, which have no word for one."]
    return "\n".join(lines) + "\n"
