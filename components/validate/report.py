"""The report of a validation: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from tensorflow_metadata.proto.v0 import statistics_pb2

from kfp_suite.components.validate.anomaly import Anomaly
from kfp_suite.components.validate.comparisons import Comparison
from kfp_suite.components.validate.hints import Hint
from kfp_suite.components.validate.numeric import NumericColumn
from kfp_suite.components.validate.partial import ColumnPartial, SplitPartial
from kfp_suite.components.validate.protos import bucket_edges, equal_width_counts
from kfp_suite.components.validate.text import StringColumn
from kfp_suite.components.validate.value_texts import format_value
from kfp_suite.contracts.columns import Column
from kfp_suite.contracts.dataset import SPLITS, DatasetManifest
from kfp_suite.reports.charts import spark
from kfp_suite.reports.formatting import number, percent
from kfp_suite.reports.page import Align, Cell, Page, tag

_BARS = 20
_TOP_VALUES = 5
_TYPICAL_VALUES = 3
_MAX_ANOMALIES = 200
_MAX_REASONS = 10
_MAX_HINTS = 100


@dataclass(frozen=True)
class Findings:
    """The content of the report. `partials`: the partial statistics of our own engine; other
    engines have none, and the tables are made of `statistics`."""

    dataset: DatasetManifest
    label: str
    partials: Mapping[str, SplitPartial]
    anomalies: list[Anomaly]
    comparisons: list[Comparison]
    valid: bool
    reasons: list[str]
    inferred: bool
    statistics: statistics_pb2.DatasetFeatureStatisticsList | None = None
    hints: Sequence[Hint] = ()


def render(findings: Findings, most_columns: int) -> str:
    """The report as HTML; of wide tables only `most_columns` columns, those with findings first."""
    page = Page("Data validation", _subtitle(findings))
    _verdict(page, findings)
    _facts(page, findings)
    columns = _shown_columns(findings, most_columns)
    _anomalies(page, findings)
    _hints(page, findings)
    if findings.partials:
        _columns(page, findings, columns)
    _distances(page, findings, columns)
    if findings.partials:
        _figures(page, findings, columns)
    elif findings.statistics is not None:
        _figures_of_protos(page, findings.statistics, columns)
    return page.html()


def _subtitle(findings: Findings) -> str:
    rows = sum(split.rows for split in findings.dataset.splits.values())
    return f"{number(rows)} rows, {number(len(findings.dataset.columns))} columns"


def _verdict(page: Page, findings: Findings) -> None:
    reasons = findings.reasons[:_MAX_REASONS]
    hidden = len(findings.reasons) - len(reasons)
    if hidden:
        reasons = [*reasons, f"and {hidden} more, in the table below"]
    if findings.valid:
        warnings = len(findings.anomalies)
        hints = len(findings.hints)
        against = "inferred from train" if findings.inferred else "that was given"
        reasons = [f"nothing contradicts the schema {against}"]
        if warnings:
            noun = "warning" if warnings == 1 else "warnings"
            reasons = [f"no error; {warnings} {noun} to look at"]
        if hints:
            reasons.append("1 hint to look at" if hints == 1 else f"{hints} hints to look at")
    page.verdict(findings.valid, reasons, "Valid" if findings.valid else "Not valid")


def _facts(page: Page, findings: Findings) -> None:
    splits = sorted(findings.dataset.splits.items(), key=lambda pair: SPLITS.index(pair[0]))
    facts: dict[str, Cell] = {f"Rows in {name}": split.rows for name, split in splits}
    if findings.label:
        facts["Label"] = findings.label
    if findings.dataset.quarantined:
        facts["Quarantined by ingest"] = findings.dataset.quarantined
    facts["Schema"] = "inferred from train" if findings.inferred else "given"
    facts["Dataset"] = findings.dataset.digest
    page.facts(facts)


def _shown_columns(findings: Findings, most: int) -> list[Column]:
    """In the dataset's order; if there are too many, those with findings first."""
    columns = list(findings.dataset.columns)
    if len(columns) <= most:
        return columns
    severity = {a.feature: 1 if a.severity == "warning" else 2 for a in findings.anomalies}
    moved = {c.column: c.value or 0.0 for c in findings.comparisons}
    first = sorted(
        columns,
        key=lambda c: (c.name != findings.label, -severity.get(c.name, 0), -moved.get(c.name, 0.0)),
    )
    kept = {column.name for column in first[:most]}
    return [column for column in columns if column.name in kept]


