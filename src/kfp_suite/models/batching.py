"""Micro-batching: answer several requests with one call; a bad request fails alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from typing import Any, TypeVar

import pyarrow as pa

from kfp_suite.models.loading import LoadedModel, Prediction

Part = TypeVar("Part", bound=Sized)
Found = TypeVar("Found")


def answer_together(
    answer: Callable[[Part], Found],
    parts: Sequence[Part],
    join: Callable[[Sequence[Part]], Part],
    cut: Callable[[Found, slice], Found],
) -> list[Found | Exception]:
    """The answer for each part, from one call if possible.

    If that call fails, each part is answered by a call of its own.

    Args:
        answer: Answers a part; an error that it raises is the answer.
        parts: The requests; each has rows, as `len` counts them.
        join: Concatenates parts.
        cut: The rows of an answer that belong to a part.
    """
    if not parts:
        return []
    try:
        whole = answer(parts[0] if len(parts) == 1 else join(parts))
    except Exception as error:
        if len(parts) == 1:
            return [error]
        return [found for part in parts for found in answer_together(answer, [part], join, cut)]
    if len(parts) == 1:
        return [whole]
    found, start = [], 0
    for part in parts:
        rows = slice(start, start + len(part))
        start = rows.stop
        found.append(cut(whole, rows))
    return list(found)


def predict_together(
    model: LoadedModel, tables: Sequence[pa.Table]
) -> list[Prediction | Exception]:
    """The prediction of each table, from one call if possible."""
    return answer_together(
        model.predict, tables, lambda several: pa.concat_tables(several).combine_chunks(), _rows
    )


def _rows(whole: Prediction, rows: slice) -> Prediction:
    probabilities: Any = None if whole.probabilities is None else whole.probabilities[rows]
    return Prediction(whole.values[rows], probabilities)
