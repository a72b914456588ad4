"""The report of transform: inputs, outputs, and the fitted states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kfp_suite.features.fitted_transform import Fitted, FittedTransform
from kfp_suite.features.spec import Feature, step_to_json
from kfp_suite.reports.charts import bars
from kfp_suite.reports.formatting import number
from kfp_suite.reports.page import Page

MAX_NAMES = 1000
"""Output names listed one by one; the rest are counted."""
_NAMES_A_CELL = 6


def report_page(fitted: FittedTransform, *, dataset_digest: str, columns: int) -> Page:
    """The page of a fitted transform.

    Args:
        fitted: The transform.
        dataset_digest: The digest of the dataset it was fitted on.
        columns: How many columns the dataset has.
    """
    page = Page("Transform", f"fitted on {number(fitted.rows)} rows of split train")
    page.facts(
        {
            "Input columns": len(fitted.inputs),
            "Features": len(fitted.features),
            "Output columns": len(fitted.output_names),
            "Matrix, 32-bit": f"{4 * len(fitted.output_names):,} bytes a row",
            "Label": fitted.label or None,
            "Columns not used": columns - len(fitted.inputs) - bool(fitted.label),
            "Transform": fitted.digest,
            "Dataset": dataset_digest,
        }
    )
    outputs = fitted.outputs_by_feature()
    page.heading("Features")
    page.table(
        ["Columns", "Steps", "Learned from train", "Outputs", "Names"],
        [
            _feature_row(feature, learned, names)
            for feature, learned, names in zip(
                fitted.features, fitted.learned(), outputs, strict=True
            )
        ],
    )
    labels = [_columns(feature) for feature in fitted.features]
    widths = [len(names) for names in outputs]
    page.figure(bars(labels, widths), "Output columns of each feature")
    page.heading("Inputs")
    page.text("What a request carries. A value may be missing where the features handle it.")
    page.table(
        ["Column", "Type", "May be missing"],
        [[f.name, f.type, "yes" if f.nullable else "no"] for f in fitted.inputs],
    )
    page.heading("Outputs")
    shown = fitted.output_names[:MAX_NAMES]
    page.table(
        ["Output", "Position"],
        [[name, i] for i, name in enumerate(shown)],
        fold=f"All {len(shown):,} outputs in order"
        if len(shown) == len(fitted.output_names)
        else f"The first {len(shown):,} of {len(fitted.output_names):,} outputs",
    )
    return page


def _feature_row(
    feature: Feature, learned: Sequence[Fitted], names: Sequence[str]
) -> list[str | int]:
    several = len({item.of for item in learned}) > 1
    return [
        _columns(feature),
        " → ".join(_step(step_to_json(step)) for step in feature.steps),
        "; ".join((f"{item.of}: " if several else "") + _state(item.state) for item in learned),
        len(names),
        _some(names),
    ]


def _columns(feature: Feature) -> str:
    return ", ".join(feature.columns)


def _step(step: Mapping[str, Any]) -> str:
    """A step as its name and the parameters that are lists, texts or numbers."""
    shown = [
        f"{key} {_value(value)}"
        for key, value in step.items()
        if key != "op" and value not in ({}, [])
    ]
    return f"{step['op']} ({', '.join(shown)})" if shown else str(step["op"])


def _state(state: Mapping[str, Any]) -> str:
    if "skops" in state:
        return f"{len(state['outputs'])} outputs"
    if "vocabulary" in state:
        vocabulary = state["vocabulary"]
        return f"vocabulary of {len(vocabulary):,}: {_some(vocabulary)}"
    if "documents" in state:
        return f"document counts of {state['texts']:,} texts"
    return ", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in state.items())


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return _some([_value(item) for item in value])
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(value)
    return str(value)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_A_CELL
    return ", ".join(names[:_NAMES_A_CELL]) + (f" and {more:,} more" if more > 0 else "")
