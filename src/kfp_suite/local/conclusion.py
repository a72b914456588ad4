"""The conclusion of a run: its outcome, the reasons, and the next steps."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kfp_suite.contracts.run_record import CANCELLED, SUCCEEDED
from kfp_suite.local.history import PARAMETERS, PastRun

DEFAULT_ROOT = Path("kfp-suite-runs")
INTERRUPTED = "interrupted"
NOTHING_NEW = "nothing new"
INVALID = "invalid data"
NOT_BLESSED = "not blessed"
NOT_SERVABLE = "not servable"
NOT_PROMOTED = "not promoted"
PROMOTED = "promoted"
SERVED = "served"
PUBLISHED = "published"
DEPLOYED = "deployed"
_REFUSALS = (INVALID, NOT_BLESSED, NOT_SERVABLE, NOT_PROMOTED)
_BY_VERDICT = {
    "changes": NOTHING_NEW,
    "validation": INVALID,
    "evaluation": NOT_BLESSED,
    "infra_validation": NOT_SERVABLE,
}
"""The outcome of a run by the verdict that ended it early."""


@dataclass(frozen=True)
class Conclusion:
    """The conclusion of a run.

    Args:
        outcome: In a word or two: `served`, `published`, `promoted`, `nothing new`, `invalid
            data`, `not blessed`, …
        reasons: Why it is not more than that.
        next_steps: Suggestions: their purpose, and the command or parameter.
        remarks: Observations of the steps, whatever they decided: a sentence each.
    """

    outcome: str
    reasons: tuple[str, ...] = ()
    next_steps: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether data, a model or a rollout was refused."""
        return self.outcome in _REFUSALS


class Place(Protocol):
    """Where a run was: the next steps name its reports and what runs a pipeline there."""

    @property
    def command(self) -> str:
        """Of kfp-suite: `run`, or `submit`."""
        ...

    def show(self, step: str) -> str:
        """How to see the report of a step."""
        ...

    def repeat(self, run: PastRun) -> dict[str, str]:
        """How to go on with a run that was interrupted: a purpose and a command, or nothing."""
        ...

    def name_version(self, version: Mapping[str, Any]) -> str:
        """A published version as commands take it, short if it can be."""
        ...


@dataclass(frozen=True)
class Here:
    """A run on this machine, in a folder."""

    folder: Path
    command: str = "run"

    def show(self, step: str) -> str:
        """See `Place`."""
        return open_command(self.folder, step)

    def repeat(self, run: PastRun) -> dict[str, str]:
        """See `Place`."""
        return {"go on from what is cached": _repeat_command(run, self.folder)}

    def name_version(self, version: Mapping[str, Any]) -> str:
        """See `Place`."""
        root = self.folder.parent
        usual = not root_option(root) and version["store"] == str(root / "models")
        return f"{version['model']}/{version['version']}" if usual else str(version["uri"])


def conclude(run: PastRun, place: Place | Path) -> Conclusion:
    """Draw the conclusion of a run.

    Args:
        run: The run.
        place: Where it was; a path: its folder on this machine.
    """
    there = Here(place) if isinstance(place, Path) else place
    return Conclusion(
        _outcome(run),
        tuple(run.record.reasons),
        _next_steps(run, there),
        tuple(_list_remarks(run, there)),
    )


def open_command(folder: Path, step: str = "", name: str = "") -> str:
    """The command that shows the reports of a run.

    Args:
        folder: The run's folder.
        step: The step of the report; empty: an index of all.
        name: A name of the run; empty: its whole name.
    """
    words = ["kfp-suite", "open", name or folder.name, *([step] if step else [])]
    return shlex.join([*words, *root_option(folder.parent)])


def rollout_command(version: str, endpoint: Mapping[str, Any], command: str = "run") -> str:
    """The command that rolls a version out to an endpoint.

    Args:
        version: A number, or an alias.
        endpoint: What is known of the endpoint: `store`, `model`, `target`, `namespace`,
            `manifest`.
        command: Of kfp-suite: `run`, or `submit`.
    """
    given = {"model_name": endpoint["model"], "store": endpoint["store"], "version": version}
    if endpoint.get("target", "local") == "local":
        given["manifest"] = endpoint["manifest"]
    else:
        given |= {"target": endpoint["target"], "namespace": endpoint["namespace"]}
    words = ["kfp-suite", command, "progressive_delivery"]
    for name, value in given.items():
        words += ["--param", f"{name}={value}"]
    return shlex.join(words)


def root_option(root: Path) -> list[str]:
    """The option that names a folder of runs; none for the one that commands take anyway."""
    return [] if root.absolute() == DEFAULT_ROOT.absolute() else ["--root", str(root)]


def shorten_path(path: Path | str) -> str:
    """A path as short as it can be typed: relative where it is below the working folder."""
    return str(path).removeprefix(f"{Path.cwd()}{os.sep}")


