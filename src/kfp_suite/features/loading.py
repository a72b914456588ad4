"""A transform from its folder, whichever kind it is."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from kfp_suite.contracts.digests import files_below
from kfp_suite.contracts.model import Field
from kfp_suite.features.fitted_transform import TRANSFORM, TRANSFORMERS, FittedTransform
from kfp_suite.features.values import Matrix

# As tft_graph.MANIFEST, which needs TensorFlow.
_TFT = "tft.json"
_FILES = (TRANSFORM, _TFT, "module.py")
# Of a user's transformers; and of TensorFlow Transform, which writes these two.
_FOLDERS = (f"{TRANSFORMERS}/", "transform_fn/", "transformed_metadata/")


class Transform(Protocol):
    """Raw rows to a matrix; `inputs`: the raw columns it reads; `content`: its description,
    for lineage."""

    @property
    def inputs(self) -> tuple[Field, ...]: ...

    @property
    def output_names(self) -> tuple[str, ...]: ...

    @property
    def label(self) -> str: ...

    @property
    def content(self) -> Mapping[str, Any]: ...

    @property
    def digest(self) -> str: ...

    def transform(self, table: pa.Table) -> Matrix:
        """The matrix of a table's rows: float32, shape (rows, outputs)."""


def copy_transform(source: Path, target: Path) -> None:
    """Copy the files of a transform, and no others that its folder may hold."""
    for name in files_below(source):
        if name in _FILES or name.startswith(_FOLDERS):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)


def load_transform(folder: Path) -> Transform:
    """A fitted transform, or a graph of TensorFlow Transform.

    Raises:
        MissingError, ContractError, IntegrityError, ParameterError: as their own `load`.
    """
    if (folder / _TFT).exists():
        from kfp_suite.features.tft_graph import TftTransform

        return TftTransform.load(folder)
    return FittedTransform.load(folder)
