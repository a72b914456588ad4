"""Hints: what looks odd and is no anomaly."""

from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kfp_suite.components.validate.hints import find_hints
from kfp_suite.components.validate.scan import scan_split
from kfp_suite.contracts.dataset import read_dataset

ROWS = 250
GENERATOR = np.random.default_rng(4)
LABEL = ["no"] * 150 + ["yes"] * 100


@pytest.fixture
def hints_of(make_dataset: Any) -> Any:
    """The hints about one column, beside others that deserve none."""
    names = map(str, count())

    def hints(values: Any, label: Any = LABEL) -> dict[str, str]:
        columns = {
            "carrier": pa.array(GENERATOR.choice(["AA", "UA", "WN"], len(label)).tolist()),
            "temp": pa.array(GENERATOR.normal(50, 10, len(label))),
            "age": pa.array(GENERATOR.integers(18, 70, len(label))),
            "y": pa.array(label),
        }
        table = pa.table(columns | ({"x": pa.array(values)} if values is not None else {}))
        data = read_dataset(make_dataset({"train": table}, next(names)))
        found = find_hints(data, scan_split(data, "train", 1), "y")
        assert {hint.column for hint in found} <= {"x"}
        return {hint.kind: hint.text for hint in found}

    return hints


def test_ordinary_columns_give_no_hint(hints_of: Any) -> None:
    assert hints_of(None) == {}


def test_an_identifier_and_its_order_by_label_are_named(hints_of: Any) -> None:
    found = hints_of(list(range(1_000, 1_000 + ROWS)))
    assert found["identifier"].startswith("It has another value in each of 250 rows")
    assert "the values of the label 'y' follow one another in its order" in found["leakage"]
    shuffled = GENERATOR.permutation(ROWS)
    assert list(hints_of(shuffled)) == ["identifier"]
    assert list(hints_of([f"id-{i:04}" for i in shuffled])) == ["identifier"]


def test_an_identifier_of_very_many_rows_is_named(hints_of: Any) -> None:
    label = ["a", "b"] * 40_000
    found = hints_of(GENERATOR.permutation(80_000), label)
    assert found["identifier"].startswith("It has another value in about each of 80,000 rows")


@pytest.mark.parametrize(
    ("odd", "others", "parts"),
    [
        ("unknown", 1, ["99.6% of the values are numbers, the others are such as 'unknown'"]),
        ("inf.", 3, ["98.8% of the values are numbers, the others are such as 'inf.'"]),
        (
            "$1,234.00",
            ROWS,
            ["100% of the values are numbers, also with a currency"],
        ),
        ("0,123", ROWS, ["'0,123'", "decimal comma"]),
        ("12 %", ROWS, ["percent"]),
        ("1_000", ROWS, ["thousands"]),
    ],
)
def test_numbers_that_were_read_as_text_are_named(
    hints_of: Any, odd: str, others: int, parts: list[str]
) -> None:
    values = [f"{i % 60}.0" for i in range(ROWS - others)] + [odd] * others
    found = hints_of([values[i] for i in GENERATOR.permutation(ROWS)])
    for part in parts:
        assert part in found["numbers_as_text"]


def test_dates_that_can_be_read_in_two_ways_are_named(hints_of: Any) -> None:
    values = [f"{i % 28 + 1:02}/{i % 12 + 1:02}/2024" for i in range(ROWS)]
    found = hints_of([values[i] for i in GENERATOR.permutation(ROWS)])
    assert list(found) == ["dates_as_text"]
    assert "which number is the day is not known" in found["dates_as_text"]


def test_free_text_is_named_and_is_no_identifier(hints_of: Any) -> None:
    words = ["late", "plane", "seat", "crew", "food", "bag"]
    values = [" ".join(GENERATOR.choice(words, 9)) + f" {i}" for i in range(ROWS)]
    assert list(hints_of(values)) == ["free_text"]


@pytest.mark.parametrize(
    "values",
    [
        ["refused" if y == "no" else "sent" for y in LABEL],
        [0 if y == "no" else i % 3 + 1 for i, y in enumerate(LABEL)],
        [y == "yes" for y in LABEL],
        [(2.0 if y == "yes" else 0.0) + float(GENERATOR.random()) for y in LABEL],
    ],
)
def test_a_column_that_gives_the_label_away_is_named(hints_of: Any, values: Any) -> None:
    assert list(hints_of(values)) == ["leakage"]


def test_a_number_that_gives_a_number_away_is_named(hints_of: Any) -> None:
    label = GENERATOR.normal(size=ROWS)
    assert list(hints_of(3 * label + 1, label)) == ["leakage"]
    assert hints_of(3 * label + GENERATOR.normal(size=ROWS) / 10, label) == {}
