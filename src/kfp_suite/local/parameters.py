"""A pipeline's parameters: from a file, from `--param`, checked against its signature."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_suite.contracts.errors import (
    ContractError,
    MissingError,
    ParameterError,
    did_you_mean,
    store_error,
)
from kfp_suite.contracts.plain_yaml import read_yaml
from kfp_suite.local.checked_values import convert_to_plain, place_of

# KFP's name of a type: what Python holds it, and what a person calls it.
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "String": ((str,), "text"),
    "Integer": ((int,), "a whole number"),
    "Float": ((int, float), "a number"),
    "Boolean": ((bool,), "true or false"),
    "Dict": ((dict,), "a mapping"),
    "List": ((list,), "a list"),
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a pipeline."""

    name: str
    type: str
    required: bool
    default: Any


def parameters_of(pipeline: Any) -> dict[str, Parameter]:
    """The parameters of a kfp pipeline, by name."""
    inputs = pipeline.component_spec.inputs or {}
    return {
        name: Parameter(name, spec.type, not spec.optional, spec.default)
        for name, spec in inputs.items()
    }


def shipped_files() -> dict[str, Path]:
    """The parameter files that come with the suite, by name."""
    folder = Path(__file__).parents[1] / "pipelines" / "params"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def parameter_file(name: str) -> Path:
    """A parameter file by path, or a shipped one by name (`flights`).

    Raises:
        MissingError: it is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = shipped_files()
    stem = path.name.removesuffix(".yaml")
    if path.parent == Path() and stem in known:
        return known[stem]
    raise MissingError("no such parameter file", where=name, fix=did_you_mean(stem, known))


def read_parameters(path: Path) -> dict[str, Any]:
    """The mapping in a YAML parameter file.

    Raises:
        ContractError: it is not YAML or not a mapping.
    """
    try:
        value = read_yaml(path.read_bytes())
    except ValueError as error:
        raise ContractError("not valid YAML", where=path, got=str(error)) from error
    except OSError as error:
        raise store_error(error, path) from error
    if not isinstance(value, dict):
        raise ContractError(
            "not a parameter file", where=path, expected="a mapping of parameter names to values"
        )
    return value


def parse_assignments(
    assignments: tuple[str, ...], known: Mapping[str, Parameter]
) -> dict[str, Any]:
    """The values of `--param name=value`; `a.b=value` sets a key inside a mapping.

    Values of text parameters are taken as they are, the others are read as YAML.

    Raises:
        ParameterError: an assignment without `=`, or a value that is not YAML.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise ParameterError("not an assignment", got=assignment, expected="--param name=value")
        parameter = known.get(name)
        try:
            value = text if parameter and parameter.type == "String" else read_yaml(text)
        except ValueError as error:
            raise ParameterError(
                f"not valid YAML: {error}", where=f"--param {name}", got=text
            ) from error
        values[name] = value
    return values


def drop_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a notebook; None is no value."""
    return {name: value for name, value in values.items() if value is not None}


def merge(
    known: Mapping[str, Parameter], from_file: Mapping[str, Any], assigned: Mapping[str, Any]
) -> dict[str, Any]:
    """File values overridden by assigned ones; `a.b` reaches into the mapping `a`."""
    merged = dict(from_file)
    for name, value in assigned.items():
        if name in known or "." not in name:
            merged[name] = value
            continue
        head, *path = name.split(".")
        merged[head] = _with(merged.get(head) or {}, path, value)
    return merged


def _with(mapping: Any, path: list[str], value: Any) -> Any:
    head, rest = path[0], path[1:]
    base = mapping if isinstance(mapping, dict) else {}
    return {**base, head: _with(base.get(head), rest, value) if rest else value}


def check(
    known: Mapping[str, Parameter],
    values: Mapping[str, Any],
    where: str,
    assigned: Collection[str] = (),
) -> dict[str, Any]:
    """`values`, complete, of the right types, and such as reach a step as they were written.

    A parameter that is null is as if it were not there. Numbers are taken as they are meant: 2 for
    the text "2", and 120.0 for the whole number 120.

    Args:
        known: The parameters of the pipeline.
        values: The given values.
        where: The parameter file, or `--param` without one.
        assigned: The names that did not come from the file, as `merge` takes them.

    Raises:
        ParameterError: unknown names, all of them; a wrong type, a missing value, or one that would
            not arrive; see `checked_values.convert_to_plain`.
    """
    _check_names(known, values, where, assigned)
    checked = {}
    for name, value in values.items():
        place = place_of(name, where, assigned)
        if value is not None:
            checked[name] = _of_type(
                known[name].type, name, convert_to_plain(value, name, place), place
            )
    missing = sorted(name for name, p in known.items() if p.required and name not in checked)
    if missing:
        raise ParameterError(
            f"missing parameter '{missing[0]}'",
            where=where,
            fix=f"set it in the parameter file or with --param {missing[0]}=VALUE",
        )
    return checked


def _check_names(
    known: Mapping[str, Parameter], values: Mapping[str, Any], where: str, assigned: Collection[str]
) -> None:
    unknown = [name for name in values if name not in known]
    if len(unknown) == 1:
        (name,) = unknown
        place = place_of(name, where, assigned)
        raise ParameterError(
            f"unknown parameter '{name}'", where=place, fix=did_you_mean(name, known)
        )
    if unknown:
        places = dict.fromkeys(place_of(name, where, assigned) for name in unknown)
        raise ParameterError(
            f"unknown parameters {', '.join(map(repr, unknown))}",
            where=", ".join(places),
            fix="; ".join(f"{name}: {did_you_mean(name, known)}" for name in unknown),
        )


def _of_type(kind: str, name: str, value: Any, where: str) -> Any:
    allowed, words = _TYPES.get(kind, ((object,), "a value"))
    if kind == "String" and type(value) is int:
        return str(value)
    if kind == "Integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    is_bool_as_number = isinstance(value, bool) and bool not in allowed
    if not isinstance(value, allowed) or is_bool_as_number:
        is_scalar = isinstance(value, (bool, int, float))
        raise ParameterError(
            f"parameter '{name}' has the wrong type",
            where=where,
            got=value,
            expected=words,
            fix=f"put it in quotes: {name}: '…'" if str in allowed and is_scalar else None,
        )
    if kind == "Float" and isinstance(value, int):  # kfp takes no whole number for it
        return float(value)
    return value
