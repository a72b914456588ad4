"""NVIDIA Triton: a model repository.

    <name>/config.pbtxt, <name>/<n>/model.onnx      the graph, for stock images
    <name>/config.pbtxt, <name>/<n>/model.py        or the Python backend

and, for requests of raw columns, an ensemble of three:

    <name>/config.pbtxt                 columns in, prediction and probabilities out
    <name>-preprocess/                  columns → features      (Python backend)
    <name>-model/                       features → scores       (ONNX Runtime or Python)
    <name>-postprocess/                 scores → predictions    (Python backend)

The Python backend imports `kfp_suite`, so its image has it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.model import ESTIMATOR_ONNX, ModelManifest, read_model
from kfp_suite.contracts.sample import read_sample
from kfp_suite.runtimes.checks import check_deployed, served_of
from kfp_suite.runtimes.runtime import RUNTIMES, TRITON, check_serves
from kfp_suite.runtimes.triton_config import (
    ONNX_BACKEND,
    SCORES,
    Shape,
    TritonOptions,
    configurations,
    estimator_name,
)
from kfp_suite.stores.files import read_file

ARTIFACT = "artifact"
_PLACEHOLDER = "An ensemble has no files of its own; object stores keep no empty folders.\n"
_MODEL = '''"""Served by Triton's Python backend."""

from kfp_suite.runtimes.triton_backend import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def lay_out(
    name: str,
    versions: Mapping[int, Path],
    deployed: int,
    options: TritonOptions,
    folder: Path,
) -> None:
    """The model repository.

    Raises:
        ParameterError: the model has no ONNX graph for the backend, versions whose inputs
            differ, a missing version, or a newer one than the deployed, which requests that
            name none would get.
    """
    served = served_of(versions, options.latest, options.specific)
    check_deployed(deployed, served, max(served))
    if options.ensemble and len(versions) > 1:
        # It would answer for one version with the steps of another.
        raise ParameterError(
            "an ensemble serves one version",
            where="versions",
            got=sorted(versions),
            fix="split the traffic with a canary, or leave the ensemble out",
        )
    needs = ESTIMATOR_ONNX if options.backend == ONNX_BACKEND else ""
    shapes = {}
    for version, path in versions.items():
        manifest = read_model(path).manifest
        check_serves(RUNTIMES[TRITON], manifest, needs)
        shapes[version] = _shape(manifest, path, onnx=bool(needs))
    first, *others = shapes.values()
    if any(other != first for other in others):
        raise ParameterError(
            "the versions do not take and give the same",
            where="versions",
            got=sorted(versions),
            fix="split the traffic between two endpoints instead",
        )
    for model, text in configurations(name, first, options).items():
        write_file(folder / model / "config.pbtxt", text.encode())
    _write_versions(name, versions, options, folder)


def _shape(manifest: ModelManifest, path: Path, *, onnx: bool) -> Shape:
    sample = read_sample(lambda name: read_file(str(path / name)))
    if not sample.features:
        raise ParameterError(
            "the model does not say what it takes",
            where=path,
            fix="train it again with this version of kfp-suite",
        )
    row = sample.scores[0]
    return Shape(
        inputs=manifest.signature.inputs,
        outputs=manifest.signature.outputs,
        features=len(sample.features[0]),
        scores=len(row) if isinstance(row, (list, tuple)) else 1,
        scores_name=str(manifest.notes["onnx"]["output"]) if onnx else SCORES,
    )


def _write_versions(
    name: str, versions: Mapping[int, Path], options: TritonOptions, folder: Path
) -> None:
    """The versions of every model of the repository."""
    onnx = options.backend == ONNX_BACKEND
    estimator = folder / estimator_name(name, options)
    for version, path in versions.items():
        of_version = estimator / str(version)
        of_version.mkdir()
        if onnx:
            shutil.copyfile(path / ESTIMATOR_ONNX, of_version / "model.onnx")
        else:
            write_file(of_version / "model.py", _MODEL.encode())
        if options.ensemble or not onnx:
            read_model(path).copy_to(of_version / ARTIFACT)
        if options.ensemble:
            for part in ("preprocess", "postprocess"):
                write_file(folder / f"{name}-{part}" / str(version) / "model.py", _MODEL.encode())
            write_file(folder / name / str(version) / "README", _PLACEHOLDER.encode())
