"""TensorFlow Serving: SavedModels by version, and its configuration files.

    <n>/saved_model.pb …      with warm-up requests in assets.extra
    models.config             ModelServerConfig: version policy and labels
    batching.config           BatchingParameters, where batching is asked for
    monitoring.config         MonitoringConfig: Prometheus metrics

The server refuses neither a label on a version that it does not serve nor a label that is
there twice when it reads its configuration, only later and elsewhere: so they are refused
here. Text format of the protos in `tensorflow_serving/config` and
`tensorflow_serving/servables/tensorflow/session_bundle_config.proto`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from kfp_suite.components.contracts.canonical import write_file
from kfp_suite.components.contracts.errors import ParameterError
from kfp_suite.components.contracts.model import DEFAULT_SIGNATURE, SAVED_MODEL, read_model
from kfp_suite.components.runtimes.checks import at_least, served_versions
from kfp_suite.components.runtimes.runtime import RUNTIMES, TENSORFLOW_SERVING, check_serves

MODELS = "models.config"
BATCHING = "batching.config"
MONITORING = "monitoring.config"
METRICS_PATH = "/metrics"
_LABEL = re.compile(r"[A-Za-z0-9_.-]{1,63}")


@dataclass(frozen=True)
class Batching:
    """TensorFlow Serving's batching parameters.

    Attributes:
        max_batch_size: Rows in a batch at most.
        batch_timeout_micros: How long a batch waits for more, in microseconds.
        max_enqueued_batches: Batches that wait, before requests are refused.
        num_batch_threads: Batches that are worked on at once.
        allowed_batch_sizes: Sizes a batch is padded to, ascending; the last is
            `max_batch_size`. Empty: any.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    max_batch_size: int = 128
    batch_timeout_micros: int = 1000
    max_enqueued_batches: int = 100
    num_batch_threads: int = 2
    allowed_batch_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        at_least(
            1,
            max_batch_size=self.max_batch_size,
            max_enqueued_batches=self.max_enqueued_batches,
            num_batch_threads=self.num_batch_threads,
        )
        at_least(0, batch_timeout_micros=self.batch_timeout_micros)
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[-1] != self.max_batch_size):
            raise ParameterError(
                "not allowed",
                where="runtime_options.batching.allowed_batch_sizes",
                got=list(sizes),
                expected=f"ascending sizes that end with max_batch_size, {self.max_batch_size}",
            )


@dataclass(frozen=True)
class TensorFlowServingOptions:
    """What TensorFlow Serving loads and how.

    Attributes:
        latest: Serve the newest N of the versions that are there; 0: all of them.
        specific: Serve these versions, whatever else is there; empty: by `latest`.
        labels: Label to version, for requests to `/versions/<label>`: `stable`, `canary`.
        batching: Gather requests; None: each alone.
        monitoring: Prometheus metrics at `/metrics`.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    latest: int = 1
    specific: tuple[int, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)
    batching: Batching | None = None
    monitoring: bool = True

    def __post_init__(self) -> None:
        at_least(0, latest=self.latest)
        if len(set(self.specific)) < len(self.specific):
            raise ParameterError(
                "a version is there twice",
                where="runtime_options.specific",
                got=list(self.specific),
            )
        for label in self.labels:
            if not _LABEL.fullmatch(label):
                raise ParameterError(
                    "not a label",
                    where="runtime_options.labels",
                    got=label,
                    expected="letters, digits, '_', '.' and '-', at most 63",
                )


def lay_out(
    name: str, versions: Mapping[int, Path], options: TensorFlowServingOptions, folder: Path
) -> None:
    """SavedModels and configuration files.

    Raises:
        ParameterError: a model without a SavedModel on raw columns, a version that is not
            there, or a label on one that is not served.
    """
    for version, path in versions.items():
        manifest = read_model(path).manifest
        check_serves(RUNTIMES[TENSORFLOW_SERVING], manifest, f"{SAVED_MODEL}/saved_model.pb")
        agreement = manifest.notes.get("saved_model", {})
        if not agreement.get("equal", True):
            raise ParameterError(
                f"version {version} has no signature '{DEFAULT_SIGNATURE}'",
                where="runtime",
                got=agreement.get("why"),
                fix="use runtime 'kfp-suite'",
            )
        shutil.copytree(path / SAVED_MODEL, folder / str(version))
    write_file(folder / MODELS, models_config(name, list(versions), options).encode())
    if options.batching is not None:
        write_file(folder / BATCHING, _batching_config(options.batching).encode())
    if options.monitoring:
        text = f'prometheus_config {{ enable: true, path: "{METRICS_PATH}" }}\n'
        write_file(folder / MONITORING, text.encode())


def models_config(
    name: str, versions: Sequence[int], options: TensorFlowServingOptions, base: str = "/mnt/models"
) -> str:
    """A `ModelServerConfig` of one model, in the protos' text format.

    Raises:
        ParameterError: it names a version that is not there, or labels one not served.
    """
    served_versions("specific", options.specific, versions)
    if options.specific:
        served: Sequence[int] = options.specific
        policy = "specific { " + " ".join(f"versions: {n}" for n in served) + " }"
    elif options.latest:
        served = sorted(versions)[-options.latest :]
        policy = f"latest {{ num_versions: {options.latest} }}"
    else:
        served = versions
        policy = "all { }"
    served_versions("labels", options.labels.values(), served)
    labels = "".join(
        f"    version_labels {{ key: {json.dumps(label)}, value: {version} }}\n"
        for label, version in sorted(options.labels.items())
    )
    return (
        "model_config_list {\n  config {\n"
        f"    name: {json.dumps(name)}\n    base_path: {json.dumps(base)}\n"
        '    model_platform: "tensorflow"\n'
        f"    model_version_policy {{ {policy} }}\n{labels}  }}\n}}\n"
    )


def arguments(options: TensorFlowServingOptions, base: str = "/mnt/models") -> list[str]:
    """What the server's command line needs beside KServe's own arguments."""
    found = [f"--model_config_file={base}/{MODELS}"]
    if options.labels:
        found.append("--allow_version_labels_for_unavailable_models=false")
    if options.batching is not None:
        found += ["--enable_batching=true", f"--batching_parameters_file={base}/{BATCHING}"]
    if options.monitoring:
        found.append(f"--monitoring_config_file={base}/{MONITORING}")
    return found


def _batching_config(batching: Batching) -> str:
    lines = [
        f"{name} {{ value: {value} }}"
        for name, value in (
            ("max_batch_size", batching.max_batch_size),
            ("batch_timeout_micros", batching.batch_timeout_micros),
            ("max_enqueued_batches", batching.max_enqueued_batches),
            ("num_batch_threads", batching.num_batch_threads),
        )
    ]
    lines += [f"allowed_batch_sizes: {size}" for size in batching.allowed_batch_sizes]
    return "\n".join(lines) + "\n"
