"""The KFP interface of changed."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Output


@dsl.component(base_image="kfp-suite-python-sklearn:0.1.0", install_kfp_package=False)
def changed(
    sources: dict,
    label: str,
    store: str,
    model_name: str,
    pins: Output[Artifact],
    changes: Output[Artifact],
    module_file: str = "",
    sql: str = "",
    split: dict = {},
    features: dict = {},
    task: str = "auto",
    estimator: str = "hist_gradient_boosting",
    hyperparameters: dict = {},
    class_weight: dict = {},
    sample_weight: str = "",
    early_stopping: int = 0,
    threshold: float = 0.5,
    calibration: str = "",
    seed: int = 0,
    force: bool = False,
) -> NamedTuple(
    "Changed", [("Output", bool), ("sources", str), ("module", str), ("champion", str)]
):
    """Resolve as resolve does, and tell whether training could make another model now.

    It compares digests of the sources and of the user's module, and the parameters, with
    those in the champion's manifest: no data is read. If nothing is new, a run that is
    scheduled every hour costs this one small step. It returns `Output`: whether anything is
    new; and `sources`, `module` and `champion` as resolve does.

    Args:
        sources: As resolve's.
        label: The column to predict.
        store: As resolve's.
        model_name: As resolve's.
        pins: As resolve's.
        changes: A folder with `changes.json`: the verdict and its reasons.
        module_file: As resolve's.
        sql: As ingest's.
        split: As ingest's.
        features: As transform's; empty: whatever the champion has.
        task: As train's.
        estimator: As train's.
        hyperparameters: As train's.
        class_weight: As train's.
        sample_weight: As train's.
        early_stopping: As train's.
        threshold: As train's.
        calibration: As train's.
        seed: As train's.
        force: Say yes, whatever there is.
    """
    from pathlib import Path
    from typing import NamedTuple

    from kfp_suite.components.resolve.changed.executor import ChangedParameters
    from kfp_suite.components.resolve.changed.executor import changed as execute
    from kfp_suite.components.resolve.executor import resolve
    from kfp_suite.stores.step import step

    with step("changed", changes):
        pinned = resolve(sources, module_file, store, model_name, Path(pins.path), pins.uri)
        found = execute(
            ChangedParameters(
                sources=pinned.sources,
                module=pinned.module,
                champion=pinned.champion,
                ingest={"sql": sql, "split": split},
                features=features,
                train={
                    "label": label,
                    "task": task,
                    "estimator": estimator,
                    "hyperparameters": hyperparameters,
                    "class_weight": class_weight,
                    "sample_weight": sample_weight,
                    "early_stopping": early_stopping,
                    "threshold": threshold,
                    "calibration": calibration,
                    "seed": seed,
                },
                force=force,
            ),
            Path(changes.path),
        )

    # A condition of a local run sees an output of this name alone (kfp 2.17.0,
    # enhanced_dag_orchestrator.py).
    class Changed(NamedTuple):
        Output: bool
        sources: str
        module: str
        champion: str

    return Changed(found.changed, pinned.sources, pinned.module, pinned.champion)
