"""Fit a feature spec on the train split of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp_suite.components.transform.report import report_page
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.features.fitted_transform import FittedTransform
from kfp_suite.features.fitting import fit
from kfp_suite.features.spec import parse_features


@dataclass(frozen=True)
class TransformParameters:
    """What to fit: the spec, and the columns that no feature may read."""

    features: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    exclude: tuple[str, ...] = ()
    sample_weight: str = ""


def transform(
    parameters: TransformParameters, dataset: Path, output: Path, report: Path
) -> FittedTransform:
    """Fit the features on `train`; write the transform's folder and its report.

    Raises:
        ParameterError: the spec is not right, or does not fit the columns.
        DataError: the rows of `train` cannot be used; naming the column.
        MissingError, ContractError: `dataset` is not a Dataset artifact with such a split.
    """
    spec = parse_features(parameters.features)
    data = read_dataset(dataset)
    exclude = dict.fromkeys(
        name for name in (*parameters.exclude, parameters.sample_weight) if name
    )
    fitted = fit(spec, data, parameters.label, tuple(exclude))
    page = report_page(fitted, dataset_digest=data.manifest.digest, columns=len(data.schema))
    with whole_folder(output) as folder:
        fitted.save(folder)
    write_file(report, page.html().encode())
    return fitted
