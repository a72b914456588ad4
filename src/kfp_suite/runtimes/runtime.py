"""The model servers that a version can be deployed on, and what each takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kfp_suite.contracts.errors import ParameterError, did_you_mean
from kfp_suite.contracts.model import Framework, ModelManifest

Takes = Literal["records", "columns", "features"]
Protocol = Literal["v1", "v2"]

SUITE = "kfp-suite"
SKLEARN = "sklearn"
MLSERVER = "mlserver"
TENSORFLOW_SERVING = "tensorflow-serving"
TRITON = "triton"
TORCHSERVE = "torchserve"

_ESTIMATORS: tuple[Framework, ...] = ("sklearn", "xgboost", "lightgbm")
_ALL: tuple[Framework, ...] = (*_ESTIMATORS, "tensorflow")


@dataclass(frozen=True)
class Runtime:
    """A model server.

    Attributes:
        name: The value of the parameter `runtime`.
        model_format: KServe's name of the format that it loads.
        serving_runtime: The ServingRuntime or ClusterServingRuntime that KServe starts it by.
        protocol: The protocol of predictions: V1, or V2 (Open Inference).
        takes: `records`: raw records by V1, or a tensor a raw column by V2; `columns`: the
            same, of a SavedModel; `features`: the matrix that the estimator takes, so that
            raw records need a transformer before it.
        frameworks: The models it can serve.
        many_versions: It serves several versions of a model side by side.
        names_model: Its layout holds the model's name in requests; else that is the
            InferenceService's name.
        layout_format: Version of its layout; increased with each change, so that layouts of
            before in a store are not reused.
    """

    name: str
    model_format: str
    serving_runtime: str
    protocol: Protocol
    takes: Takes
    frameworks: tuple[Framework, ...]
    many_versions: bool = False
    names_model: bool = False
    layout_format: int = 1


RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime(SUITE, "kfp-suite", "kfp-suite-server", "v1", "records", _ALL),
        Runtime(SKLEARN, "sklearn", "kserve-sklearnserver", "v2", "features", ("sklearn",)),
        Runtime(
            MLSERVER,
            "sklearn",
            "kserve-mlserver",
            "v2",
            "features",
            ("sklearn",),
            names_model=True,
        ),
        Runtime(
            TENSORFLOW_SERVING,
            "tensorflow",
            "kserve-tensorflow-serving",
            "v1",
            "columns",
            ("tensorflow",),
            many_versions=True,
            names_model=True,
        ),
        Runtime(
            TRITON,
            "triton",
            "kserve-tritonserver",
            "v2",
            "features",
            _ALL,
            many_versions=True,
            names_model=True,
        ),
        Runtime(
            TORCHSERVE,
            "pytorch",
            "kserve-torchserve",
            "v1",
            "records",
            _ALL,
            many_versions=True,
            names_model=True,
        ),
    )
}


def find_runtime(name: str) -> Runtime:
    """The runtime called `name`.

    Raises:
        ParameterError: there is none.
    """
    if name not in RUNTIMES:
        raise ParameterError(
            f"unknown runtime '{name}'", where="runtime", fix=did_you_mean(name, RUNTIMES)
        )
    return RUNTIMES[name]


def check_serves(runtime: Runtime, manifest: ModelManifest, needs: str = "") -> None:
    """Raises ParameterError if `runtime` cannot serve the model.

    Args:
        manifest: The model's.
        needs: A file of the Model artifact that it loads.
    """
    if manifest.framework not in runtime.frameworks:
        raise ParameterError(
            f"runtime '{runtime.name}' does not serve the model",
            where="runtime",
            got=f"a {manifest.framework} model",
            expected=" or ".join(runtime.frameworks),
            fix=f"use runtime '{SUITE}', which serves every model",
        )
    if needs and needs not in manifest.files:
        raise ParameterError(
            f"runtime '{runtime.name}' loads {needs}, which the model does not have",
            where="runtime",
            got=_why_not(manifest),
            fix=f"use runtime '{SUITE}', or train the model again",
        )


def _why_not(manifest: ModelManifest) -> str | None:
    onnx = manifest.notes.get("onnx", {})
    return f"ONNX: {onnx['why']}" if onnx.get("why") else None
