"""The page of feature operations is current, and its examples run."""

import base64
import datetime
import io
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from kfp_suite.features.operations import OPERATIONS
from tests.contract.feature_reference import EXAMPLES, REFERENCE, feature_reference
from tests.unit.features.tables import fitted

ROWS = 8


def picture() -> str:
    content = io.BytesIO()
    Image.new("L", (28, 28), 7).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


TABLE = pa.table(
    {
        "age": [20.5, 31.0, 44.0, 18.0, 71.0, 35.5, 52.0, 28.0],
        "temp": [50.0, 60.5, 41.0, 77.0, 68.0, 33.0, 59.0, 62.0],
        "zone": [1, 2, 3, 1, 2, 3, 1, 2],
        "cut": ["Ideal", "Good", "Fair", "Ideal", "Good", "Ideal", "Fair", "Good"],
        "color": ["D", "E", "F", "D", "E", "G", "D", "F"],
        "comment": ["late but friendly", "on time", "never again", "lost my bag"] * 2,
        "picture": [picture()] * ROWS,
        "at": pa.array([datetime.datetime(2024, 3, 1 + i, 3 * i) for i in range(ROWS)]).cast(
            pa.timestamp("us")
        ),
    }
)


def test_the_page_is_fresh() -> None:
    assert REFERENCE.read_text() == feature_reference(), "run: make readmes"


@pytest.mark.parametrize("op", OPERATIONS)
def test_an_example_runs(op: str) -> None:
    entry: dict[str, Any] = EXAMPLES[op]
    steps = [step if isinstance(step, str) else step.get("op") for step in entry.get("steps", [])]
    assert op in [entry.get("op", "transformer" if "transformer" in entry else None), *steps]
    transform = fitted([entry], TABLE)
    assert transform.transform(TABLE).shape == (ROWS, len(transform.output_names))


def test_a_cross_is_called_by_its_name() -> None:
    names = fitted([EXAMPLES["cross"]], TABLE).output_names
    assert names[0] == "cut_and_color=#0"
