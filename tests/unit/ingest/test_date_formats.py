"""Dates in a declared format: ingest and the model server give one answer to every text."""

from __future__ import annotations

import csv
import json
from datetime import date, datetime
from typing import Any

import pytest

from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.model import Field
from kfp_suite.models.request_parsing import RecordFormat, table_of_records
from tests.unit.ingest.conftest import Reading

TEXTS: dict[tuple[ColumnType, str], dict[str, date | None]] = {
    ("date", "%d/%m/%Y"): {
        "13/02/2020": date(2020, 2, 13),
        "1/2/2020": date(2020, 2, 1),
        "01/2/0020": date(20, 2, 1),
        "13/02/20": None,
        "13/02/020": None,
        "13/02/20200": None,
        "13/02/0000": None,
        "31/02/2020": None,
        "001/02/2020": None,
        "01/ 2/2020": None,
        "01/02/2020 ": None,
        " 01/02/2020": None,
        "\t01/02/2020": None,
        "01/02/2020\n": None,
        "1٠/02/2020": None,
    },
    ("date", "%d.%m.%y"): {
        "1.2.68": date(2068, 2, 1),
        "01.02.69": date(1969, 2, 1),
        "1.2.5": None,
        "1.2.2005": None,
    },
    ("date", "%Y%m%d"): {
        "20201102": date(2020, 11, 2),
        "2020112": None,
        "202012": None,
        "20201302": None,
    },
    ("date", "%-d.%-m.%Y"): {"1.2.2020": date(2020, 2, 1), "01.02.2020": date(2020, 2, 1)},
    ("date", "%d %b %Y"): {
        "1 FEB 2020": date(2020, 2, 1),
        "01  Feb 2020": date(2020, 2, 1),
        "1 February 2020": None,
        "1 Feb 20": None,
        "1\u00a0Feb\u00a02020": None,
    },
    ("date", "%%%d day's %m (%Y)"): {
        "%1 day's 2 (2020)": date(2020, 2, 1),
        "%1 DAY'S 2 (2020)": None,
    },
    ("date", "%d/%m/%Y %H:%M"): {
        "1/2/2020 00:00": date(2020, 2, 1),
        "1/2/2020 08:30": None,
    },
    ("timestamp", "%d/%m/%Y %H:%M:%S"): {
        "1/2/2020 3:4:5": datetime(2020, 2, 1, 3, 4, 5),
        "1/2/2020 23:59:60": None,
        "1/2/2020 24:00:00": None,
        "1/2/20 03:04:05": None,
    },
    ("timestamp", "%Y%m%d%H%M%S%f"): {
        "20200201030405": None,
        "20200201030405123": datetime(2020, 2, 1, 3, 4, 5, 123000),
        "20200201030405000001": datetime(2020, 2, 1, 3, 4, 5, 1),
    },
    ("timestamp", "%d/%m/%Y %H:%M:%S.%g"): {
        "1/2/2020 03:04:05.12": datetime(2020, 2, 1, 3, 4, 5, 120000),
        "1/2/2020 03:04:05.1234": None,
    },
    ("timestamp", "%d/%m/%Y %H:%M:%S.%n"): {
        "1/2/2020 03:04:05.123456": datetime(2020, 2, 1, 3, 4, 5, 123456),
        "1/2/2020 03:04:05.123456789": None,
    },
    ("timestamp", "%d/%m/%Y %I:%M"): {
        "1/2/2020 3:00": datetime(2020, 2, 1, 3),
        "1/2/2020 12:00": None,
    },
    ("timestamp", "%d/%m/%Y %I:%M %p"): {
        "1/2/2020 12:00 am": datetime(2020, 2, 1),
        "1/2/2020 12:00 PM": datetime(2020, 2, 1, 12),
        "1/2/2020 13:00 PM": None,
    },
    ("timestamp", "%d/%m/%Y %H:%M %z"): {
        "1/2/2020 03:04 +0530": datetime(2020, 1, 31, 21, 34),
        "1/2/2020 03:04 -05:30": datetime(2020, 2, 1, 8, 34),
        "1/2/2020 03:04 -05": None,
        "1/2/2020 03:04 Z": None,
        "1/1/0001 03:04 +0530": None,
        "31/12/9999 23:04 -0530": None,
    },
}
CASES = [(*case, texts) for case, texts in TEXTS.items()]


@pytest.mark.parametrize(("kind", "date_format", "texts"), CASES)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_ingest_reads_a_date_in_its_format_or_the_row_is_bad(
    kind: ColumnType,
    date_format: str,
    texts: dict[str, date | None],
    suffix: str,
    reading: Reading,
) -> None:
    path = reading.file(f"a.{suffix}", "")
    rows = [{"i": i, "d": text} for i, text in enumerate(texts)]
    with open(path, "w", encoding="utf-8", newline="") as file:
        if suffix == "csv":
            writer = csv.DictWriter(file, ["i", "d"], quoting=csv.QUOTE_ALL, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    source: dict[str, Any] = {"uri": path, "formats": {"d": date_format}, "types": {"d": kind}}
    found = reading.rows(source, on_bad_rows="quarantine", max_bad_fraction=1.0)
    given = list(texts)
    assert {given[row["i"]]: row["d"] for row in found} == {
        text: expected for text, expected in texts.items() if expected is not None
    }


@pytest.mark.parametrize(("kind", "date_format", "texts"), CASES)
def test_the_model_server_reads_it_as_ingest(
    kind: ColumnType, date_format: str, texts: dict[str, date | None]
) -> None:
    form = RecordFormat((Field("d", kind),), {"d": date_format})

    def read(text: str) -> Any:
        try:
            return table_of_records([{"d": text}], form)["d"][0].as_py()
        except DataError:
            return None

    assert {text: read(text) for text in texts} == texts
