"""JSON files that carry a contract: a dataclass and a format version."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from kfp_suite.contracts.canonical import read_json
from kfp_suite.contracts.errors import ContractError
from kfp_suite.contracts.parameters import parse

T = TypeVar("T")


def read_manifest(path: Path, cls: type[T], *, format_version: int, fix: str) -> T:
    """Read a JSON file as the dataclass `cls`.

    Args:
        path: The file.
        cls: A dataclass with a `format_version` field.
        format_version: The version this code reads.
        fix: What to do with a file of another version.

    Raises:
        MissingError: the file is not there.
        ContractError: it is not JSON, of another format version, or not of this contract.
    """
    value = read_json(path)
    version = value.get("format_version") if isinstance(value, dict) else None
    if version != format_version:
        raise ContractError(
            f"unknown format of {path.name}",
            where=path,
            got=version,
            expected=f"format_version {format_version}",
            fix=fix,
        )
    return parse(cls, value, str(path))
