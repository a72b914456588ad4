"""The steps of the scikit-learn family that several pipelines have."""

from __future__ import annotations

from kfp_suite.components.train.component import train
from kfp_suite.components.transform.component import transform
from kfp_suite.pipelines.wiring.steps import Task, Value, sized


def trained(
    dataset: Value,
    pinned: Task,
    *,
    features: Value,
    label: Value,
    sample_weight: Value,
    **training: Value,
) -> Value:
    """The model of the dataset's train split.

    Args:
        dataset: A Dataset artifact.
        pinned: From `resolved`: the user's module.
        features: As transform takes them.
        label, sample_weight: As transform and train take them.
        training: What else train takes.
    """
    transformed = transform(
        dataset=dataset, features=features, label=label, sample_weight=sample_weight
    )
    sized(transformed, "4Gi", "8Gi", cpu="2").set_display_name("Fit the features")
    task = train(
        dataset=dataset,
        transform=transformed.outputs["transform"],
        label=label,
        sample_weight=sample_weight,
        module=pinned.outputs["module"],
        **training,
    )
    task.set_display_name("Train")
    return sized(task, "4Gi", "8Gi", cpu="2", hours=24).outputs["model"]
