"""Records that are only ever added to a folder of a store: `<folder>/<number>.json`.

This is the one place where a number is read from the name of an object. A store holds more
than what the suite wrote: consoles and file systems add empty objects named like folders,
desktops add files of their own, and lifecycle rules remove the oldest objects. So whatever is
not named like a record is not one, the numbers may have gaps, and the next number is the
newest one's plus one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from kfp_suite.contracts.canonical import pretty_json
from kfp_suite.contracts.errors import ContractError
from kfp_suite.stores.store import ObjectInfo, Store

_NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_SUFFIX = ".json"


def parse_number(text: str) -> int | None:
    """The number of a version or a record in its name; None if the text is no such number."""
    return int(text) if _NUMBER.fullmatch(text) else None


class NumberedRecords:
    """The records of one folder. Each is a JSON object."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder

    def infos(self) -> dict[int, ObjectInfo]:
        """Every record by its number, ascending. One listing."""
        start = f"{self._folder}/"
        found = {}
        for info in self._store.list(start):
            name = info.name.removeprefix(start)
            if not name.endswith(_SUFFIX):
                continue
            number = parse_number(name.removesuffix(_SUFFIX))
            if number is not None:
                found[number] = info
        return dict(sorted(found.items()))

    def name(self, number: int) -> str:
        """The name of a record's object."""
        return f"{self._folder}/{number}{_SUFFIX}"

    def read(self, number: int) -> dict[str, Any]:
        """One record.

        Raises:
            MissingError: there is none of that number.
            ContractError: it is not a JSON object.
        """
        return read_object(self._store, self.name(number))

    def create(self, number: int, value: Mapping[str, Any]) -> None:
        """Add a record. Raises AlreadyExistsError if the number is taken."""
        self._store.create(self.name(number), pretty_json(value))


def read_object(store: Store, name: str) -> dict[str, Any]:
    """The JSON object in an object of a store.

    Raises:
        MissingError: it is not there.
        ContractError: it is not a JSON object.
    """
    where = f"{store.uri.rstrip('/')}/{name}"
    try:
        value = json.loads(store.read(name))
    except ValueError as error:
        raise ContractError("not valid JSON", where=where, got=str(error)) from error
    if not isinstance(value, dict):
        raise ContractError("not a JSON object", where=where, got=value)
    return value
