"""Small pieces of HTML, in the notebook's own colours; text is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

_MARKS = {
    "succeeded": ("✓", "#1a7f37"),
    "cached": ("·", "#0969da"),
    "refused": ("!", "#9a6700"),
    "running": ("…", "#9a6700"),
    "failed": ("✗", "#cf222e"),
    "pending": (" ", "inherit"),
}


def state(name: str) -> Markup:
    """A state with its mark: not by colour alone."""
    mark, colour = _MARKS.get(name.lower(), ("", "inherit"))
    return Markup('<span style="color:{}">{} {}</span>').format(colour, mark, name.lower())


def table(rows: Iterable[Sequence[Any]], head: Sequence[str] = ()) -> Markup:
    """Rows of cells, aligned to the left."""
    cell = Markup('<td style="text-align:left">{}</td>')
    name = Markup('<th style="text-align:left">{}</th>')
    lines = [Markup("<tr>{}</tr>").format(Markup("").join(name.format(h) for h in head))]
    lines = lines if head else []
    lines += [
        Markup("<tr>{}</tr>").format(Markup("").join(cell.format(one) for one in row))
        for row in rows
    ]
    return Markup("<table>{}</table>").format(Markup("").join(lines))


def facts(values: Mapping[str, Any]) -> Markup:
    """Names and values; what is None or empty is left out."""
    shown = {key: value for key, value in values.items() if value not in (None, "", {}, [])}
    return table((Markup("<b>{}</b>").format(key), value) for key, value in shown.items())


def code(text: str) -> Markup:
    """Text in the fixed-width font."""
    return Markup("<code>{}</code>").format(text)


def pretty(value: Any) -> Markup:
    """A value as indented JSON."""
    return Markup("<pre>{}</pre>").format(json.dumps(value, indent=2, ensure_ascii=False))


def frame(page: str, height: int) -> Markup:
    """A whole page in a frame of its own, where no script runs; as Kubeflow's UI shows it."""
    return Markup(
        '<iframe sandbox="" style="width:100%;border:1px solid #8884" height="{}" srcdoc="{}">'
        "</iframe>"
    ).format(height, escape(page))


def fold(summary: str, content: Markup) -> Markup:
    """Something to open."""
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, content)
