"""The order in which test files are started."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.conftest import LONGEST_FIRST, pytest_collection_modifyitems

TESTS = Path(__file__).parents[1]


def test_every_long_file_is_there_once() -> None:
    assert [name for name in LONGEST_FIRST if not (TESTS / name).is_file()] == []
    assert len(set(LONGEST_FIRST)) == len(LONGEST_FIRST)


def test_long_files_are_first_and_units_last() -> None:
    names = ["unit/cli/test_main.py", "storage/test_reading.py", *reversed(LONGEST_FIRST)]
    items: list[Any] = [SimpleNamespace(path=TESTS / name) for name in names]
    pytest_collection_modifyitems(items)
    assert [str(item.path.relative_to(TESTS)) for item in items] == [
        *LONGEST_FIRST,
        "storage/test_reading.py",
        "unit/cli/test_main.py",
    ]
