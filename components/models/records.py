"""Requests to raw rows, with errors that name the field, what it got and what it takes."""

from __future__ import annotations

import base64
import datetime
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from kfp_suite.components.contracts.columns import ColumnType
from kfp_suite.components.contracts.errors import DataError, did_you_mean
from kfp_suite.components.contracts.model import DEFAULT_SIGNATURE, EXAMPLES_SIGNATURE, Field
from kfp_suite.components.contracts.tables import ARROW_TYPES

_MOST_ERRORS = 5
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


def table_of_records(records: object, inputs: Sequence[Field]) -> pa.Table:
    """A list of records to a table of the model's inputs.

    Raises:
        DataError: not a list of records, or fields that are missing, unknown or of another
            type; the first five are named.
    """
    if not isinstance(records, list) or not records:
        raise DataError(
            "no records", where="instances", got=_kind(records), expected="a list of objects"
        )
    known = {field.name for field in inputs}
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            raise DataError(
                "not a record",
                where=f"instances[{i}]",
                got=_kind(record),
                expected=f"an object with {', '.join(sorted(known))}",
            )
        if record.keys() != known:
            _check_names(record.keys(), inputs, f"instances[{i}]")
    columns = {field.name: [record.get(field.name) for record in records] for field in inputs}
    return _table(columns, inputs, "instances[{row}].{field}")


def table_of_columns(columns: object, inputs: Sequence[Field]) -> pa.Table:
    """A mapping of names to lists of values, all as long, to a table.

    Raises:
        DataError: as `table_of_records`.
    """
    if not isinstance(columns, dict) or not columns:
        raise DataError(
            "no columns", where="inputs", got=_kind(columns), expected="an object of lists"
        )
    _check_names(columns.keys(), inputs, "inputs")
    for name, values in columns.items():
        if not isinstance(values, list):
            raise DataError(
                "not a column", where=f"inputs.{name}", got=_kind(values), expected="a list"
            )
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1 or not all(lengths.values()):
        raise DataError("columns are not as long", where="inputs", got=lengths)
    filled = {
        field.name: columns.get(field.name, [None] * next(iter(lengths.values())))
        for field in inputs
    }
    return _table(filled, inputs, "inputs.{field}[{row}]")


def _check_names(names: Any, inputs: Sequence[Field], where: str) -> None:
    known = [field.name for field in inputs]
    missing = [f.name for f in inputs if f.required and not f.nullable and f.name not in names]
    unknown = [name for name in names if name not in known]
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


def _table(columns: Mapping[str, list[Any]], inputs: Sequence[Field], place: str) -> pa.Table:
    arrays, errors = [], []
    for field in inputs:
        convert = _CONVERT[field.type]
        values = columns[field.name]
        try:
            arrays.append(pa.array([convert(v) for v in values], ARROW_TYPES[field.type]))
        except (ValueError, OverflowError, pa.ArrowException):
            errors += _wrong(values, field, place)
    if errors:
        raise DataError("; ".join(errors[:_MOST_ERRORS]), fix="see the model's metadata")
    return pa.table(arrays, names=[field.name for field in inputs])


def _wrong(values: list[Any], field: Field, place: str) -> list[str]:
    def bad(value: Any) -> bool:
        try:
            pa.scalar(_CONVERT[field.type](value), ARROW_TYPES[field.type])
        except (ValueError, OverflowError, pa.ArrowException):
            return True
        return False

    wrong = ((row, value) for row, value in enumerate(values) if bad(value))
    return [
        f"{place.format(row=row, field=field.name)}: got {_short(value)}; "
        f"expected {_EXPECTED[field.type]}" + (" or null" if field.nullable else "")
        for row, value in itertools.islice(wrong, _MOST_ERRORS)
    ]


def _number(value: Any) -> Any:
    if value is None or type(value) in (int, float):
        return value
    raise ValueError(value)


def _whole(value: Any) -> Any:
    if value is None or type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    raise ValueError(value)


def _exactly(kind: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if value is None or type(value) is kind:
            return value
        raise ValueError(value)

    return convert


def _date(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(value)
    return datetime.date.fromisoformat(value)


def _time(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(value)
    found = datetime.datetime.fromisoformat(value)
    # Naive times are UTC, as in training.
    return found if found.tzinfo is None else found.astimezone(datetime.UTC).replace(tzinfo=None)


_CONVERT: Mapping[ColumnType, Callable[[Any], Any]] = {
    "int64": _whole,
    "float64": _number,
    "bool": _exactly(bool),
    "string": _exactly(str),
    "date": _date,
    "timestamp": _time,
}


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an empty list", str: "text", type(None): "nothing"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else "something")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
