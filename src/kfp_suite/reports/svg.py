"""Inline SVG, written by hand: escaped, rounded coordinates, styled by the page's classes."""

from __future__ import annotations

import math
from collections.abc import Iterable

from markupsafe import Markup, escape

from kfp_suite.reports.formatting import shorten

FONT_SIZE = 12
MAX_TIP_CHARS = 200
COLOURS = 6
"""Classes `f0` … `f5` fill and `s0` … `s5` stroke with the page's series colours."""
_MIN_SCALE, _MAX_SCALE = 0.74, 1.25
"""Of SVG units to pixels: text has 8.9 to 15 pixels."""


def coordinate(value: float) -> str:
    """A coordinate with at most one decimal: small files, and the same on every machine."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def text_width(text: str, size: float = FONT_SIZE) -> float:
    """About how wide `text` is set in the page's font, in SVG units."""
    return sum(0.36 if c in "iljtfI.,:;'|! " else 0.58 for c in text) * size


class Drawing:
    """An SVG image under construction; `markup` closes it."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height = width, height
        self._parts = [
            f'<svg class="chart" viewBox="0 0 {coordinate(width)} {coordinate(height)}" '
            f'role="img" style="min-width:{coordinate(width * _MIN_SCALE)}px;'
            f'max-width:{coordinate(width * _MAX_SCALE)}px">',
            f"<title>{escape(shorten(title, MAX_TIP_CHARS))}</title>",
        ]

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line of class `kind`."""
        d = f"M{coordinate(x1)} {coordinate(y1)}L{coordinate(x2)} {coordinate(y2)}"
        self._parts.append(f'<path class="{kind}" d="{d}"/>')

    def path(self, points: Iterable[tuple[float, float]], kind: str, close: bool = False) -> None:
        """A polyline (or, closed, a polygon) of class `kind`; repeated points are dropped."""
        pairs = [f"{coordinate(x)} {coordinate(y)}" for x, y in points]
        kept = [p for i, p in enumerate(pairs) if i == 0 or p != pairs[i - 1]]
        if kept:
            self._parts.append(
                f'<path class="{kind}" d="M{"L".join(kept)}{"Z" if close else ""}"/>'
            )

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        kind: str,
        tip: str = "",
        opacity: float | None = None,
    ) -> None:
        """A rectangle; `tip` shows when the pointer rests on it."""
        fade = "" if opacity is None else f' fill-opacity="{opacity:.2f}"'
        self._parts.append(
            f'<rect class="{kind}" x="{coordinate(x)}" y="{coordinate(y)}" '
            f'width="{coordinate(max(0.0, width))}" height="{coordinate(max(0.0, height))}"{fade}'
            + (f"><title>{escape(shorten(tip, MAX_TIP_CHARS))}</title></rect>" if tip else "/>")
        )

    def dot(self, x: float, y: float, radius: float, kind: str, tip: str = "") -> None:
        """A filled circle."""
        place = f'cx="{coordinate(x)}" cy="{coordinate(y)}" r="{coordinate(radius)}"'
        self._parts.append(
            f'<circle class="{kind}" {place}'
            + (f"><title>{escape(shorten(tip, MAX_TIP_CHARS))}</title></circle>" if tip else "/>")
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        kind: str = "tick",
        anchor: str = "start",
        turned: bool = False,
        longest: int = 60,
    ) -> None:
        """Text; `turned` runs upwards. Text that does not fit is cut; the tip has all of it."""
        shown = shorten(text, longest)
        tip = f"<title>{escape(shorten(text, MAX_TIP_CHARS))}</title>" if shown != text else ""
        place = f'x="{coordinate(x)}" y="{coordinate(y)}"'
        if turned:
            place = f'transform="translate({coordinate(x)} {coordinate(y)}) rotate(-90)"'
        end = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._parts.append(f'<text class="{kind}" {place}{end}>{escape(shown)}{tip}</text>')

    def markup(self) -> Markup:
        """The finished image, safe to place in a page."""
        return Markup("".join(self._parts) + "</svg>")  # noqa: S704 - every text was escaped above


def is_number(value: float | None) -> bool:
    """Whether `value` can be drawn."""
    return value is not None and math.isfinite(value)
