"""Charts as inline SVG: readable in light, dark and print, without a script.

Colours are the page's (`page.css`), safe for the color-blind; series differ in dash too.
Sizes are SVG units: at 480 wide, text is 12 pixels in a half-width figure. On a small screen a
chart is scrolled before its text is smaller than 8.9 pixels. Every chart is bounded: points are
thinned to `MAX_POINTS`, labels to `MAX_LABELS`. Values that are not finite are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from kfp_suite.reports.formatting import distinct_labels, number, percent, shorten
from kfp_suite.reports.scales import (
    Range,
    Scale,
    finite_range,
    round_ticks,
    rounded_out,
    tick_labels,
)
from kfp_suite.reports.svg import COLOURS, Drawing, is_number, text_width

MAX_POINTS = 240
MAX_LABELS = 40
_MAX_LABEL_CHARS = 28
_LEGEND_HEIGHT = 22.0


@dataclass(frozen=True)
class Series:
    """A line: `y` over `x`, of one length.

    Args:
        name: Shown in the legend if there are several.
        low, high: The confidence band around `y`, of the same length; empty for none.
        marks: Whether to mark each point with a dot.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    marks: bool = False


@dataclass(frozen=True)
class Interval:
    """A point with its confidence interval; `series` is champion or challenger, for example."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    series: str = ""
    note: str = ""


@dataclass(frozen=True)
class _Plot:
    """A drawing with the scales of its plotting area."""

    drawing: Drawing
    x: Scale
    y: Scale


def histogram(
    edges: Sequence[float],
    counts: Sequence[float] | Mapping[str, Sequence[float]],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    width: float = 480,
    height: float = 260,
) -> Markup:
    """Counts of the bins between `edges` (one more than counts).

    Several named series are drawn as shares of their own rows, so that splits of different
    sizes can be compared. If bins differ in width, height is count divided by width.
    """
    several = isinstance(counts, Mapping)
    series = dict(counts) if isinstance(counts, Mapping) else {"": counts}
    widths = [b - a for a, b in pairwise(edges)]
    uneven = bool(widths) and max(widths) - min(widths) > 1e-6 * max(widths)
    heights: dict[str, list[float]] = {}
    for name, values in series.items():
        total = (sum(values) or 1.0) if several else 1.0
        heights[name] = [
            v / total / (w if uneven and w > 0 else 1.0)
            for v, w in zip(values, widths, strict=True)
        ]
    quantity = ("share of rows" if several else "rows") + (" per unit" if uneven else "")
    top = finite_range([h for values in heights.values() for h in values], include_zero=True)
    plot = _axes(
        (edges[0], edges[-1]) if len(edges) > 1 and edges[-1] > edges[0] else finite_range(edges),
        rounded_out((0.0, max(top[1], 1e-12))),
        title or f"Histogram of {x_label or 'values'}",
        x_label,
        y_label or quantity,
        width,
        height,
        list(heights) if several else [],
    )
    for index, (name, values) in enumerate(heights.items()):
        outline: list[tuple[float, float]] = [(plot.x(edges[0]), plot.y(0))]
        for i, value in enumerate(values):
            left, right, level = plot.x(edges[i]), plot.x(edges[i + 1]), plot.y(value)
            outline += [(left, level), (right, level)]
            if not several:
                gap = 0.5 if right - left > 3 else 0.0
                tip = f"{number(edges[i])} to {number(edges[i + 1])}: {number(series[name][i])}"
                plot.drawing.rect(
                    left + gap, level, right - left - 2 * gap, plot.y(0) - level, "f0", tip
                )
        if several:
            outline.append((plot.x(edges[-1]), plot.y(0)))
            if index == 0:
                plot.drawing.path(outline, "band f0", close=True)
            plot.drawing.path(outline, f"thin s{index % COLOURS} d{index % COLOURS}")
    return plot.drawing.markup()


def spark(counts: Sequence[float], title: str = "distribution") -> Markup:
    """A histogram of a table cell's size."""
    width, height = 96.0, 28.0
    drawing = Drawing(width, height, title)
    top = max((c for c in counts if is_number(c)), default=0) or 1
    step = width / max(1, len(counts))
    for i, count in enumerate(counts):
        if is_number(count) and count > 0:
            bar = max(1.0, count / top * (height - 1))
            drawing.rect(i * step + 0.25, height - bar, step - 0.5, bar, "f0")
    drawing.line(0, height - 0.5, width, height - 0.5, "grid")
    return Markup(str(drawing.markup()).replace('class="chart"', 'class="spark"', 1))  # noqa: S704


