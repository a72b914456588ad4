"""The servers that load `model.joblib`: KServe's scikit-learn server and MLServer.

    model.joblib          the estimator: it takes the transform's matrix
    model-settings.json   MLServer alone

KServe's server takes a folder with exactly one joblib or pickle file in it (kserve#4269),
so nothing else lies beside it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.model import ESTIMATOR_JOBLIB, read_model
from kfp_suite.runtimes.checks import INT64, in_range
from kfp_suite.runtimes.runtime import (
    MLSERVER,
    RUNTIMES,
    SKLEARN,
    check_serves,
)

MODEL_FILE = "model.joblib"
SETTINGS = "model-settings.json"
IMPLEMENTATION = "mlserver_sklearn.SKLearnModel"


@dataclass(frozen=True)
class MlServerOptions:
    """MLServer's adaptive batching.

    Attributes:
        max_batch_size: Requests that are predicted together; 0: no batching.
        max_batch_time: Seconds a batch waits for more; 0 or more.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    max_batch_size: int = 0
    max_batch_time: float = 0.0

    def __post_init__(self) -> None:
        in_range(0, INT64, max_batch_size=self.max_batch_size)
        in_range(0, max_batch_time=self.max_batch_time)


def lay_out_sklearn(
    name: str,  # noqa: ARG001
    versions: Mapping[int, Path],
    deployed: int,
    options: None,  # noqa: ARG001
    folder: Path,
) -> None:
    """`model.joblib` alone."""
    _copy(SKLEARN, versions[deployed], folder)


def lay_out_mlserver(
    name: str,
    versions: Mapping[int, Path],
    deployed: int,
    options: MlServerOptions,
    folder: Path,
) -> None:
    """`model.joblib` and `model-settings.json`."""
    _copy(MLSERVER, versions[deployed], folder)
    settings = {
        "name": name,
        "implementation": IMPLEMENTATION,
        "parameters": {"uri": f"./{MODEL_FILE}", "version": str(deployed)},
        "max_batch_size": options.max_batch_size,
        "max_batch_time": options.max_batch_time,
    }
    write_json(folder / SETTINGS, settings)


def _copy(runtime: str, path: Path, folder: Path) -> None:
    check_serves(RUNTIMES[runtime], read_model(path).manifest, ESTIMATOR_JOBLIB)
    shutil.copyfile(path / ESTIMATOR_JOBLIB, folder / MODEL_FILE)
