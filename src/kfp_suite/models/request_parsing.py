"""Requests to raw rows, with errors that name the field, its value and the expected type."""

from __future__ import annotations

import base64
import datetime
import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

import pyarrow as pa

from kfp_suite.contracts.columns import ColumnType
from kfp_suite.contracts.date_formats import parse_formatted
from kfp_suite.contracts.errors import DataError, did_you_mean
from kfp_suite.contracts.model import (
    DEFAULT_SIGNATURE,
    EXAMPLES_SIGNATURE,
    Field,
    ModelManifest,
)
from kfp_suite.contracts.tables import ARROW_TYPES
from kfp_suite.contracts.text_values import (
    MAX_INT64,
    MIN_INT64,
    parse_text,
    significant_digits,
)

_MAX_ERRORS = 5
_EXPECTED: Mapping[ColumnType, str] = {
    "int64": "a whole number",
    "float64": "a number",
    "bool": "true or false",
    "string": "text",
    "date": "a date as 2013-01-31",
    "timestamp": "a time as 2013-01-31T08:30:00",
}


def examples_of(payload: Mapping[str, Any]) -> list[bytes]:
    """The serialized `tf.Example`s of a V1 request with a `signature_name`, each as
    `{"b64": "..."}`.

    Raises:
        DataError: an unknown signature, or instances that are no such objects.
    """
    name = payload["signature_name"]
    if name != EXAMPLES_SIGNATURE:
        raise DataError(
            f"no signature '{name}'",
            where="signature_name",
            fix=did_you_mean(str(name), (DEFAULT_SIGNATURE, EXAMPLES_SIGNATURE)),
        )
    instances = payload.get("instances")
    if not isinstance(instances, list) or not instances:
        raise DataError(
            "no examples", where="instances", got=_kind(instances), expected="a list of objects"
        )
    found = []
    for i, instance in enumerate(instances):
        text = instance.get("b64") if isinstance(instance, dict) else None
        try:
            found.append(base64.b64decode(text, validate=True))  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise DataError(
                "not an example",
                where=f"instances[{i}]",
                got=_kind(instance),
                expected='{"b64": "…"}: a serialized tf.Example in Base64',
            ) from error
    return found


@dataclass(frozen=True)
class RecordFormat:
    """How a model's records are read.

    A value is one of its field's type, or a text that ingest reads as one, so rows of the
    model's source are valid records. `null`, a field that is left out, a text that the source
    has for a missing value, and an empty text if the type is not text, are missing values.

    Attributes:
        inputs: The fields of the model's signature.
        date_formats: Name of a field to the format of its dates or times, as strptime takes it,
            that was declared for the source; ISO 8601 is read as well.
        null_texts: Texts that are a missing value in the rows of the model's source.
        label: The column that the model predicts; empty if it is not known.
    """

    inputs: tuple[Field, ...]
    date_formats: Mapping[str, str] = field(default_factory=dict)
    null_texts: frozenset[str] = frozenset()
    label: str = ""


def record_format(manifest: ModelManifest) -> RecordFormat:
    """How the records of a model are read: as its sources were."""
    declared: dict[str, set[str]] = {}
    for source in manifest.recipe.sources.values():
        for column, date_format in (source.options.get("formats") or {}).items():
            declared.setdefault(column, set()).add(date_format)
    agreed = {column: found.pop() for column, found in declared.items() if len(found) == 1}
    return RecordFormat(manifest.signature.inputs, agreed, _null_texts(manifest), manifest.label)


def _null_texts(manifest: ModelManifest) -> frozenset[str]:
    """Of a CSV source as it is: the empty text and its `null_values`. A query may have made
    such a text a value again, and other formats have a null of their own."""
    sources = list(manifest.recipe.sources.values())
    if manifest.recipe.ingest.get("sql") or any(one.format != "csv" for one in sources):
        return frozenset()
    return frozenset({""}.union(*(one.options.get("null_values") or () for one in sources)))