def bars(
    labels: Sequence[str],
    values: Sequence[float | None] | Mapping[str, Sequence[float | None]],
    *,
    title: str = "",
    x_label: str = "",
    show: Callable[[float | None], str] = number,
    width: float = 480,
) -> Markup:
    """Horizontal bars, one a label (grouped if `values` are several named series).

    Beyond `MAX_LABELS` the rest is counted, not drawn. `show` formats a value.
    """
    several = isinstance(values, Mapping)
    series = dict(values) if isinstance(values, Mapping) else {"": values}
    shown = list(labels[:MAX_LABELS])
    thick = 16.0 if len(series) == 1 else max(8.0, 13.0 - 1.5 * (len(series) - 2))
    row = thick * len(series) + 8
    names = list(series) if several else []
    top = _LEGEND_HEIGHT * _legend_rows(names, width) + 4
    left = min(
        max((text_width(shorten(x, _MAX_LABEL_CHARS)) for x in shown), default=0) + 12, width * 0.45
    )
    numbers = [v for vs in series.values() for v in vs[: len(shown)] if is_number(v)]
    low, high = finite_range(numbers, include_zero=True)
    margin = max((text_width(show(v)) for v in numbers), default=20.0) + 10
    x = Scale((low, high), left + (margin if low < 0 else 0), width - margin)
    hidden = len(labels) - len(shown)
    height = top + row * len(shown) + (18 if hidden > 0 else 0) + (24 if x_label else 6)
    drawing = Drawing(width, height, title or "Bars")
    _legend(drawing, names, 0.0, width)
    for i, label in enumerate(shown):
        y = top + i * row
        middle = y + (row - 8) / 2 + 4
        drawing.text(left - 8, middle, label, "name", "end", longest=_MAX_LABEL_CHARS)
        for j, (name, column) in enumerate(series.items()):
            value = column[i]
            if value is None or not is_number(value):
                continue
            start, end = sorted((x(0), x(value)))
            tip = f"{label}{f', {name}' if name else ''}: {show(value)}"
            drawing.rect(
                start, y + j * thick, max(end - start, 0.75), thick - 1.5, f"f{j % COLOURS}", tip
            )
            if thick >= 9:
                base = y + j * thick + thick / 2 + 3.5
                drawing.text(
                    end + 5 if value >= 0 else start - 5,
                    base,
                    show(value),
                    "value",
                    "start" if value >= 0 else "end",
                )
    drawing.line(x(0), top - 3, x(0), top + row * len(shown) - 5, "axis")
    if hidden > 0:
        drawing.text(left, top + row * len(shown) + 10, f"and {number(hidden)} more")
    if x_label:
        drawing.text((x.start + x.end) / 2, height - 5, x_label, "label", "middle")
    return drawing.markup()