def _outcome(run: PastRun) -> str:
    record, endpoint = run.record, run.record.endpoint or {}
    if record.status == CANCELLED:
        return INTERRUPTED
    if record.status != SUCCEEDED:
        return record.status.lower()
    if "promoted" in endpoint:
        return PROMOTED if endpoint["promoted"] else NOT_PROMOTED
    if record.version is not None:
        on_cluster = endpoint.get("target") == "cluster" and not endpoint.get("dry_run")
        return SERVED if run.endpoint or on_cluster else PUBLISHED
    return _BY_VERDICT.get(record.refused_by) or (DEPLOYED if endpoint else record.status.lower())


def _next_steps(run: PastRun, place: Place) -> dict[str, str]:
    match _outcome(run):
        case "nothing new":
            found = {"train all the same": "--param force=true"}
        case "invalid data":
            found = {
                "see what is wrong": place.show(_step_of(run, "validate")),
                "allow it": "say what the data may be in `schema`, and what may change in "
                "`validation`",
            }
        case "not blessed":
            found = _after_evaluation(run, place)
        case "not servable":
            found = {"see how it was tried": place.show("infra-validate")}
            if (run.record.infra_validation or {}).get("figures"):  # none if nothing answered
                found["allow more"] = "raise the limit in `infra_limits`"
        case "not promoted" if _serves_already(run):
            endpoint = run.record.endpoint or {}
            found = {
                "roll out the champion": rollout_command("champion", endpoint, place.command),
                "make it the champion again": shlex.join(
                    [
                        *("kfp-suite", "models", "alias"),
                        f"{endpoint['store']}/{endpoint['model']}/{endpoint['version']}",
                        "champion",
                    ]
                ),
            }
        case "not promoted":
            attempt = int(run.parameters.get("attempt", 1)) + 1
            found = {
                "see how it was judged": place.show("rollout"),
                "try this version again": f"--param attempt={attempt}",
            }
        case "published":
            found = _after_publishing(run, place)
        case "interrupted":
            found = place.repeat(run)
        case _:
            found = {}
    return found


def _serves_already(run: PastRun) -> bool:
    """Whether a version that was not promoted is the one that its endpoint serves."""
    endpoint = run.record.endpoint or {}
    return "candidate" in endpoint and endpoint["candidate"] == endpoint.get("version")


def _repeat_command(run: PastRun, folder: Path) -> str:
    """The command that runs the pipeline once more, with the same parameters."""
    words = ["kfp-suite", "run", run.record.pipeline, "--params", shorten_path(folder / PARAMETERS)]
    return shlex.join([*words, *root_option(folder.parent)])


def _after_evaluation(run: PastRun, place: Place) -> dict[str, str]:
    evaluation = run.record.evaluation or {}
    steps = {"see how it was measured": place.show(_step_of(run, "evaluate"))}
    for check in evaluation.get("thresholds") or ():
        if not check["passed"]:
            steps["ask for less"] = f"change `thresholds.{check['metric']}`"
            break
    champion = evaluation.get("champion") or {}
    duel = champion.get("comparison") or {}
    if duel and not duel.get("passed"):
        steps["allow it to be worse than the champion"] = (
            "--param comparison.max_regression=AMOUNT"
            if not duel.get("min_improvement")
            else "lower `comparison.min_improvement`"
        )
    elif champion and not champion.get("compared") and not champion.get("same"):
        steps["bless it without a comparison"] = "--param comparison.on_incomparable=bless"
    return steps


def _after_publishing(run: PastRun, place: Place) -> dict[str, str]:
    version = run.record.version or {}
    reference = place.name_version(version)
    steps = {"serve this version": shlex.join(["kfp-suite", "serve", reference])}
    if not (run.record.endpoint or {}).get("unattended"):  # the step has made it the champion
        alias = ["kfp-suite", "models", "alias", reference, "champion"]
        steps["make it the champion"] = shlex.join(alias)
    return steps


def _list_remarks(run: PastRun, place: Place) -> Iterator[str]:
    validation = run.record.validation or {}
    severities = [anomaly["severity"] for anomaly in validation.get("anomalies", ())]
    found = {"warning": severities.count("warning"), "hint": len(validation.get("hints", ()))}
    counts = [f"{count} {what}{'s' * (count > 1)}" for what, count in found.items() if count]
    if counts:
        step = _step_of(run, "validate")
        yield f"{' and '.join(counts)} about the data, in the report of {step}: {place.show(step)}"
    yield from (run.record.evaluation or {}).get("warnings", ())


def _step_of(run: PastRun, stage: str) -> str:
    """The step of a stage, by whatever engine: `validate` or `validate-tfdv`."""
    return next((step.name for step in run.steps if step.name.startswith(stage)), stage)
