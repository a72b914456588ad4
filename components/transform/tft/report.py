"""The report of a user's own preprocessing_fn: its inputs and outputs."""

from __future__ import annotations

from kfp_suite.features.tft_graph import TftTransform
from kfp_suite.reports.page import Page


def graph_page(transform: TftTransform, *, dataset_digest: str) -> Page:
    """The page of an analyzed `preprocessing_fn`."""
    page = Page("Transform", "a preprocessing_fn, analyzed by TensorFlow Transform")
    page.facts(
        {
            "Input columns": len(transform.inputs),
            "Output columns": len(transform.output_names),
            "Matrix, 32-bit": f"{4 * len(transform.output_names):,} bytes a row",
            "Label": transform.label or None,
            "Module": transform.content["features"]["module"],
            "Transform": transform.digest,
            "Dataset": dataset_digest,
        }
    )
    page.heading("Inputs")
    page.table(
        ["Column", "Type", "May be missing"],
        [[f.name, f.type, "yes" if f.nullable else "no"] for f in transform.inputs],
    )
    page.heading("Outputs")
    page.table(["Output", "Position"], [[n, i] for i, n in enumerate(transform.output_names)])
    return page