def lines(
    series: Sequence[Series],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    x_range: Range | None = None,
    y_range: Range | None = None,
    diagonal: bool = False,
    level: float | None = None,
    width: float = 480,
    height: float = 360,
) -> Markup:
    """Lines over two numeric axes, with the confidence bands of series that have one.

    Args:
        series: Up to six can be told apart well.
        title: A description of the chart, for screen readers.
        x_label: Name and unit of the horizontal axis.
        y_label: Name and unit of the vertical axis.
        x_range: The horizontal extent; from the data by default.
        y_range: The vertical extent; from the data by default.
        diagonal: Whether to draw the line y = x, dashed.
        level: A dashed horizontal line at this y.
        width: In SVG units.
        height: In SVG units.
    """
    across = x_range or finite_range([v for s in series for v in s.x])
    up = y_range or rounded_out(
        finite_range([v for s in series for part in (s.y, s.low, s.high) for v in part])
    )
    names = [s.name for s in series if s.name] if len(series) > 1 else []
    whole = across[1] - across[0] >= 2 and all(float(v).is_integer() for s in series for v in s.x)
    plot = _axes(across, up, title or "Line chart", x_label, y_label, width, height, names, whole)
    if diagonal:
        ends = max(across[0], up[0]), min(across[1], up[1])
        plot.drawing.line(
            plot.x(ends[0]), plot.y(ends[0]), plot.x(ends[1]), plot.y(ends[1]), "reference"
        )
    if level is not None:
        plot.drawing.line(plot.x.start, plot.y(level), plot.x.end, plot.y(level), "reference")
    for index, s in enumerate(series):
        _band(plot, s, index)
    for index, s in enumerate(series):
        colour = index % COLOURS
        for run in _runs(s.x, s.y):
            points = [(plot.x(a), plot.y(b)) for a, b in thin(run)]
            plot.drawing.path(points, f"series s{colour} d{colour}")
            if s.marks:
                for (px, py), (a, b) in zip(points, thin(run), strict=True):
                    plot.drawing.dot(px, py, 3.5, f"f{colour}", f"{number(a)}, {number(b)}")
    return plot.drawing.markup()


_TITLE_ROOM = 26
_LABEL_ROOM = 16
_WIDE_LETTERS = 1.15  # a browser's font may be wider than the one that text_width knows


def heatmap(
    matrix: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str] | None = None,
    *,
    title: str = "",
    row_title: str = "actual",
    column_title: str = "predicted",
    width: float = 480,
) -> Markup:
    """A matrix of counts, shaded and labelled by their share of the row's sum.

    Made for confusion matrices: `matrix[i][j]` counts rows of class i predicted as j.
    Beyond 12 classes cells hold no text, only a tip; beyond `MAX_LABELS` classes are cut.
    """
    columns = columns or rows
    n, m = min(len(rows), MAX_LABELS), min(len(columns), MAX_LABELS)
    longest = _MAX_LABEL_CHARS if n <= 12 else 14
    row_labels = distinct_labels(rows[:n], longest)
    column_labels = distinct_labels(columns[:m], longest)
    widest = max((text_width(label) for label in row_labels), default=0)
    left = _TITLE_ROOM + min(_WIDE_LETTERS * widest + 8, width * 0.5)
    if n > 12:  # else labels that stand upright lie over one another
        width = max(width, left + _LABEL_ROOM * m + 4)
    side = (width - left - 4) / max(1, m)
    tall = min(max(side * 0.62, 16.0 if n > 12 else 40.0), 84.0)
    longest_column = max((text_width(label) for label in column_labels), default=0)
    turned = longest_column > side - 4
    top = _TITLE_ROOM + (_WIDE_LETTERS * longest_column + 8 if turned else 18)
    drawing = Drawing(width, top + tall * n + 6, title or "Confusion matrix")
    drawing.text(left + side * m / 2, 13, column_title, "label", "middle")
    drawing.text(13, top + tall * n / 2, row_title, "label", "middle", turned=True)
    for j in range(m):
        middle = left + (j + 0.5) * side
        if turned:
            drawing.text(middle + 4, top - 6, column_labels[j], "name", turned=True)
        else:
            drawing.text(middle, top - 7, column_labels[j], "name", "middle")
    for i in range(n):
        total = sum(matrix[i])
        drawing.text(left - 8, top + (i + 0.5) * tall + 4, row_labels[i], "name", "end")
        for j in range(m):
            share = matrix[i][j] / total if total else 0.0
            x, y = left + j * side, top + i * tall
            tip = (
                f"{row_title} {rows[i]}, {column_title} {columns[j]}: "
                f"{number(matrix[i][j])} ({percent(share)} of {number(total)})"
            )
            drawing.rect(x, y, side, tall, "cell shade", tip, opacity=0.7 * share)
            if m <= 12:
                middle = x + side / 2
                roomy = tall >= 36 and side >= 40
                drawing.text(
                    middle,
                    y + tall / 2 + (-2 if roomy else 4),
                    number(matrix[i][j]),
                    "strong",
                    "middle",
                )
                if roomy:
                    drawing.text(
                        middle,
                        y + tall / 2 + 14,
                        percent(share) if total else "–",
                        "value",
                        "middle",
                    )
    return drawing.markup()