def table_of_records(
    records: object, form: RecordFormat, left_out: Counter[str] | None = None
) -> pa.Table:
    """A list of records to a table of the model's inputs.

    Args:
        records: The records of a request, as parsed from JSON.
        form: How values are read.
        left_out: Counts the records that leave a field out, by its name.

    Raises:
        DataError: not a list of records, or fields that are missing, unknown or of another
            type; the first five are named.
    """
    inputs = form.inputs
    if not isinstance(records, list) or not records:
        raise DataError(
            "no records", where="instances", got=_kind(records), expected="a list of objects"
        )
    known = {one.name for one in inputs}
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            raise DataError(
                "not a record",
                where=f"instances[{i}]",
                got=_kind(record),
                expected=f"an object with {', '.join(sorted(known))}",
            )
        if not record:
            raise DataError(
                "an empty record",
                where=f"instances[{i}]",
                expected=f"an object with {', '.join(sorted(known))}",
            )
        if record.keys() != known:
            _check_names(record.keys(), form, f"instances[{i}]")
            if left_out is not None:
                left_out.update(known - record.keys())
    columns = {one.name: [record.get(one.name) for record in records] for one in inputs}
    return _table(columns, form, "instances[{row}].{field}")


def table_of_columns(
    columns: object, form: RecordFormat, left_out: Counter[str] | None = None
) -> pa.Table:
    """A mapping of names to lists of values, all as long, to a table.

    Args:
        columns: The columns of a request, as parsed from JSON.
        form: How values are read.
        left_out: As of `table_of_records`.

    Raises:
        DataError: as `table_of_records`.
    """
    inputs = form.inputs
    if not isinstance(columns, dict) or not columns:
        raise DataError(
            "no columns", where="inputs", got=_kind(columns), expected="an object of lists"
        )
    _check_names(columns.keys(), form, "inputs")
    for name, values in columns.items():
        if not isinstance(values, list):
            raise DataError(
                "not a column", where=f"inputs.{name}", got=_kind(values), expected="a list"
            )
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1 or not all(lengths.values()):
        raise DataError("columns are not as long", where="inputs", got=lengths)
    rows = next(iter(lengths.values()))
    if left_out is not None:
        left_out.update({one.name: rows for one in inputs if one.name not in columns})
    filled = {one.name: columns.get(one.name, [None] * rows) for one in inputs}
    return _table(filled, form, "inputs.{field}[{row}]")


def _check_names(names: Any, form: RecordFormat, where: str) -> None:
    known = [one.name for one in form.inputs]
    missing = [f.name for f in form.inputs if f.required and not f.nullable and f.name not in names]
    unknown = [name for name in names if name not in known]
    if form.label and form.label in unknown:
        raise DataError(
            f"'{form.label}' is the label, which the model predicts",
            where=where,
            fix="leave it out of the request",
        )
    if unknown:
        raise DataError(
            f"unknown field '{unknown[0]}'", where=where, fix=did_you_mean(unknown[0], known)
        )
    if missing:
        raise DataError(
            f"missing field '{missing[0]}'" + _more(missing),
            where=where,
            expected=f"all of {', '.join(known)}",
        )


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _table(columns: Mapping[str, list[Any]], form: RecordFormat, place: str) -> pa.Table:
    arrays, errors = [], []
    for one in form.inputs:
        convert = _make_converter(one, form)
        values = columns[one.name]
        try:
            arrays.append(pa.array([convert(v) for v in values], ARROW_TYPES[one.type]))
        except (ValueError, OverflowError, pa.ArrowException):
            errors += _find_wrong(values, one, form, place)
    if errors:
        raise DataError("; ".join(errors[:_MAX_ERRORS]), fix="see the model's metadata")
    return pa.table(arrays, names=[one.name for one in form.inputs])


