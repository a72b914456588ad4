"""Mappings from YAML, JSON and KFP to the frozen dataclasses executors take.

KFP turns the integers of dict parameters into floats; a declared `int` restores them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from kfp_suite.contracts.errors import ParameterError, did_you_mean

T = TypeVar("T")
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


def parse(cls: type[T], value: object, where: str) -> T:
    """Build the dataclass `cls` from a mapping, checking every key and type.

    Declare `__pydantic_config__ = {"extra": "forbid"}` on `cls`, so that a key nobody
    reads is an error and not a silent default.

    Args:
        cls: A (nested, frozen) standard dataclass.
        value: The mapping to read.
        where: What the mapping is to the user: `features`, `params.yaml: split`.

    Raises:
        ParameterError: naming the key at fault, what was got and the near miss.
    """
    try:
        return TypeAdapter(cls).validate_python(value)
    except ValidationError as error:
        # A misspelt key is also a missing one: its near miss says more.
        first = min(error.errors(), key=lambda found: found["type"] not in _UNKNOWN)
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] in _UNKNOWN:
            known = _known_keys(cls, first["loc"][:-1])
            raise ParameterError(
                f"unknown key '{first['loc'][-1]}'",
                where=where,
                fix=did_you_mean(str(first["loc"][-1]), known),
            ) from error
        if first["type"] in ("missing", "missing_argument"):
            raise ParameterError(f"missing key '{path}'", where=where) from error
        raise ParameterError(
            f"'{path}' is not allowed" if path else "is not allowed",
            where=where,
            got=first.get("input"),
            expected=first["msg"][0].lower() + first["msg"][1:],
        ) from error


def _known_keys(cls: Any, loc: tuple[int | str, ...]) -> list[str]:
    """The keys allowed at `loc` inside the dataclass `cls`, as far as types tell."""
    for part in loc:
        found = (
            next((f.type for f in fields(cls) if f.name == part), None)
            if is_dataclass(cls)
            else None
        )
        if found is None or isinstance(found, str):
            break
        cls = found
    return [f.name for f in fields(cls)] if is_dataclass(cls) else []


def whole_numbers(value: Any) -> Any:
    """`value` with every integral float as an int, in mappings and lists too.

    For free-form mappings, where no declared type can tell (2.0 becomes 2).
    """
    if isinstance(value, Mapping):
        return {key: whole_numbers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [whole_numbers(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
