"""The feature spec: which columns become which features, by which operations.

    features:
      - {column: distance, steps: [{op: impute, with: median}, log1p, {op: scale, to: standard}]}
      - {columns: [temp, visib], op: impute, with: mean}
      - {column: carrier, op: one_hot, max_categories: 16, oov: 1}
      - {columns: [origin, dest], op: cross, buckets: 256}
      - {column: time_hour, op: cyclic, parts: [hour, weekday, month]}
      - {columns: [a, b], transformer: my_package.module.MyTransformer, parameters: {k: 3}}
      - month

Each entry names its `column` or `columns` and their `steps`, or has the keys of a single
step beside the columns, or nothing (the number as it is). A step without
parameters may be its name alone, an entry without steps its column alone. Of several
columns each is treated alike, and fitted by itself, except by operations that take them
together (cross, polynomial, transformer).

Entry keys: `name` calls the outputs after it and not after the column (of an entry of one
column, or of a cross); `keep_missing: true` lets missing values through as NaN, for
estimators that take them.

Beside `features`: `exclude`, columns that no feature may read; `others: auto`, default
features (see `defaults`) for the columns that no entry names. `auto`, or an empty mapping,
is `others: auto` alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from kfp_suite.contracts.errors import ParameterError, did_you_mean
from kfp_suite.contracts.parameters import parse
from kfp_suite.contracts.plain_yaml import read_yaml
from kfp_suite.features.categorical import Cross
from kfp_suite.features.numeric import Identity
from kfp_suite.features.operation import Operation
from kfp_suite.features.operations import OPERATIONS

_SPEC_KEYS = ("features", "exclude", "others")
_ENTRY_KEYS = ("column", "columns", "name", "keep_missing", "steps")


@dataclass(frozen=True)
class Feature:
    """One entry: columns and the operations on them."""

    columns: tuple[str, ...]
    steps: tuple[Operation, ...]
    name: str | None = None
    keep_missing: bool = False

    def to_json(self) -> dict[str, Any]:
        """The entry with every parameter spelled out; `parse_features` reads it back."""
        entry: dict[str, Any] = {
            "columns": list(self.columns),
            "steps": [step_to_json(step) for step in self.steps],
        }
        if self.name is not None:
            entry["name"] = self.name
        if self.keep_missing:
            entry["keep_missing"] = True
        return entry


@dataclass(frozen=True)
class FeatureSpec:
    """A parsed spec."""

    features: tuple[Feature, ...]
    exclude: tuple[str, ...] = ()
    others: Literal["drop", "auto"] = "drop"


def parse_features(value: object, where: str = "features") -> FeatureSpec:
    """Read a spec: a mapping, a list of entries, YAML text of either, or `auto`.

    Integers that KFP turned into floats are restored.

    Raises:
        ParameterError: naming the entry and the key at fault, and the near miss.
    """
    if isinstance(value, str) and value.strip() not in ("", "auto"):
        try:
            value = read_yaml(value)
        except ValueError as error:
            raise ParameterError("not valid YAML", where=where, got=str(error)) from error
    if not value or value == "auto":
        return FeatureSpec((), others="auto")
    if isinstance(value, (list, tuple)):
        value = {"features": value}
    if not isinstance(value, Mapping):
        raise ParameterError(
            "is not a feature spec",
            where=where,
            got=value,
            expected="a mapping with 'features', or 'auto'",
        )
    _known(value, _SPEC_KEYS, where, "")
    entries = value.get("features", [])
    if entries == "auto":
        entries, value = [], {**value, "others": "auto"}
    if not isinstance(entries, (list, tuple)):
        raise ParameterError(
            "'features' is not a list", where=where, got=entries, expected="a list of entries"
        )
    others = value.get("others", "drop")
    if others not in ("drop", "auto"):
        raise ParameterError(
            "'others' is not allowed", where=where, got=others, expected="drop or auto"
        )
    return FeatureSpec(
        tuple(_feature(entry, f"{where}[{i}]") for i, entry in enumerate(entries)),
        _names(value.get("exclude", ()), where, "exclude"),
        others,
    )


def step_to_json(step: Operation) -> dict[str, Any]:
    """A step with every parameter spelled out, under the keys of the spec."""
    keys = parameter_keys(type(step))
    values = {key: getattr(step, attribute) for key, attribute in keys.items()}
    return {"op": step.op} | {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in values.items()
        if value is not None
    }


def _feature(entry: object, where: str) -> Feature:
    if isinstance(entry, str):
        return Feature((entry,), (Identity(),))
    if not isinstance(entry, Mapping):
        raise ParameterError(
            "is not a feature", where=where, got=entry, expected="a mapping with 'column'"
        )
    if ("column" in entry) == ("columns" in entry):
        raise ParameterError(
            "needs 'column' or 'columns'", where=where, got=dict(entry), fix="give one of the two"
        )
    columns = (
        _names([entry["column"]], where, "column")
        if "column" in entry
        else _names(entry["columns"], where, "columns")
    )
    if not columns:
        raise ParameterError("'columns' is empty", where=where, expected="one or more columns")
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    if repeated:
        raise ParameterError(f"column '{repeated[0]}' is named twice", where=where)
    steps = _steps(entry, where)
    name = entry.get("name")
    joined = len(columns) == 1 or any(isinstance(step, Cross) for step in steps)
    if name is not None and (not isinstance(name, str) or not name or not joined):
        raise ParameterError(
            "'name' is not allowed",
            where=where,
            got=name,
            expected="a text, for an entry of one column or a cross",
        )
    keep_missing = entry.get("keep_missing", False)
    if not isinstance(keep_missing, bool):
        raise ParameterError(
            "'keep_missing' is not allowed", where=where, got=keep_missing, expected="true or false"
        )
    return Feature(columns, steps, name, keep_missing)


def _steps(entry: Mapping[str, Any], where: str) -> tuple[Operation, ...]:
    single = {key: value for key, value in entry.items() if key not in _ENTRY_KEYS}
    if "steps" not in entry:
        if single and "op" not in single and "transformer" not in single:
            key = next(iter(single))
            raise ParameterError(
                f"unknown key '{key}'",
                where=where,
                fix=did_you_mean(key, (*_ENTRY_KEYS, "op", "transformer")),
            )
        return (_step(single, where),) if single else (Identity(),)
    if single:
        key = next(iter(single))
        raise ParameterError(
            f"key '{key}' beside 'steps'",
            where=where,
            fix="put it into a step"
            if key in ("op", "transformer")
            else did_you_mean(key, _ENTRY_KEYS),
        )
    steps = entry["steps"]
    if not isinstance(steps, (list, tuple)) or not steps:
        raise ParameterError(
            "'steps' is not a list of steps",
            where=where,
            got=steps,
            expected="such as [{op: impute, with: median}, log1p]",
        )
    return tuple(_step(step, f"{where}.steps[{i}]") for i, step in enumerate(steps))


def _step(value: object, where: str) -> Operation:
    if isinstance(value, str):
        value = {"op": value}
    if not isinstance(value, Mapping):
        raise ParameterError(
            "is not a step", where=where, got=value, expected="a mapping with 'op', or its name"
        )
    parameters = dict(value)
    op = parameters.pop("op", "transformer" if "transformer" in value else None)
    if op is None:
        raise ParameterError(
            "missing key 'op'", where=where, got=parameters, fix=did_you_mean("", OPERATIONS)
        )
    if not isinstance(op, str) or op not in OPERATIONS:
        raise ParameterError(
            f"unknown op '{op}'", where=where, fix=did_you_mean(str(op), OPERATIONS)
        )
    cls = OPERATIONS[op]
    keys = parameter_keys(cls)
    _known(parameters, keys, where, f" of op '{op}'")
    hints = get_type_hints(cls)
    for field in fields(cls):
        key = next(k for k, attribute in keys.items() if attribute == field.name)
        if key not in parameters:
            if field.default is MISSING and field.default_factory is MISSING:
                raise ParameterError(
                    f"op '{op}' needs '{key}'",
                    where=where,
                    expected=_list_choices(hints[field.name]),
                )
            continue
        _choice(parameters[key], hints[field.name], key, where)
    step = parse(cls, parameters, where)
    step.check(where)
    return step


def parameter_keys(cls: type[Operation]) -> dict[str, str]:
    """The spec's key and the attribute of each parameter (`with` is a word of Python)."""
    hints = get_type_hints(cls, include_extras=True)
    keys = {}
    for field in fields(cls):
        extras = [
            m for m in getattr(hints[field.name], "__metadata__", ()) if isinstance(m, FieldInfo)
        ]
        keys[(extras[0].alias if extras else None) or field.name] = field.name
    return keys


def _choice(value: object, hint: Any, key: str, where: str) -> None:
    """A value of a `Literal` (or each of a tuple of them) is one of its choices."""
    if get_origin(hint) is tuple and get_origin(get_args(hint)[0]) is Literal:
        for item in value if isinstance(value, (list, tuple)) else [value]:
            _choice(item, get_args(hint)[0], key, where)
    if get_origin(hint) is Literal and value not in get_args(hint):
        raise ParameterError(
            f"'{key}' is not allowed",
            where=where,
            got=value,
            fix=did_you_mean(str(value), get_args(hint)),
        )


def _list_choices(hint: Any) -> str | None:
    return ", ".join(get_args(hint)) if get_origin(hint) is Literal else None


def _known(mapping: Mapping[str, Any], known: Any, where: str, of: str) -> None:
    for key in mapping:
        if key not in known:
            raise ParameterError(
                f"unknown key '{key}'{of}", where=where, fix=did_you_mean(str(key), known)
            )


def _names(value: object, where: str, key: str) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) and v for v in value):
        raise ParameterError(
            f"'{key}' is not allowed", where=where, got=value, expected="column names"
        )
    return tuple(value)