def _find_wrong(values: list[Any], one: Field, form: RecordFormat, place: str) -> list[str]:
    convert = _make_converter(one, form)

    def bad(value: Any) -> bool:
        try:
            pa.scalar(convert(value), ARROW_TYPES[one.type])
        except (ValueError, OverflowError, pa.ArrowException):
            return True
        return False

    wrong = ((row, value) for row, value in enumerate(values) if bad(value))
    return [
        f"{place.format(row=row, field=one.name)}: got {_short(value)}; "
        f"expected {_describe_expected(one, form, value)}" + (" or null" if one.nullable else "")
        for row, value in itertools.islice(wrong, _MAX_ERRORS)
    ]


def _describe_expected(one: Field, form: RecordFormat, value: Any) -> str:
    if one.type == "string" and type(value) in (int, float, Decimal):
        return f'text, as "{value}"'
    if one.type == "float64" and type(value) in (int, Decimal):
        return f"{_EXPECTED[one.type]} that float64 holds{_describe_nearest(value)}"
    if date_format := form.date_formats.get(one.name, ""):
        return f"{_EXPECTED[one.type]} or in the format {date_format}"
    return _EXPECTED[one.type]


def _describe_nearest(value: int | Decimal) -> str:
    """The nearest number that can be represented, if there is one."""
    try:
        found = float(value)
    except OverflowError:
        return ""
    return f", as {int(found)}" if math.isfinite(found) else ""


def _make_converter(one: Field, form: RecordFormat) -> Callable[[Any], Any]:
    convert = _CONVERT[one.type]
    if one.type in ("date", "timestamp") and (date_format := form.date_formats.get(one.name, "")):
        convert = partial(_parse_date, one.type, date_format)
    return partial(_read_null, form.null_texts, convert) if form.null_texts else convert


def _read_null(null_texts: frozenset[str], convert: Callable[[Any], Any], value: Any) -> Any:
    return None if type(value) is str and value in null_texts else convert(value)


def _number(value: Any) -> Any:
    if value is None or type(value) is float:
        return value
    if type(value) is int:
        found = float(value)
        # JavaScript pads the shortest digits of a float with zeros: 2^60 is 1152921504606847000.
        if int(found) != value and significant_digits(repr(found)) != significant_digits(
            str(value)
        ):
            raise ValueError(value)
        return found
    return _parse("float64", value)


def _whole(value: Any) -> Any:
    if value is None or type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is Decimal and MIN_INT64 <= value <= MAX_INT64 and value == int(value):
        return int(value)
    return _parse("int64", value)


def _truth(value: Any) -> Any:
    return value if value is None or type(value) is bool else _parse("bool", value)


def _text(value: Any) -> Any:
    if value is None or type(value) is str:
        return value
    raise ValueError(value)


def _parse(kind: ColumnType, value: Any) -> Any:
    """The value that ingest reads from a text; None for the empty one."""
    if value is None or value == "":
        return None
    if type(value) is not str:
        raise ValueError(value)
    return parse_text(value, kind)


def _parse_date(kind: ColumnType, date_format: str, value: Any) -> Any:
    """A date or time in ISO 8601 or in the format of its source; refused if the two differ."""
    if type(value) is not str:
        return _parse(kind, value)
    readings = set()
    with suppress(ValueError):
        readings.add(_parse(kind, value))
    with suppress(ValueError):
        readings.add(_parse_in_format(kind, date_format, value))
    if len(readings) != 1:
        raise ValueError(value)
    return readings.pop()


def _parse_in_format(kind: ColumnType, date_format: str, text: str) -> datetime.date:
    found = parse_formatted(text, date_format)
    if kind == "timestamp":
        return found
    if found.time() != datetime.time():
        raise ValueError(f"a date with a time of day: {text!r}")
    return found.date()


_CONVERT: Mapping[ColumnType, Callable[[Any], Any]] = {
    "int64": _whole,
    "float64": _number,
    "bool": _truth,
    "string": _text,
    "date": partial(_parse, "date"),
    "timestamp": partial(_parse, "timestamp"),
}


def _kind(value: object) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)} values" if value else "an empty list"
    names = {dict: "an object", str: "text", type(None): "nothing", bool: "true or false"}
    return names.get(
        type(value), "a number" if isinstance(value, (int, float, Decimal)) else "something"
    )


def _short(value: object) -> str:
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