def _anomalies(page: Page, findings: Findings) -> None:
    page.heading("Anomalies")
    if not findings.anomalies:
        page.text("None.")
        return
    ordered = sorted(findings.anomalies, key=lambda anomaly: anomaly.severity != "error")
    page.table(
        ["column", "", "split", "what", "got", "expected"],
        [
            [
                a.feature or "(dataset)",
                tag("error", "bad") if a.severity == "error" else tag("warning", "warn"),
                _unbroken(a.split or "all"),
                a.description,
                a.got,
                a.expected,
            ]
            for a in ordered[:_MAX_ANOMALIES]
        ],
    )
    if len(ordered) > _MAX_ANOMALIES:
        page.note(
            f"The first {_MAX_ANOMALIES} of {number(len(ordered))} anomalies; "
            "all are in validation.json."
        )
    if findings.inferred and any(a.severity == "warning" for a in ordered):
        page.note(
            "A warning contradicts what was inferred from train. To make it an error, declare "
            "the column in the schema."
        )


def _hints(page: Page, findings: Findings) -> None:
    if not findings.hints:
        return
    page.heading("Hints")
    page.text("None of these is an error: check that each is intended.")
    page.table(
        ["column", "observation", "if not intended"],
        [[hint.column, hint.text, hint.fix] for hint in findings.hints[:_MAX_HINTS]],
    )
    if len(findings.hints) > _MAX_HINTS:
        page.note(
            f"The first {_MAX_HINTS} of {number(len(findings.hints))} hints; "
            "all are in validation.json."
        )


def _columns(page: Page, findings: Findings, columns: list[Column]) -> None:
    page.heading("Columns")
    splits = list(findings.partials)
    page.text(
        "Each split's distribution on one scale: numbers in buckets of equal width over the "
        "range of all splits, categories in the order of their frequency in train."
    )
    if len(columns) < len(findings.dataset.columns):
        page.note(
            f"{len(columns)} of {number(len(findings.dataset.columns))} columns: those with "
            "findings first. All are in statistics.pb and statistics.json."
        )
    rows: list[list[Cell]] = []
    for column in columns:
        partials = {name: p.columns[column.name] for name, p in findings.partials.items()}
        bars = _bars(column, findings)
        rows.append(
            [
                column.name,
                _unbroken(column.type),
                _distinct(partials["train"]),
                _missing(partials),
                *(
                    spark(bars[name], f"{column.name} in {name}") if name in bars else None
                    for name in splits
                ),
                _typical(column, findings.partials["train"]),
            ]
        )
    page.table(
        ["column", "type", "distinct", f"missing in {' · '.join(splits)}", *splits, "in train"],
        rows,
        align=_align("llrr" + "l" * (len(splits) + 1)),
    )


