"""The runs of a root, from the files they left."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.errors import MissingError, ParameterError, did_you_mean
from kfp_suite.contracts.manifests import read_manifest
from kfp_suite.contracts.run_record import CANCELLED, RECORD, RunRecord, read_record

K = TypeVar("K")
FORMAT_VERSION = 1
RUN = "run.json"
LOG = "run.log"
PARAMETERS = "parameters.json"
RUNNING = "RUNNING"
"""The status of a run that has not ended."""
# kfp ends a run's name with its year, month, day, hour, minute, second and microsecond.
_TIME_PARTS = 7


@dataclass(frozen=True)
class Step:
    """One task of a run: `state` is succeeded, refused (its verdict was no), failed, cached or
    interrupted (it ran when the run ended); `seconds` its duration."""

    name: str
    state: str
    seconds: float


@dataclass(frozen=True)
class PastRun:
    """A run as `run.json` keeps it: the record, and what only the command knows.

    `started_at` and `finished_at` are ISO 8601 times with a zone.
    """

    record: RunRecord
    parameters: dict[str, Any]
    steps: tuple[Step, ...] = ()
    started_at: str = ""
    finished_at: str = ""
    endpoint: dict[str, Any] | None = None
    format_version: int = FORMAT_VERSION

    @property
    def seconds(self) -> float | None:
        """How long the run took; None for a run that the command did not start."""
        if not (self.started_at and self.finished_at):
            return None
        started, finished = map(datetime.fromisoformat, (self.started_at, self.finished_at))
        return (finished - started).total_seconds()

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of its evaluation, those that are defined."""
        metrics = (self.record.evaluation or {}).get("metrics", {})
        return {name: m["value"] for name, m in metrics.items() if m.get("value") is not None}

    @property
    def model(self) -> str:
        """The model's name; empty if it is not known."""
        known = self.record.version or self.record.endpoint or {}
        return str(self.parameters.get("model_name") or known.get("model") or "")

    @property
    def label(self) -> str:
        """The column that its model predicts; empty if there was no evaluation."""
        return str((self.record.evaluation or {}).get("label") or "")

    @property
    def estimator(self) -> str:
        """What made the model: a module's file, a network or an estimator; empty if nothing
        did."""
        study = self.record.study or {}
        known = (self.record.evaluation or {}).get("model") or {}
        module = self.parameters.get("module_file")
        return str(
            (Path(module).name if module else "")
            or study.get("estimator")
            or known.get("estimator")
            or known.get("network")
            or self.parameters.get("estimator")
            or self.parameters.get("network")
            or ""
        )

    @property
    def digests(self) -> dict[str, str]:
        """Of its dataset and its model, those that are known."""
        evaluation = self.record.evaluation or {}
        return {
            name: evaluation[key]
            for name, key in (("dataset", "dataset_digest"), ("model", "model_digest"))
            if evaluation.get(key)
        }


def write_run(folder: Path, run: PastRun) -> None:
    """Write `run.json` into the run's folder."""
    write_json(folder / RUN, asdict(run))


def read_run(folder: Path) -> PastRun:
    """Read a run's folder; a run made in a notebook has a record and no `run.json`.

    Raises:
        MissingError: the folder holds neither.
    """
    if (folder / RUN).is_file():
        found = read_manifest(
            folder / RUN,
            PastRun,
            format_version=FORMAT_VERSION,
            fix="read it with the kfp-suite that wrote it",
        )
        if found.record.status == RUNNING and not _is_followed(folder):
            return replace(found, record=replace(found.record, status=CANCELLED))
        return found
    return PastRun(record=read_record(folder / "record" / "run_record" / RECORD), parameters={})


def _is_followed(folder: Path) -> bool:
    """Whether a command that still lives keeps the log of a run: see `following`."""
    try:
        with (folder / LOG).open("rb") as log:
            fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # locked; or there are no locks, and it is unknown
        return True
    return False


def run_folders(root: Path) -> dict[str, Path]:
    """The folders of runs below `root` by run name, the run that began first at the beginning."""
    found = {path.parent.name: path.parent for path in root.glob(f"*/{RUN}")} | {
        path.parents[2].name: path.parents[2] for path in root.glob(f"*/record/run_record/{RECORD}")
    }
    return dict(
        sorted(
            found.items(),
            key=lambda item: (_read_start(item[1]), item[0].split("-")[-_TIME_PARTS:]),
        )
    )


def _read_start(folder: Path) -> float:
    """When a run began, in seconds since 1970: what `run.json` says. A run that kfp alone started
    has none; the end of its name is then the local time of its machine."""
    with suppress(OSError, ValueError, TypeError, AttributeError, KeyError):
        started = json.loads((folder / RUN).read_bytes())["started_at"]
        return datetime.fromisoformat(started).timestamp()
    with suppress(ValueError):
        time = "-".join(folder.name.split("-")[-_TIME_PARTS:])
        return datetime.strptime(time, "%Y-%m-%d-%H-%M-%S-%f").astimezone().timestamp()
    return folder.stat().st_mtime


def find_folder(root: Path, name: str) -> Path:
    """The folder of the run called `name`.

    Args:
        root: The folder of runs.
        name: A name, a unique beginning or ending of one, or `latest` for the newest.

    Raises:
        MissingError: there is no such run.
        ParameterError: several runs begin or end so.
    """
    folders = run_folders(root)
    if name == "latest" and folders:
        return next(reversed(folders.values()))
    if name in folders:
        return folders[name]
    matches = [known for known in folders if known.startswith(name) or known.endswith(name)]
    if not matches:
        raise MissingError(f"no run '{name}'", where=root, fix=did_you_mean(name, folders))
    if len(matches) > 1:
        raise ParameterError(
            f"'{name}' names {len(matches)} runs", where=root, got=", ".join(matches)
        )
    return folders[matches[0]]


def find_run(root: Path, name: str) -> tuple[str, PastRun]:
    """The name of the run that `name` means to `find_folder`, and what is known of it.

    Raises:
        MissingError: there is no such run.
        ParameterError: several runs begin or end so.
    """
    folder = find_folder(root, name)
    return folder.name, read_run(folder)


LOWER_IS_BETTER = frozenset(
    {"log_loss", "brier", "calibration_error", "mae", "rmse", "mse", "mape", "median_ae"}
)


def rank(
    measured: Mapping[K, Mapping[str, float]], metric: str, lowest: bool | None = None
) -> list[K]:
    """Those that have a metric, the best first; of equals, in the order that they are given in.

    Args:
        measured: The metrics of each.
        metric: A metric of their evaluations.
        lowest: Whether lower is better; None asks what the metric is.

    Raises:
        MissingError: none has the metric.
    """
    values = {key: metrics[metric] for key, metrics in measured.items() if metric in metrics}
    if not values:
        known = {name for metrics in measured.values() for name in metrics}
        raise MissingError(f"nothing has the metric '{metric}'", fix=did_you_mean(metric, known))
    lower = metric in LOWER_IS_BETTER if lowest is None else lowest
    return sorted(values, key=lambda key: values[key] if lower else -values[key])


def best_of(
    measured: Mapping[K, Mapping[str, float]], metric: str, lowest: bool | None = None
) -> K:
    """The first of `rank`. Raises as that does."""
    return rank(measured, metric, lowest)[0]