def intervals(
    points: Sequence[Interval],
    *,
    title: str = "",
    x_label: str = "",
    reference: float | None = None,
    width: float = 480,
) -> Markup:
    """Points with their confidence intervals, one label a line.

    Points of the same label and different `series` (champion, challenger) share a line.

    Args:
        points: Drawn in order of first appearance; at most `MAX_LABELS` labels.
        title: A description of the chart, for screen readers.
        x_label: Name and unit of the value.
        reference: A dashed vertical line: the threshold, or the value over all rows.
        width: In SVG units.
    """
    labels = list(dict.fromkeys(p.label for p in points))
    names = list(dict.fromkeys(p.series for p in points))
    shown = labels[:MAX_LABELS]
    kept = [p for p in points if p.label in set(shown)]
    lanes = {name: i for i, name in enumerate(names)}
    row = 14.0 * len(names) + 12
    top = _LEGEND_HEIGHT * (_legend_rows(names, width) if len(names) > 1 else 0) + 6
    left = min(
        max((text_width(shorten(x, _MAX_LABEL_CHARS)) for x in shown), default=0) + 14, width * 0.45
    )
    note = max((text_width(p.note) for p in kept), default=0.0)
    hidden = len(labels) - len(shown)
    bottom = top + row * len(shown)
    height = bottom + (40 if x_label else 24) + (16 if hidden > 0 else 0)
    drawing = Drawing(width, height, title or "Intervals")
    bounds = finite_range(
        [v for p in kept for v in (p.value, p.low, p.high)]
        + ([reference] if reference is not None else [])
    )
    pad = (bounds[1] - bounds[0]) * 0.04
    x = Scale((bounds[0] - pad, bounds[1] + pad), left + 6, width - (note + 14 if note else 10))
    if len(names) > 1:
        _legend(drawing, names, 0.0, width)
    ticks = round_ticks(*x.domain, about=max(2, int((x.end - x.start) / 80)))
    for tick, text in zip(ticks, tick_labels(ticks), strict=True):
        drawing.line(x(tick), top - 2, x(tick), bottom, "grid")
        drawing.text(x(tick), bottom + 15, text, "tick", "middle")
    if reference is not None:
        drawing.line(x(reference), top - 2, x(reference), bottom, "reference")
    for i, label in enumerate(shown):
        drawing.text(
            left - 8, top + i * row + row / 2 + 4, label, "name", "end", longest=_MAX_LABEL_CHARS
        )
    for p in kept:
        if p.value is None or not is_number(p.value):
            continue
        lane = lanes[p.series]
        y = top + shown.index(p.label) * row + 6 + 14 * lane + 7
        colour = lane % COLOURS
        span = ""
        if p.low is not None and p.high is not None and is_number(p.low) and is_number(p.high):
            drawing.line(x(p.low), y, x(p.high), y, f"series s{colour}")
            span = f" ({number(p.low)} to {number(p.high)})"
        who = f"{p.label}, {p.series}" if p.series else p.label
        kind = f"f{colour}" if lane == 0 else f"ring s{colour}"
        drawing.dot(x(p.value), y, 4.5, kind, f"{who}: {number(p.value)}{span}")
        if p.note and lane == 0:
            drawing.text(
                width, top + shown.index(p.label) * row + row / 2 + 4, p.note, "tick", "end"
            )
    if x_label:
        drawing.text((x.start + x.end) / 2, bottom + 33, x_label, "label", "middle")
    if hidden > 0:
        drawing.text(left, height - 4, f"and {number(hidden)} more")
    return drawing.markup()


