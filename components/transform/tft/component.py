"""The KFP interface of transform_tft."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Output


@dsl.component(base_image="kfp-suite-python-tfx:0.1.0", install_kfp_package=False)
def transform_tft(
    dataset: Input[Dataset],
    transform: Output[Artifact],
    examples: Output[Artifact],
    features_report: Output[HTML],
    features: dict = {},
    module: str = "",
    label: str = "",
    exclude: list = [],
    sample_weight: str = "",
    write_examples: bool = True,
    beam_runner: str = "local",
    beam_options: dict = {},
):
    """Fit the features on the train split with TensorFlow Transform on Apache Beam.

    For data that one machine does not hold, and for modules written for TFX. What a spec
    learns is what transform learns (quantiles within 0.0001 of their rank), in the same
    artifact, so every training step takes it; a module's graph is for train_tensorflow.

    Args:
        dataset: The Dataset artifact of ingest, with a split named `train`, in a folder
            that every worker of Beam sees.
        transform: A folder: of a spec `transform.json`, as transform writes it, of a module
            `tft.json`, its outputs' schema and the module; and `transform_fn`, the graph as
            a SavedModel.
        examples: A folder: `Split-<name>/transformed_examples-*.gz`, serialized
            `tf.Example`s of the outputs and the label, as TFX names them.
        features_report: The report, one self-contained HTML file.
        features: The feature spec; see transform. Without a `transformer`.
        module: A user's module, pinned by resolve (JSON with `uri` and `digest`), with
            TFX's `preprocessing_fn(inputs)`, instead of a spec. Inputs are float32, int64 or
            string tensors of shape (rows, 1); sparse where a row of the dataset has no value.
        label: The label column, which no feature may read. Empty: none.
        exclude: Further columns that no feature may read. Empty: none.
        sample_weight: The column of sample weights, which no feature may read. Empty: none.
        write_examples: Whether the transformed examples are written.
        beam_runner: `local`, in the step itself; or DataflowRunner, FlinkRunner or
            SparkRunner.
        beam_options: The runner's options by name, such as `{project: p, region: r}`.
    """
    from pathlib import Path

    from kfp_suite.stores.cached_outputs import METADATA_KEY
    from kfp_suite.stores.step import step

    with step("transform", transform, noted_in=dataset.metadata.get(METADATA_KEY, "")):
        from kfp_suite.beam.pipelines import BeamParameters
        from kfp_suite.components.transform.tft.executor import TftParameters
        from kfp_suite.components.transform.tft.executor import transform_tft as execute
        from kfp_suite.stores.files import pin_from_json

        fitted = execute(
            TftParameters(
                features=features,
                label=label,
                exclude=tuple(exclude),
                sample_weight=sample_weight,
                write_examples=write_examples,
                beam=BeamParameters(beam_runner, beam_options),
            ),
            pin_from_json(module, "module") if module else None,
            Path(dataset.path),
            Path(transform.path),
            Path(examples.path),
            Path(features_report.path),
        )
        transform.metadata["digest"] = fitted.digest
        transform.metadata["outputs"] = len(fitted.output_names)
