"""The KFP interface of changed."""

from kfp import dsl
from kfp.dsl import Artifact, Output


@dsl.component(base_image="kfp-suite-python-sklearn:0.1.0", install_kfp_package=False)
def changed(
    changes: Output[Artifact],
    sources: str,
    label: str,
    module: str = "",
    champion: str = "",
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
) -> bool:
    """Tell whether training now could make another model than the champion.

    It compares digests of the sources and of the user's module, and the parameters, with
    those in the champion's manifest: no data is read. Where nothing is new, a run that is
    scheduled every hour costs two small steps.

    Args:
        changes: A folder with `changes.json`: the verdict and its reasons.
        sources: The sources as resolve pinned them.
        label: The column to predict.
        module: The user's module as resolve pinned it; empty for none.
        champion: The champion as resolve pinned it; empty for none.
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

    Returns:
        Whether anything is new.
    """
    from pathlib import Path

    from kfp_suite.components.changed.executor import ChangedParameters
    from kfp_suite.components.changed.executor import changed as execute
    from kfp_suite.stores.step import step

    with step("changed", changes):
        return execute(
            ChangedParameters(
                sources=sources,
                module=module,
                champion=champion,
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
        ).changed
