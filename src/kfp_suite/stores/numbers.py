"""The version numbers of a model, and the digest that each belongs to.

    <model>/_numbers/<n>.json       the owner of version n: the digest of its model
    <model>/_numbers/<n>.<digest>   the same in the name: one listing has every owner

The first is the claim, made by exclusive create; the second is written after it and only spares
reading. If it is missing, after a kill or in an older store, the claim is read and the name
is added. So a push costs the same in a store of one version and of thousands.
"""

from __future__ import annotations

import re
from contextlib import suppress

from kfp_suite.contracts.digests import PREFIX
from kfp_suite.contracts.errors import AlreadyExistsError, ContractError, MissingError
from kfp_suite.stores.records import NumberedRecords, parse_number, read_object
from kfp_suite.stores.store import Store

_DIGEST = "digest"
_OWNED = re.compile(r"(\d+)\.([0-9a-f]{64})", re.ASCII)


class Numbers:
    """The version numbers of a model."""

    def __init__(self, store: Store, model: str, manifest: str) -> None:
        """`manifest`: the name of what makes a version published, below the version."""
        self._store, self._model, self._manifest = store, model, manifest
        self._folder = f"{model}/_numbers"
        self._records = NumberedRecords(store, self._folder)

    def owner(self, number: int) -> str:
        """The digest of the model that claimed a number.

        Raises:
            MissingError: the number is not claimed.
            ContractError: the claim is no such record.
        """
        return _digest(self._records.read(number), f"{self._folder}/{number}.json")

    def any(self) -> bool:
        """Whether a number was ever claimed."""
        return bool(self._records.infos())

    def claim(self, digest: str) -> int:
        """The number of a model: the one that it has, or else the next.

        Two claims for one model get one number: both try the same next one.
        """
        claimed, owners = self._list_claims()
        for number in claimed:
            if number not in owners:
                owners[number] = self.owner(number)
                self._name_owner(number, owners[number])
            if owners[number] == digest and self.owner(number) == digest:
                return number
        number = max(claimed, default=0) + 1
        while True:
            published = self._read_published_digest(number)
            wanted = published or digest
            try:
                self._records.create(number, {_DIGEST: wanted})
                self._name_owner(number, wanted)
            except AlreadyExistsError:
                wanted = self.owner(number)  # another claim was faster
            if wanted == digest:
                return number
            number += 1

    def _list_claims(self) -> tuple[list[int], dict[int, str]]:
        """The numbers that are claimed, ascending, and the owners that are in a name."""
        claimed, owners = [], {}
        start = f"{self._folder}/"
        for info in self._store.list(start):
            name = info.name.removeprefix(start)
            number = parse_number(name.removesuffix(".json")) if name.endswith(".json") else None
            if number is not None:
                claimed.append(number)
            elif owned := _OWNED.fullmatch(name):
                owners[int(owned[1])] = PREFIX + owned[2]
        return sorted(claimed), owners

    def _name_owner(self, number: int, digest: str) -> None:
        name = f"{self._folder}/{number}.{digest.removeprefix(PREFIX)}"
        with suppress(AlreadyExistsError):
            self._store.create(name, b"")

    def _read_published_digest(self, number: int) -> str:
        """The digest of a version whose claim is lost; empty: there is no such version."""
        name = f"{self._model}/{number}/{self._manifest}"
        try:
            return _digest(read_object(self._store, name), name)
        except MissingError:
            return ""


def _digest(value: dict[str, object], where: str) -> str:
    digest = value.get(_DIGEST)
    if not isinstance(digest, str) or not digest.startswith(PREFIX):
        raise ContractError("no digest of a model", where=where, got=value)
    return digest