def thin(
    points: Sequence[tuple[float, float]], most: int = MAX_POINTS
) -> list[tuple[float, float]]:
    """At most `most` of `points`, evenly taken, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(i * step)] for i in range(most)]


def _runs(x: Sequence[float], y: Sequence[float | None]) -> list[list[tuple[float, float]]]:
    """The runs of points with two finite coordinates."""
    found: list[list[tuple[float, float]]] = [[]]
    for a, b in zip(x, y, strict=True):
        if b is not None and is_number(a) and is_number(b):
            found[-1].append((float(a), float(b)))
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def _band(plot: _Plot, series: Series, index: int) -> None:
    if not series.low or not series.high:
        return
    low = [p for run in _runs(series.x, series.low) for p in run]
    high = [p for run in _runs(series.x, series.high) for p in run]
    outline = thin(low) + thin(high)[::-1]
    plot.drawing.path(
        ((plot.x(a), plot.y(b)) for a, b in outline), f"band f{index % COLOURS}", close=True
    )


def _axes(
    across: Range,
    up: Range,
    title: str,
    x_label: str,
    y_label: str,
    width: float,
    height: float,
    names: Sequence[str],
    whole: bool = False,
) -> _Plot:
    """Axes with round ticks and light horizontal rules; the legend stands above."""
    y_ticks = round_ticks(*up)
    y_texts = tick_labels(y_ticks)
    left = max((text_width(t) for t in y_texts), default=0) + 10 + (20 if y_label else 0)
    top = 8 + _LEGEND_HEIGHT * _legend_rows(names, width)
    bottom = height - (40 if x_label else 22)
    drawing = Drawing(width, height, title)
    x, y = Scale(across, left, width - 12), Scale(up, bottom, top)
    x_ticks = round_ticks(*across, about=max(2, int((x.end - x.start) / 75)), whole=whole)
    for tick, text in zip(y_ticks, y_texts, strict=True):
        drawing.line(left, y(tick), x.end, y(tick), "grid")
        drawing.text(left - 7, y(tick) + 4, text, "tick", "end")
    for tick, text in zip(x_ticks, tick_labels(x_ticks), strict=True):
        drawing.line(x(tick), bottom, x(tick), bottom + 4, "axis")
        drawing.text(x(tick), bottom + 17, text, "tick", "middle")
    drawing.line(left, bottom, x.end, bottom, "axis")
    if x_label:
        drawing.text((left + x.end) / 2, height - 5, x_label, "label", "middle")
    if y_label:
        drawing.text(12, (top + bottom) / 2, y_label, "label", "middle", turned=True)
    _legend(drawing, names, left, width)
    return _Plot(drawing, x, y)


def _legend_places(names: Sequence[str], left: float, width: float) -> list[tuple[float, int]]:
    """The start of each entry of the legend: its x and its line."""
    places, x, line = [], left, 0
    for name in names:
        need = 26 + text_width(shorten(name, _MAX_LABEL_CHARS)) + 16
        if x > left and x + need > width:
            x, line = left, line + 1
        places.append((x, line))
        x += need
    return places


def _legend_rows(names: Sequence[str], width: float) -> int:
    return 1 + max((line for _, line in _legend_places(names, 60.0, width)), default=-1)


def _legend(drawing: Drawing, names: Sequence[str], left: float, width: float) -> None:
    for i, (name, (x, line)) in enumerate(
        zip(names, _legend_places(names, left, width), strict=True)
    ):
        y, colour = 9 + line * _LEGEND_HEIGHT, i % COLOURS
        drawing.line(x, y, x + 20, y, f"series s{colour} d{colour}")
        drawing.text(x + 26, y + 4, name, "name", longest=_MAX_LABEL_CHARS)
