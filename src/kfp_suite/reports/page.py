"""One self-contained HTML document: no script, nothing fetched, light and dark.

    page = Page("Evaluation", "late arrivals, split test")
    page.verdict(True, ["roc_auc 0.712 is at least 0.700"])
    page.table(["metric", "value"], [["roc_auc", 0.712]])
    page.figure(charts.lines([charts.Series("model", fpr, tpr)]), "ROC curve")
    write_file(path, page.html().encode())

The KFP UI shows it in a sandboxed frame, in which scripts do not run. Text is escaped; only
charts and tags made by `reports` are markup. A page is bounded, whatever the data: long
tables are cut to their first rows and columns, long texts to their start.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from kfp_suite.reports.formatting import (
    MISSING,
    decimals_for,
    fixed,
    number,
    short_digest,
    shorten,
)

Align = Literal["left", "right", "center"]
Tone = Literal["good", "bad", "warn", "calm"]
Cell = str | int | float | bool | None
"""A cell or fact: text is escaped, numbers are formatted, None is a dash, `Markup` (a str)
from `tag` or `charts` goes in as it is."""

MAX_ROWS = 1000
MAX_COLUMNS = 40
MAX_REASONS = 20
MAX_CELL_CHARS = 160
MAX_TEXT_CHARS = 2000
_MIN_SENTENCE = 30
_FOOTER = "Made by KFP Suite. Self-contained: no scripts, nothing loaded from elsewhere."
_SYMBOLS: dict[Tone, str] = {"good": "✓ ", "bad": "✕ ", "warn": "! ", "calm": ""}


def tag(text: str, tone: Tone = "calm") -> Markup:
    """A small label for a cell, with a symbol besides its colour."""
    return Markup('<span class="tag {}"><span aria-hidden="true">{}</span>{}</span>').format(
        tone, _SYMBOLS[tone], shorten(text, MAX_CELL_CHARS)
    )


def code(text: str) -> Markup:
    """`text` in the fixed-width font."""
    return Markup("<code>{}</code>").format(shorten(text, 2 * MAX_CELL_CHARS))


@dataclass(frozen=True)
class _Verdict:
    ok: bool
    title: str
    reasons: Sequence[Markup]
    kind: str = "verdict"


@dataclass(frozen=True)
class _Facts:
    facts: Sequence[tuple[Markup, Markup]]
    kind: str = "facts"


@dataclass(frozen=True)
class _Text:
    text: Markup
    kind: str
    level: int = 2


@dataclass(frozen=True)
class _Figure:
    svg: Markup
    caption: Markup
    wide: bool


@dataclass(frozen=True)
class _Figures:
    figures: list[_Figure]
    kind: str = "figures"


@dataclass(frozen=True)
class _Table:
    header: Sequence[Markup]
    rows: Sequence[Sequence[Markup]]
    classes: Sequence[str]
    caption: Markup
    fold: Markup
    kind: str = "table"


class Page:
    """A report under construction: blocks in the order they are added."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        self._title, self._subtitle = (shorten(t, MAX_CELL_CHARS) for t in (title, subtitle))
        self._blocks: list[_Verdict | _Facts | _Text | _Figures | _Table] = []

    def verdict(self, ok: bool, reasons: Sequence[str], title: str = "") -> None:
        """The decision and its reasons; `title` is `Passed` or `Failed` by default."""
        if (more := len(reasons) - MAX_REASONS) > 0:
            reasons = [*reasons[:MAX_REASONS], f"and {more:,} more"]
        self._blocks.append(
            _Verdict(ok, title or ("Passed" if ok else "Failed"), [_text(r) for r in reasons])
        )

    def facts(self, facts: Mapping[str, Cell]) -> None:
        """Short named values, side by side. A whole digest is shown by its first digits."""
        self._blocks.append(_Facts([(_text(name), _cell(v)) for name, v in facts.items()]))

    def heading(self, text: str, level: int = 2) -> None:
        """A heading of `level` 2 or 3."""
        self._blocks.append(_Text(_text(text), "heading", level))

    def text(self, text: str) -> None:
        """A paragraph."""
        self._blocks.append(_Text(_text(text), "text"))

    def note(self, text: str) -> None:
        """A paragraph set apart, such as a limit of the page or the reason for a gap."""
        self._blocks.append(_Text(_text(text), "note"))

    def prose(self, markup: Markup) -> None:
        """Paragraphs, lists and tables that are markup already, of a text whose own markup was
        escaped."""
        self._blocks.append(_Text(markup, "prose"))

    def figure(self, svg: Markup, caption: str = "", wide: bool = False) -> None:
        """A chart of `charts`. Figures in a row stand side by side, unless `wide`."""
        if not self._blocks or not isinstance(self._blocks[-1], _Figures):
            self._blocks.append(_Figures([]))
        group = self._blocks[-1]
        assert isinstance(group, _Figures)
        group.figures.append(_Figure(svg, _text(caption), wide))

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        align: Sequence[Align] | None = None,
        caption: str = "",
        fold: str = "",
    ) -> None:
        """A table whose first column names its rows.

        Args:
            header: One name a column.
            rows: Cells; a column of floats gets one number of decimals.
            align: One of left, right, center a column; by default numbers stand right.
            caption: A description of the table, for screen readers too.
            fold: If given, the table is folded behind this text.

        Beyond `MAX_ROWS` and `MAX_COLUMNS` the rest is counted, not shown.
        """
        cut = _cut(len(rows), MAX_ROWS, "rows") + _cut(len(header), MAX_COLUMNS, "columns")
        header, rows = header[:MAX_COLUMNS], [row[:MAX_COLUMNS] for row in rows[:MAX_ROWS]]
        columns = [[row[i] for row in rows] for i in range(len(header))]
        numeric = [_is_numeric(column) for column in columns]
        texts = [
            _column(c) if n else [_cell(v) for v in c]
            for c, n in zip(columns, numeric, strict=True)
        ]
        self._blocks.append(
            _Table(
                [_text(name, MAX_CELL_CHARS) for name in header],
                list(zip(*texts, strict=True)),
                [
                    _classes(side, column)
                    for side, column in zip(
                        align or ["right" if n else "left" for n in numeric], columns, strict=True
                    )
                ],
                _text(caption),
                _text(fold),
            )
        )
        if cut:
            self.note("Of this table, " + " and ".join(cut) + ".")

    def html(self) -> str:
        """The document."""
        return (
            _template().render(
                title=self._title,
                subtitle=self._subtitle,
                style=_style(),
                blocks=self._blocks,
                footer=_FOOTER,
            )
            + "\n"
        )


