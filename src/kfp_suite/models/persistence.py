"""An estimator on disk: a skops archive, which runs no code unless its types are trusted.

Types are trusted by name, and only those recorded in a `model.json` whose digests match.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.errors import ContractError, ParameterError
from kfp_suite.contracts.model import ESTIMATOR_JOBLIB
from kfp_suite.features import skops_archive

ESTIMATOR = "estimator.skops"
# joblib pickles: another protocol would give other bytes in another Python.
_PROTOCOL = 5


def save_estimator(estimator: Any, folder: Path) -> list[str]:
    """Write `estimator.skops`; equal estimators give equal bytes.

    Returns:
        The names of the types that have to be trusted to read it again.

    Raises:
        ParameterError: skops cannot save it.
    """
    try:
        archive = skops_archive.dumps(estimator)
        types = skops_archive.types_to_trust(archive)
        skops_archive.loads(archive, types)
    except Exception as error:
        raise ParameterError(
            f"{type(estimator).__name__} cannot be saved without pickle",
            where="estimator",
            got=f"{type(error).__name__}: {error}",
            fix="return an estimator made of scikit-learn, XGBoost, LightGBM or plain classes",
        ) from error
    write_file(folder / ESTIMATOR, archive)
    return types


def save_joblib(estimator: Any, folder: Path) -> None:
    """Write `estimator.joblib`, for the model servers that load nothing else. The suite
    never reads it: loading it runs code."""
    import joblib

    buffer = io.BytesIO()
    joblib.dump(estimator, buffer, protocol=_PROTOCOL)
    write_file(folder / ESTIMATOR_JOBLIB, buffer.getvalue())


def load_estimator(folder: Path, trusted: Sequence[str]) -> Any:
    """Read `estimator.skops`.

    Args:
        folder: The Model artifact.
        trusted: The types recorded when it was saved.

    Raises:
        ContractError: it needs a type that is not among them, or a library is another
            version that cannot read it.
    """
    path = folder / ESTIMATOR
    try:
        return skops_archive.loads(path.read_bytes(), trusted)
    except Exception as error:
        raise ContractError(
            "the estimator cannot be loaded",
            where=path,
            got=f"{type(error).__name__}: {error}",
            fix="use the library versions that model.json records",
        ) from error
