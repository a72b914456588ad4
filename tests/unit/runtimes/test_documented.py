"""`docs/runtimes.md` names every server and every option, with its default."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.models.conversion import TOLERANCE
from kfp_suite.runtimes.layout import parse_options
from kfp_suite.runtimes.runtime import RUNTIMES
from kfp_suite.runtimes.tensorflow_serving import Batching

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "runtimes.md").read_text()
ROW = re.compile(r"^\| `([\w.]+)` \| `([^`]*)` \|", re.MULTILINE)


def documented(runtime: str) -> dict[str, Any]:
    """The options of a runtime with their defaults, as the page has them."""
    _, found, section = TEXT.partition(f"\n### `{runtime}`\n")
    assert found, f"{runtime} has no section"
    return {name: json.loads(value) for name, value in ROW.findall(section.split("\n### ")[0])}


def defaults(options: Any, prefix: str = "") -> dict[str, Any]:
    """As JSON has them."""
    found = {prefix + field.name: getattr(options, field.name) for field in fields(options)}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_option_is_documented_with_its_default(runtime: str) -> None:
    options = parse_options(runtime, {})
    if not is_dataclass(options):
        assert f"\n### `{runtime}`" not in TEXT
        assert re.search(rf"`{runtime}`.* no options", TEXT)
        return
    expected = defaults(options)
    if "batching" in expected:
        expected |= defaults(Batching(), "batching.")
    assert documented(runtime) == expected


def test_every_server_has_a_row() -> None:
    table = TEXT[TEXT.index("| `runtime` |") : TEXT.index("| format |")]
    rows = re.findall(r"^\| `([\w-]+)`", table, re.MULTILINE)
    assert rows == ["runtime", *RUNTIMES]
    widths = {line.count("|") for line in table.strip().splitlines()}
    assert len(widths) == 1


def test_the_tolerances_are_the_stated_ones() -> None:
    assert TOLERANCE == 1e-6
    assert "within 1e-6" in TEXT
