"""TensorFlow Serving: SavedModels by version, and its configuration files.

    <n>/saved_model.pb …      with warm-up requests in assets.extra
    models.config             ModelServerConfig: version policy and labels
    batching.config           BatchingParameters, if batching is on
    monitoring.config         MonitoringConfig: Prometheus metrics

Text format of the protos in `tensorflow_serving/config` and
`tensorflow_serving/servables/tensorflow/session_bundle_config.proto`. They take a label on a
version that is not served, and a name that is there twice; the server falls over them when it
starts or is asked, so they are refused here.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.model import DEFAULT_SIGNATURE, SAVED_MODEL, read_model
from kfp_suite.runtimes.checks import (
    INT64,
    OPTIONS,
    UINT32,
    check_deployed,
    different,
    in_range,
    served_of,
    served_versions,
)
from kfp_suite.runtimes.prototext import quoted
from kfp_suite.runtimes.runtime import RUNTIMES, TENSORFLOW_SERVING, check_serves

MODELS = "models.config"
BATCHING = "batching.config"
MONITORING = "monitoring.config"
METRICS_PATH = "/metrics"
MOUNT = "/mnt/models"
BATCHING_OPTIONS = f"{OPTIONS}.batching"
_LABEL = re.compile(r"[A-Za-z0-9_]{1,63}")


@dataclass(frozen=True)
class Batching:
    """TensorFlow Serving's batching parameters.

    Attributes:
        max_batch_size: Rows in a batch at most; 1 or more, as the next two.
        max_enqueued_batches: Batches that wait, before requests are refused.
        num_batch_threads: Batches that are worked on at once.
        batch_timeout_micros: How long a batch waits for more, in microseconds; 0 or more.
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
        in_range(
            1,
            INT64,
            where=BATCHING_OPTIONS,
            max_batch_size=self.max_batch_size,
            max_enqueued_batches=self.max_enqueued_batches,
            num_batch_threads=self.num_batch_threads,
        )
        in_range(0, INT64, where=BATCHING_OPTIONS, batch_timeout_micros=self.batch_timeout_micros)
        sizes = self.allowed_batch_sizes
        ascending = list(sizes) == sorted(set(sizes))
        if sizes and not (ascending and sizes[0] >= 1 and sizes[-1] == self.max_batch_size):
            raise ParameterError(
                "not allowed",
                where=f"{BATCHING_OPTIONS}.allowed_batch_sizes",
                got=list(sizes),
                expected=f"ascending sizes from 1 that end with max_batch_size, "
                f"{self.max_batch_size}",
            )


@dataclass(frozen=True)
class TensorFlowServingOptions:
    """The options of TensorFlow Serving.

    Attributes:
        latest: Serve the newest N of the versions that are laid out; 0: all of them.
        specific: Serve only these versions; empty: by `latest`.
        labels: Label to a version that is served, for requests to
            `/v1/models/<name>/labels/<label>:predict`: `stable`, `canary`.
        batching: Gather requests; None: each alone.
        monitoring: Prometheus metrics at `/metrics`.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    latest: int = 0
    specific: tuple[int, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)
    batching: Batching | None = None
    monitoring: bool = True

    def __post_init__(self) -> None:
        in_range(0, UINT32, latest=self.latest)
        different(specific=self.specific)
        for label in self.labels:
            if not _LABEL.fullmatch(label):
                raise ParameterError(
                    "not a label",
                    where=f"{OPTIONS}.labels",
                    got=label,
                    expected="1 to 63 letters, digits and '_'",
                )


def lay_out(
    name: str,
    versions: Mapping[int, Path],
    deployed: int,
    options: TensorFlowServingOptions,
    folder: Path,
) -> None:
    """SavedModels and configuration files.

    Raises:
        ParameterError: a model without a SavedModel on raw columns, a version that is not
            there, a label on one that is not served, or a newer version than the deployed one:
            requests that name none would get it.
    """
    served = served_of(versions, options.latest, options.specific)
    check_deployed(deployed, served, max(served))
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
    model = ServedModel(name, tuple(versions), options)
    write_file(folder / MODELS, models_config([model]).encode())
    if options.batching is not None:
        write_file(folder / BATCHING, batching_config(options.batching).encode())
    if options.monitoring:
        text = f'prometheus_config {{ enable: true, path: "{METRICS_PATH}" }}\n'
        write_file(folder / MONITORING, text.encode())


@dataclass(frozen=True)
class ServedModel:
    """A model of a server: its name, the versions that are there, its options, and the
    folder of its versions."""

    name: str
    versions: tuple[int, ...]
    options: TensorFlowServingOptions
    base: str = MOUNT


def models_config(models: Sequence[ServedModel]) -> str:
    """A `ModelServerConfig`, in the protos' text format.

    Raises:
        ParameterError: a name is there twice; a model names a version that is not there, or
            labels one that is not served.
    """
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise ParameterError(
                f"model '{name}' is there twice",
                where="models",
                got=names,
                fix="give each its own name",
            )
    return f"model_config_list {{\n{''.join(map(_model_config, models))}}}\n"


def _model_config(model: ServedModel) -> str:
    options, versions = model.options, model.versions
    served = served_of(versions, options.latest, options.specific)
    if options.specific:
        policy = "specific { " + " ".join(f"versions: {n}" for n in options.specific) + " }"
    elif options.latest:
        policy = f"latest {{ num_versions: {options.latest} }}"
    else:
        policy = "all { }"
    served_versions("labels", options.labels.values(), served)
    labels = "".join(
        f"    version_labels {{ key: {quoted(label)}, value: {version} }}\n"
        for label, version in sorted(options.labels.items())
    )
    return (
        f"  config {{\n    name: {quoted(model.name)}\n"
        f"    base_path: {quoted(model.base)}\n"
        '    model_platform: "tensorflow"\n'
        f"    model_version_policy {{ {policy} }}\n{labels}  }}\n"
    )


def arguments(options: TensorFlowServingOptions, base: str = MOUNT) -> list[str]:
    """The arguments of the server's command line beside KServe's own.

    `--model_config_file` goes before the `--model_name` and `--model_base_path` of KServe.
    """
    found = [f"--model_config_file={base}/{MODELS}"]
    if options.labels:
        # At its start it reads the labels before it has loaded the versions they refer to.
        found.append("--allow_version_labels_for_unavailable_models=true")
    if options.batching is not None:
        found += ["--enable_batching=true", f"--batching_parameters_file={base}/{BATCHING}"]
    if options.monitoring:
        found.append(f"--monitoring_config_file={base}/{MONITORING}")
    return found


def batching_config(batching: Batching) -> str:
    """`BatchingParameters`, in the protos' text format."""
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
