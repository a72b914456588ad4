"""Hints: oddities of columns that do not contradict a schema.

Identifiers, numbers and dates that were read as text, free text, and columns that give the
label away. All but the last come from the statistics; the last from a sample of the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kfp_suite.components.validate.partial import ColumnPartial, SplitPartial
from kfp_suite.components.validate.text import StringColumn
from kfp_suite.components.validate.value_texts import format_rows, format_share, format_value
from kfp_suite.contracts.columns import Column
from kfp_suite.contracts.dataset import Dataset
from kfp_suite.contracts.parquet_batches import open_parquet, read_batches
from kfp_suite.contracts.text_looks import DRESSED_NUMBER, LOCAL_DATE, NUMBER

T = TypeVar("T")
HintKind = Literal["identifier", "numbers_as_text", "dates_as_text", "free_text", "leakage"]

MIN_ROWS = 20
"""With fewer rows there are no hints: a pattern would be chance."""
MIN_SHARE = 0.5
SAMPLE_ROWS = 16_384
_SAMPLE_CELLS = 1 << 22
_MIN_SAMPLE_ROWS = 256
_MAX_SHARDS, _MAX_GROUPS = 16, 4
_LONG_BYTES = 64  # a text of more on average is no category
_GROUP_ROWS = 10
_MIN_CLASS_ROWS = 5
_SHOWN = 4
_WORDS = 3
_EXAMINED = 5_000

_NUMBER, _DRESSED, _DATE = map(re.compile, (NUMBER, DRESSED_NUMBER, LOCAL_DATE))


@dataclass(frozen=True)
class Hint:
    """Something to look at.

    Attributes:
        column: The column.
        kind: The kind of oddity.
        text: The observation, a sentence.
        fix: The remedy, if it is not intended.
    """

    column: str
    kind: HintKind
    text: str
    fix: str

    def to_json(self) -> dict[str, str]:
        """The hint as it stands in `validation.json`."""
        return asdict(self)


def find_hints(data: Dataset, train: SplitPartial, label: str) -> list[Hint]:
    """Find the hints about the columns of train, in the order of the columns.

    Args:
        data: The dataset.
        train: The statistics of its train split.
        label: The label column; empty: no hints about columns that give it away.
    """
    columns = data.manifest.columns
    found: list[Hint] = []
    for column in columns:
        if train.rows >= MIN_ROWS:
            found += _identifier(column, train, label)
            found += _texts(column, train)
    if label and train.rows >= MIN_ROWS:
        found += _leaks(data, train, label)
    order = {column.name: i for i, column in enumerate(columns)}
    return sorted(found, key=lambda hint: order[hint.column])


def _identifier(column: Column, train: SplitPartial, label: str) -> Iterator[Hint]:
    found = train.columns[column.name]
    if column.type not in ("int64", "string") or column.name == label or found.missing:
        return
    if isinstance(found, StringColumn) and _is_free_text(column.name, found, train):
        return
    # Beyond the counted values the number of distinct ones is an estimate, within 2.5%.
    unique = found.distinct() >= (found.rows if found.exact else 0.975 * found.rows)
    if unique:
        about = "" if found.exact else "about "
        yield Hint(
            column.name,
            "identifier",
            f"It has another value in {about}each of {format_rows(found.rows)}: an identifier?",
            f"if so, leave it out: features.exclude: [{column.name}]",
        )


def _texts(column: Column, train: SplitPartial) -> Iterator[Hint]:
    found = train.columns[column.name]
    if not isinstance(found, StringColumn) or not found.present:
        return
    counted = found.top(_EXAMINED, train.sample.column(column.name))
    rows = sum(count for _, count in counted)
    numbers = sum(count for value, count in counted if _NUMBER.fullmatch(value))
    dates = sum(count for value, count in counted if _DATE.fullmatch(value))
    others = [value for value, _ in counted if not _NUMBER.fullmatch(value)]
    dressed = sum(
        count
        for value, count in counted
        if not _NUMBER.fullmatch(value) and _DRESSED.fullmatch(value) and not _DATE.fullmatch(value)
    )
    if dates > MIN_SHARE * rows:
        example = next(value for value, _ in counted if _DATE.fullmatch(value))
        yield Hint(
            column.name,
            "dates_as_text",
            f"{format_share(dates, rows)} of the values look like dates, such as "
            f"{format_value(example, 'string')}, and were read as text: which number is the day "
            "is not known.",
            "give their format in formats of the source, such as %d/%m/%Y, or convert them in "
            "sql: strptime(column, '%d/%m/%Y')::DATE",
        )
    elif numbers + dressed > MIN_SHARE * rows:
        examples = ", ".join(format_value(value, "string") for value in others[:_SHOWN])
        what = (
            f"{format_share(numbers, rows)} of the values are numbers, the others are such as "
            f"{examples}"
        )
        if not others:
            what = "All values are numbers"
        elif dressed:
            what = (
                f"{format_share(numbers + dressed, rows)} of the values are numbers, also with a "
                f"currency, a percent sign, a decimal comma or thousands: {examples}"
            )
        yield Hint(
            column.name,
            "numbers_as_text",
            f"{what}: the column was read as text, and each value is a category.",
            "name the others in null_values of the source, or convert them in sql: "
            "TRY_CAST(replace(…) AS DOUBLE)",
        )
    elif _is_free_text(column.name, found, train):
        yield Hint(
            column.name,
            "free_text",
            f"About {found.distinct():,} different texts of several words in "
            f"{format_rows(found.present)}: as a category each of them is one value.",
            f"take its words: {{column: {column.name}, op: ngrams, buckets: 1024}}; "
            "or leave it out",
        )


def _is_free_text(name: str, found: StringColumn, train: SplitPartial) -> bool:
    if not found.present or found.distinct() < MIN_SHARE * found.present:
        return False
    texts = train.sample.column(name).drop_null()
    words = pc.sum(pc.count_substring_regex(texts, r"\S\s+\S")).as_py() or 0
    return bool(words >= (_WORDS - 1) * len(texts))


def _leaks(data: Dataset, train: SplitPartial, label: str) -> Iterator[Hint]:
    """Columns from which the label follows in every sampled row."""
    sample = _sample(data, train, label)
    codes = _codes(sample.column(label))
    fix = "if it is not known before the label is, leave it out: features.exclude: [{}]"
    for column in data.manifest.columns:
        if column.name == label or column.name not in sample.column_names:
            continue
        values = _codes(sample.column(column.name))
        both = (codes >= 0) & (values >= 0)
        said = _tells(values[both], codes[both], ordered=column.type != "string")
        if said:
            text = f"In {format_rows(int(both.sum()))} looked at, {said.format(label=label)}."
            yield Hint(column.name, "leakage", text, fix.format(column.name))


def _tells(values: NDArray[np.int64], codes: NDArray[np.int64], *, ordered: bool) -> str:
    """How the label follows from a column, both given as places in their order; or nothing."""
    if len(codes) < MIN_ROWS:
        return ""
    classes, counts = np.unique(codes, return_counts=True)
    distinct = len(np.unique(values))
    if len(classes) < 2 or distinct < 2:
        return ""
    along = codes[np.argsort(values, kind="stable")]
    if len(classes) > len(codes) / _GROUP_ROWS:  # so many that it is a number
        steps = np.diff(along)
        follows = (
            ordered and distinct >= len(classes) and ((steps >= 0).all() or (steps <= 0).all())
        )
        return "the label '{label}' rises or falls with it without exception" if follows else ""
    pairs = len(np.unique(values * (int(codes.max()) + 1) + codes))
    text = ""
    if counts.min() >= _MIN_CLASS_ROWS and pairs == distinct:
        if distinct <= len(codes) / _GROUP_ROWS:
            text = "each of its values has one value of the label '{label}' only"
        elif ordered and 1 + int((np.diff(along) != 0).sum()) == len(classes):
            text = (
                "the values of the label '{label}' follow one another in its order, as if rows "
                "were numbered by label"
            )
    return text


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Each value's place among the column's values in order, -1 if it is missing."""
    values = column.combine_chunks()
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    elif pa.types.is_date32(values.type):
        values = values.cast(pa.int32())
    elif pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    elif pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    ranks = pc.rank(values, sort_keys="ascending", tiebreaker="dense")
    codes: NDArray[np.int64] = ranks.to_numpy().astype(np.int64) - 1
    codes[values.is_null().to_numpy(zero_copy_only=False)] = -1
    return codes


def _sample(data: Dataset, train: SplitPartial, label: str) -> pa.Table:
    """Rows of train from places spread over its shards, without columns of long texts."""
    names = [
        column.name
        for column in data.manifest.columns
        if column.name == label or not _is_long(train.columns[column.name])
    ]
    files = data.files("train")
    most = max(_MIN_SAMPLE_ROWS, min(SAMPLE_ROWS, _SAMPLE_CELLS // len(names)))
    places = [
        (file, group)
        for file in _spread(files, _MAX_SHARDS)
        for group in _spread(range(pq.read_metadata(file).num_row_groups), _MAX_GROUPS)
    ]
    batches: list[pa.RecordBatch] = []
    for file, group in places:
        left = -(-most // len(places))
        with open_parquet(file) as opened:
            for batch in read_batches(opened, left, names, [group]):
                batches.append(batch.slice(0, left))
                left -= batches[-1].num_rows
                if left <= 0:
                    break
    return pa.Table.from_batches(batches, pa.schema([data.schema.field(name) for name in names]))


def _is_long(found: ColumnPartial) -> bool:
    return isinstance(found, StringColumn) and found.total_bytes > _LONG_BYTES * found.present


def _spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, most)]