def _distances(page: Page, findings: Findings, columns: list[Column]) -> None:
    if not findings.comparisons:
        return
    page.heading("Distances from train")
    page.text(
        "From 0 (the same) to 1: the L-infinity distance of categorical columns, the "
        "Jensen-Shannon divergence of numeric ones in bins between the deciles of train (of the "
        "baseline, for a distance to it), and the difference between the shares of missing "
        "values. Largest first. Splits by time differ legitimately: a distance is an error only "
        "beyond a threshold that was set."
    )
    others = list(dict.fromkeys((c.kind, c.other) for c in findings.comparisons))
    kept = {column.name for column in columns}
    table: dict[tuple[str, str], dict[tuple[str, str], Comparison]] = {}
    for c in findings.comparisons:
        if c.column in kept and (c.metric != "missing" or c.value or c.threshold is not None):
            table.setdefault((c.column, c.metric), {})[c.kind, c.other] = c
    ordered = sorted(table, key=lambda key: -max(c.value or 0.0 for c in table[key].values()))
    names = {
        "l_infinity": "L-infinity",
        "jensen_shannon": "Jensen-Shannon",
        "missing": "missing values",
    }
    page.table(
        ["column", "metric", *(f"to {other}" for _, other in others), "threshold", "differs most"],
        [
            [
                key[0],
                names[key[1]],
                *(_format_distance(table[key].get(other)) for other in others),
                _thresholds(list(table[key].values())),
                _farthest(list(table[key].values())),
            ]
            for key in ordered
        ],
        align=_align("ll" + "r" * len(others) + "rl"),
    )


def _figures(page: Page, findings: Findings, columns: list[Column]) -> None:
    numbers: list[list[Cell]] = []
    values: list[list[Cell]] = []
    for column in columns:
        for split, partial in findings.partials.items():
            found = partial.columns[column.name]
            if isinstance(found, StringColumn):
                top = found.top(_TOP_VALUES, partial.sample.column(column.name))
                listed = ", ".join(
                    f"{_short(value)} {percent(rows / found.present)}" for value, rows in top
                )
                average = found.total_bytes / found.present if found.present else None
                values.append([column.name, _unbroken(split), _distinct(found), average, listed])
            else:
                numbers.append([column.name, _unbroken(split), *_number_cells(found, column)])
    if numbers:
        page.heading("Numbers")
        page.table(
            ["column", "split", "min", "median", "max", "mean", "std dev", "zeros", "not finite"],
            numbers,
            align=_align("ll" + "r" * 7),
            fold=f"Figures of {len(numbers) // len(findings.partials)} columns by split",
        )
    if values:
        page.heading("Text")
        page.table(
            ["column", "split", "distinct", "mean bytes", "most frequent values"],
            values,
            align=_align("llrrl"),
            fold=f"Values of {len(values) // len(findings.partials)} columns by split",
        )


def _figures_of_protos(
    page: Page, statistics: statistics_pb2.DatasetFeatureStatisticsList, columns: list[Column]
) -> None:
    found = {
        (feature.path.step[0], dataset.name): feature
        for dataset in statistics.datasets
        for feature in dataset.features
    }
    rows = [
        [column.name, _unbroken(dataset.name), *_proto_cells(found[column.name, dataset.name])]
        for column in columns
        for dataset in statistics.datasets
    ]
    page.heading("Columns")
    page.table(
        ["column", "split", "missing", "distinct", "min", "median", "max", "mean", "most frequent"],
        rows,
        align=_align("ll" + "r" * 6 + "l"),
    )


def _proto_cells(feature: statistics_pb2.FeatureNameStatistics) -> list[Cell]:
    if feature.WhichOneof("stats") == "string_stats":
        text = feature.string_stats
        top = ", ".join(_short(v.value) for v in text.top_values[:_TOP_VALUES])
        return [text.common_stats.num_missing, text.unique, None, None, None, None, top]
    numbers = feature.num_stats
    figures = [numbers.min, numbers.median, numbers.max, numbers.mean]
    return [numbers.common_stats.num_missing, None, *(_figure(f) for f in figures), None]


def _number_cells(found: NumericColumn, column: Column) -> list[Cell]:
    odd: Cell = found.nans + found.negative_infinities + found.positive_infinities
    if not found.finite:
        return [None, None, None, None, None, None, odd]
    moments = found.moments()
    median = found.median()
    mean, std_dev = moments.mean(found.finite), moments.std_dev(found.finite)
    if column.type in ("date", "timestamp"):
        texts = [format_value(v, column.type) for v in (found.minimum, median, found.maximum, mean)]
        return [*texts, _span(std_dev, column), None, odd]
    return [
        _figure(found.minimum),
        _figure(median),
        _figure(found.maximum),
        _figure(mean),
        _figure(std_dev),
        found.num_zeros(),
        odd,
    ]


