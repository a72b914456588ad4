"""The run record: a run's results and reasons, combined from its steps' output files.

`record` writes it when a pipeline ends, however it ends, so it is read from the run's
folder alone:

    error.json        a step that failed        (stores.step; in object storage error-1.json)
    changes.json      whether there was anything new  (in changed's artifact)
    study.json        the best trial of a search  (in best_trial's artifact)
    trials.json       the trials of a shard of it  (in tune's artifact; not joined)
    validation.json   validate's verdict        (in its anomalies artifact)
    evaluation.json   evaluate's verdict        (in its evaluation artifact)
    infra_blessing.json  infra_validate's verdict  (in its blessing artifact)
    pushed.json       the published version     (in push's version artifact)
    endpoint.json     the endpoint              (in deploy's or rollout's endpoint artifact)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.errors import InputError, KfpSuiteError, RunError
from kfp_suite.contracts.manifests import read_manifest

FORMAT_VERSION = 1
SUCCEEDED, FAILED, CANCELLED = "SUCCEEDED", "FAILED", "CANCELLED"
RECORD = "run_record.json"
CHANGES = "changes.json"
STUDY = "study.json"
TRIALS = "trials.json"
VALIDATION = "validation.json"
EVALUATION = "evaluation.json"
INFRA_BLESSING = "infra_blessing.json"
PUSHED = "pushed.json"
ENDPOINT = "endpoint.json"
ERROR = "error.json"
_TRY = re.compile(r"error-(\d+)\.json")
LEFT_BY_STEPS = (ERROR, CHANGES, STUDY, VALIDATION, EVALUATION, INFRA_BLESSING, PUSHED, ENDPOINT)


def error_of_try(number: int) -> str:
    """The name of what a step leaves in object storage that fails for the `number`th time."""
    return f"error-{number}.json"


def try_of(name: str) -> int:
    """The inverse of `error_of_try`; 0 for any other name."""
    found = _TRY.fullmatch(name)
    return int(found[1]) if found else 0


@dataclass(frozen=True)
class RunRecord:
    """The results of a run.

    `status` is SUCCEEDED, FAILED or CANCELLED. A model that was not
    blessed, data that did not validate, or nothing new to train on, is a run that SUCCEEDED
    with `version` None and the reasons in `evaluation`, `infra_validation`, `validation` or
    `changes`. `incomplete` says why what the steps left could not be read.
    """

    run: str
    run_id: str
    pipeline: str
    status: str
    validation: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    version: dict[str, Any] | None = None
    endpoint: dict[str, Any] | None = None
    infra_validation: dict[str, Any] | None = None
    changes: dict[str, Any] | None = None
    study: dict[str, Any] | None = None
    versions: tuple[dict[str, Any], ...] = ()
    errors: tuple[dict[str, Any], ...] = ()
    incomplete: str = ""
    format_version: int = FORMAT_VERSION

    @property
    def reasons(self) -> list[str]:
        """Why the run failed, why there is no version, or why one was not promoted, or was
        without a measurement, as lines for a person; empty if all went well."""
        if self.errors:
            return [_name_step(error) for error in self.errors]
        if self.incomplete:
            return [f"what the steps left cannot be read: {self.incomplete}"]
        if self.status == FAILED:
            return ["a step ended without a word: it was killed, lost its pod, or ran out of time"]
        endpoint = self.endpoint or {}
        if endpoint.get("promoted") is False or endpoint.get("measured") is False:
            return [str(endpoint["why"])]
        if self.version is not None:
            return []
        refusal = self.refusal
        return [] if refusal is None else [str(reason) for reason in refusal.get("reasons", ())]

    def failure(self, run: str, see: str) -> KfpSuiteError | None:
        """The error of the first step that failed: its own line, with its own exit code; None if
        none left one.

        Args:
            run: Where it happened, if the error is of no step.
            see: What to do if the step does not say.
        """
        if not self.errors:
            return None
        first = self.errors[0]
        kind = InputError if first["exit_code"] == InputError.exit_code else RunError
        return kind(
            first["what"],
            where=": ".join(filter(None, (first["step"], first["where"]))) or run,
            got=first["got"],
            expected=first["expected"],
            fix=first["fix"] or see,
        )

    @property
    def refused_by(self) -> str:
        """The name of the verdict that ended it early: nothing new, not valid or not blessed;
        empty if none did."""
        for name, good in (
            ("changes", "changed"),
            ("validation", "valid"),
            ("evaluation", "blessed"),
            ("infra_validation", "blessed"),
        ):
            verdict = getattr(self, name)
            if verdict is not None and not verdict.get(good):
                return name
        return ""

    @property
    def refusal(self) -> dict[str, Any] | None:
        """The verdict that ended it early; None if none did."""
        return getattr(self, self.refused_by) if self.refused_by else None


def _name_step(error: Mapping[str, Any]) -> str:
    """The message of an error, after the name of its step."""
    step, message = str(error.get("step") or ""), str(error["message"])
    return message if not step or message.startswith(step) else f"{step}: {message}"


def join_record(
    run: str,
    run_id: str,
    pipeline: str,
    status: str,
    left: Iterable[tuple[str, Any]],
    incomplete: str = "",
) -> RunRecord:
    """The record of a run from the `(file name, content)` pairs its steps left; `incomplete`:
    why these are not all."""
    found: dict[str, list[Any]] = {name: [] for name in LEFT_BY_STEPS}
    for name, content in left:
        found[name].append(content)

    def last(name: str) -> Any:
        return found[name][-1] if found[name] else None

    versions = sorted(found[PUSHED], key=lambda pushed: int(pushed["version"]))
    return RunRecord(
        run=run,
        run_id=run_id,
        pipeline=pipeline,
        status=status,
        validation=last(VALIDATION),
        evaluation=last(EVALUATION),
        version=versions[-1] if versions else None,
        endpoint=last(ENDPOINT),
        infra_validation=last(INFRA_BLESSING),
        changes=last(CHANGES),
        study=last(STUDY),
        versions=tuple(versions),
        errors=tuple(found[ERROR]),
        incomplete=incomplete,
    )


def write_record(folder: Path, record: RunRecord) -> None:
    """Write `run_record.json` in `folder`."""
    write_json(folder / RECORD, asdict(record))


def read_record(path: Path) -> RunRecord:
    """Read a `run_record.json`.

    Raises:
        MissingError: the file is not there.
        ContractError: it is of another format version or not ours.
    """
    return read_manifest(
        path,
        RunRecord,
        format_version=FORMAT_VERSION,
        fix="read it with the kfp-suite that wrote it",
    )
