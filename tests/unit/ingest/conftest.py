"""Ingest as the tests call it: one source, all rows in train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.contracts.dataset import Dataset
from kfp_suite.contracts.errors import InputError
from kfp_suite.stores.sources import parse_sources, pin

ALL_IN_TRAIN = {"by": "hash", "eval": 0, "test": 0}


@dataclass(frozen=True)
class Reading:
    """Reads sources below a folder of the test.

    Attributes:
        folder: Where files may be written, and where datasets go.
    """

    folder: Path

    def file(self, name: str, content: str | bytes) -> str:
        """The path of a new file."""
        path = self.folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def dataset(self, source: Any, **parameters: Any) -> Dataset:
        """The dataset of the source `t`."""
        pinned = {name: pin(name, spec) for name, spec in parse_sources({"t": source}).items()}
        given = IngestParameters(**({"split": ALL_IN_TRAIN} | parameters))
        number = len(list(self.folder.glob("dataset-*")))
        return ingest(given, pinned, self.folder / f"dataset-{number}", self.folder / "preview")

    def rows(self, source: Any, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of the dataset."""
        rows: list[dict[str, Any]] = self.dataset(source, **parameters).table("train").to_pylist()
        return rows

    def column(self, source: Any, **parameters: Any) -> list[Any]:
        """The values of its first column."""
        return [next(iter(row.values())) for row in self.rows(source, **parameters)]

    def types(self, source: Any, **parameters: Any) -> dict[str, str]:
        """The types of its columns."""
        columns = self.dataset(source, **parameters).manifest.columns
        return {column.name: column.type for column in columns}

    def error(self, source: Any, **parameters: Any) -> str:
        """The line that refuses the source; nothing is written then."""
        with pytest.raises(InputError) as caught:
            self.dataset(source, **parameters)
        assert not list(self.folder.glob("dataset-*"))
        text = str(caught.value).replace(str(self.folder / "in"), "IN")
        assert "\n" not in text
        assert ".work" not in text
        return text


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    return Reading(tmp_path)