def _figure(value: float | None) -> Cell:
    """A number of its own size: columns of the table mix units."""
    return number(value)


def _span(microseconds_or_days: float, column: Column) -> str:
    days = microseconds_or_days / (86_400_000_000 if column.type == "timestamp" else 1)
    return f"{number(days)} days"


def _bars(column: Column, findings: Findings) -> dict[str, list[float]]:
    """By split, the heights of a small chart; the same buckets in all splits."""
    if column.type == "string":
        train = findings.partials["train"]
        found = train.columns[column.name]
        assert isinstance(found, StringColumn)
        values = [v for v, _ in found.top(_BARS, train.sample.column(column.name))]
        return {
            name: [float(n) for n in other.counts_of(values)]
            for name, partial in findings.partials.items()
            if isinstance(other := partial.columns[column.name], StringColumn) and other.present
        }
    numbers = {
        name: other
        for name, partial in findings.partials.items()
        if isinstance(other := partial.columns[column.name], NumericColumn) and other.finite
    }
    if not numbers:
        return {}
    low = min(float(n.minimum) for n in numbers.values() if n.minimum is not None)
    high = max(float(n.maximum) for n in numbers.values() if n.maximum is not None)
    if low == high:
        return {name: [float(n.finite)] for name, n in numbers.items()}
    whole = column.type != "float64" and high - low < _BARS
    edges = (
        np.arange(low - 0.5, high + 1)  # a bar for each whole number
        if whole
        else bucket_edges(low, high, _BARS)
    )
    return {name: equal_width_counts(n, edges).tolist() for name, n in numbers.items()}


def _distinct(found: ColumnPartial) -> str:
    return number(found.distinct()) if found.exact else f"about {number(found.distinct())}"


def _missing(partials: Mapping[str, ColumnPartial]) -> Cell:
    if not any(found.missing for found in partials.values()):
        return 0
    shares = (percent(p.missing / p.rows) if p.missing else "0" for p in partials.values())
    return " · ".join(shares)


def _typical(column: Column, train: SplitPartial) -> Cell:
    """The most frequent values of text, the middle and the range of numbers."""
    found = train.columns[column.name]
    if isinstance(found, StringColumn):
        top = found.top(_TYPICAL_VALUES, train.sample.column(column.name))
        return ", ".join(
            f"{_short(value)} {percent(rows / found.present, 0)}" for value, rows in top
        )
    if not found.finite:
        return None
    if column.type == "bool":
        ones = found.finite - found.num_zeros()
        return f"true {percent(ones / found.finite)}"
    low, middle, high = (
        format_value(value, column.type) if column.type in ("date", "timestamp") else number(value)
        for value in (found.minimum, found.median(), found.maximum)
    )
    if column.type in ("date", "timestamp"):
        return f"{low} to {high}"
    return low if low == high else f"median {middle}, {low} to {high}"


def _short(value: str) -> str:
    return value if len(value) <= 24 else f"{value[:23]}…"


def _unbroken(text: str) -> Markup:
    return Markup('<span style="white-space: nowrap">{}</span>').format(text)


def _format_distance(comparison: Comparison | None) -> Cell:
    if comparison is None or comparison.value is None:
        return None
    if comparison.exceeds:
        return tag(f"{comparison.value:.3f}", "bad")
    return f"{comparison.value:.3f}"


def _thresholds(comparisons: list[Comparison]) -> Cell:
    limits = dict.fromkeys(f"{c.threshold:g}" for c in comparisons if c.threshold is not None)
    return ", ".join(limits) or None


def _farthest(comparisons: list[Comparison]) -> Cell:
    farthest = max(comparisons, key=lambda c: c.value or 0.0)
    return format_value(farthest.farthest, "string") if farthest.farthest else None


def _align(letters: str) -> list[Align]:
    return ["left" if letter == "l" else "right" for letter in letters]
