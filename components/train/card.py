"""The model card: a model on a page of Markdown."""

from __future__ import annotations

from kfp_suite.contracts.model import ModelManifest
from kfp_suite.reports.formatting import short_digest
from kfp_suite.reports.markdown import code

_MAX_NAME_CHARS = 100
_MAX_CLASSES = 20


def model_card(manifest: ModelManifest, rows: dict[str, int], estimator: str) -> str:
    """The card of a model.

    Args:
        manifest: The content of `model.json`.
        rows: Labelled rows of each split that training used.
        estimator: The estimator with its hyperparameters.
    """
    recipe = manifest.recipe
    used = ", ".join(f"{count:,} of {split}" for split, count in rows.items())
    lines = [
        f"# Predicts {code(manifest.label)}",
        "",
        f"- Task: {manifest.task}" + _classes(manifest),
        f"- Estimator: {code(estimator)}",
        *(
            [f"- Calibrated: {method}, on eval"]
            if (method := recipe.train.get("calibration"))
            else []
        ),
        f"- Rows: {used}",
        f"- Served as: {_served_as(manifest)}",
        "",
        "## Input",
        "",
        "| field | type | may be null |",
        "|---|---|---|",
        *(
            f"| {code(field.name, _MAX_NAME_CHARS)} | {field.type} | "
            f"{'yes' if field.nullable else 'no'} |"
            for field in manifest.signature.inputs
        ),
        "",
        "## Output",
        "",
        "| field | type | shape |",
        "|---|---|---|",
        *(
            f"| {code(field.name, _MAX_NAME_CHARS)} | {field.type} | "
            f"{list(field.shape) if field.shape else 'scalar'} |"
            for field in manifest.signature.outputs
        ),
        "",
        "## Lineage",
        "",
        f"- Model: {_short(manifest.digest)}",
        f"- Dataset: {_short(recipe.dataset_digest)}",
        f"- Transform: {_short(recipe.transform_digest)}",
        f"- Code: {_short(recipe.code_digest)}",
        *([f"- Module: {_short(recipe.module_digest)}"] if recipe.module_digest else []),
        f"- Seed: {recipe.train['seed']}",
        f"- Python {recipe.environment.python}, {recipe.environment.threads} threads, "
        f"{recipe.environment.cpu}, image {recipe.environment.image}",
        *(
            f"- Source {code(name)}: {_short(source.digest)}"
            for name, source in recipe.sources.items()
        ),
        "",
        "Digests are shortened here, and whole in `model.json`. What it is good for is in the "
        "evaluation that it was published by.",
    ]
    return "\n".join(lines) + "\n"


def _short(digest: str) -> str:
    """A digest that fits in a line: the UI breaks no word, and lets it run over the border."""
    return code(short_digest(digest) or digest)


def _classes(manifest: ModelManifest) -> str:
    if not manifest.classes:
        return ""
    named = ", ".join(code(value, _MAX_NAME_CHARS) for value in manifest.classes[:_MAX_CLASSES])
    more = len(manifest.classes) - _MAX_CLASSES
    threshold = manifest.threshold
    return (
        f" of {named}"
        + (f" and {more} more" if more > 0 else "")
        + (f", decided at {threshold}" if threshold is not None else "")
    )


def _served_as(manifest: ModelManifest) -> str:
    if manifest.framework == "tensorflow":
        return "SavedModel" + (" and ONNX" if "estimator.onnx" in manifest.files else "")
    return "ONNX" if "estimator.onnx" in manifest.files else "scikit-learn"
