"""JSON with one form for one value, and files that are whole or not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from kfp_suite.contracts.atomic import whole_file
from kfp_suite.contracts.errors import ContractError, MissingError, store_error


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys, no spaces, no NaN: equal values give equal bytes.

    Raises:
        ValueError: for NaN, infinities and values JSON cannot hold.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def pretty_json(value: Any) -> bytes:
    """The same value for people: indented, sorted, one final newline."""
    return (
        json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()


def write_file(path: Path, content: bytes) -> None:
    """Write `path` whole or not at all, and onto the disk; see `atomic.whole_file`.

    Raises:
        StoreError: the folder is not writable or the disk is full.
    """
    with whole_file(path) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    """`write_file` of `pretty_json(value)`."""
    write_file(path, pretty_json(value))


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        MissingError: the file is not there.
        ContractError: it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise MissingError("no such file", where=path) from error
    except OSError as error:
        raise store_error(error, path) from error
    except ValueError as error:
        raise ContractError("not valid JSON", where=path, got=str(error)) from error


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested mapping as dotted keys to plain values, for comparing."""
    if isinstance(value, dict) and value:
        parts = {}
        for key, item in value.items():
            parts.update(flat(item, f"{prefix}.{key}" if prefix else str(key)))
        return parts
    return {prefix: value}