@functools.cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(_resource("page.html.j2"))


@functools.cache
def _style() -> Markup:
    return Markup(_resource("page.css"))  # noqa: S704 - our own file


def _resource(name: str) -> str:
    return resources.files("kfp_suite.reports").joinpath(name).read_text("utf-8")


def _cut(count: int, most: int, of: str) -> list[str]:
    return [f"the first {most:,} of {count:,} {of}"] if count > most else []


def _text(text: str, longest: int = MAX_TEXT_CHARS) -> Markup:
    return text if isinstance(text, Markup) else escape(shorten(text, longest))


def _cell(value: Cell) -> Markup:
    if value is None or value == "":
        return Markup('<span class="none">{}</span>').format(MISSING)
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        short = short_digest(value)
        return (
            Markup('<code title="{}">{}</code>').format(value, short)
            if short
            else _breakable(_text(value, MAX_CELL_CHARS))
        )
    return escape(number(value))


def _breakable(text: Markup) -> Markup:
    """`text`, whose long names may go on in the next line after an underscore."""
    return text.replace("_", Markup("_<wbr>"))


def _classes(align: Align, column: Sequence[Cell]) -> str:
    """How a column is set: sentences are given room, or each of their words would have a line."""
    wordy = any(
        isinstance(cell, str)
        and not isinstance(cell, Markup)
        and len(cell) >= _MIN_SENTENCE
        and " " in cell
        for cell in column
    )
    return " ".join(filter(None, ("" if align == "left" else align, "wordy" if wordy else "")))


def _is_numeric(column: Sequence[Cell]) -> bool:
    present = [v for v in column if v is not None]
    return bool(present) and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) for v in present
    )


def _column(column: Sequence[Cell]) -> list[Markup]:
    """Numbers of one column, with one number of decimals if their sizes allow it."""
    sizes = [abs(v) for v in column if isinstance(v, (int, float)) and v and math.isfinite(v)]
    floats = any(isinstance(v, float) and not v.is_integer() for v in column)
    if not floats or max(sizes) / min(sizes) > 1e4 or not 1e-4 <= max(sizes) < 1e9:
        return [_cell(v) for v in column]
    decimals = min(decimals_for(max(sizes)), 4)
    return [escape(fixed(v, decimals)) if isinstance(v, (int, float)) else _cell(v) for v in column]
