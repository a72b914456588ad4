"""The KFP interface of transform."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Output


@dsl.component(base_image="kfp-suite-python-sklearn:0.1.0", install_kfp_package=False)
def transform(
    dataset: Input[Dataset],
    transform: Output[Artifact],
    features_report: Output[HTML],
    features: dict = {},
    label: str = "",
    exclude: list = [],
    sample_weight: str = "",
):
    """Fit the features on the train split: what a model sees of a raw row.

    Only the rows of `train` are read, in flat memory. The fitted transform goes into the
    model, so that raw rows go to the endpoint; a row gives the same bits in both.

    Args:
        dataset: The Dataset artifact of ingest, with a split named `train`.
        transform: A folder: `transform.json` (inputs, features, what they learned, outputs)
            and, for a user's own transformers, `transformers/*.skops`.
        features_report: The report, one self-contained HTML file.
        features: The feature spec. `features`: a list of entries, each with `column` or
            `columns`, what is done to them (`steps`, or the keys of one step), and
            optionally `name` and `keep_missing`; `others`: `drop` or `auto`, for the columns
            that no entry names; `exclude`: columns that no feature may read. Operations:
            bucketize, cast, clip, convert_units, cross, cyclic, date_parts, hash, identity,
            impute, log, log1p, ngrams, one_hot, ordinal, polynomial, scale, sqrt, and
            `transformer`, the import path of a scikit-learn transformer; docs/features.md has
            the keys of each, with an example. Empty: default features of every column but the
            label.
        label: The label column, which no feature may read. Empty: none.
        exclude: Further columns that no feature may read. Empty: none.
        sample_weight: The column of sample weights, which no feature may read. Empty: none.
    """
    from pathlib import Path

    from kfp_suite.components.transform.executor import TransformParameters
    from kfp_suite.components.transform.executor import transform as execute
    from kfp_suite.stores.cached_outputs import METADATA_KEY
    from kfp_suite.stores.step import step

    with step("transform", transform, noted_in=dataset.metadata.get(METADATA_KEY, "")):
        fitted = execute(
            TransformParameters(
                features=features,
                label=label,
                exclude=tuple(exclude),
                sample_weight=sample_weight,
            ),
            Path(dataset.path),
            Path(transform.path),
            Path(features_report.path),
        )
        transform.metadata["digest"] = fitted.digest
        transform.metadata["outputs"] = len(fitted.output_names)
