"""The aliases of a model: the version that `champion` names, and the history of its moves.

Every move is a numbered record, added by exclusive create; the newest one counts. Reading an
alias is one listing and one read, however often it has moved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    ContractError,
    MissingError,
)
from kfp_suite.stores.records import NumberedRecords
from kfp_suite.stores.store import Store

# The reasons of a rollback by the command, and by a rollout. A second rollback goes by them.
_ROLLED_BACK = re.compile(r"rollback from \d+|version \d+ was rolled back")
_BY_HAND = "set by hand"


@dataclass(frozen=True)
class AliasRecord:
    """One move of an alias."""

    alias: str
    version: int
    reason: str
    moved: str | None = None

    @property
    def is_rollback(self) -> bool:
        """Whether it took a version back."""
        return _ROLLED_BACK.fullmatch(self.reason) is not None

    @property
    def is_by_hand(self) -> bool:
        """Whether a person set it, by the command."""
        return self.reason.startswith(_BY_HAND)

    def __str__(self) -> str:
        return f"version {self.version} ({self.reason})"


def by_hand(reason: str) -> str:
    """The reason of a move that a person makes, with the person's own, which may be empty."""
    return f"{_BY_HAND}: {reason}" if reason else _BY_HAND


class Alias:
    """One alias of a model, in a store."""

    def __init__(self, store: Store, model: str, folder: str, alias: str) -> None:
        """`folder` holds the aliases of `model`, each in a folder of its own."""
        self._where, self._alias = f"{store.uri.rstrip('/')}/{model}", alias
        self._records = NumberedRecords(store, f"{folder}/{alias}")

    def current(self) -> AliasRecord | None:
        """The newest move; None if the alias was never set."""
        infos = self._records.infos()
        if not infos:
            return None
        number = max(infos)
        return self._read(number, infos[number].created)

    def history(self) -> list[AliasRecord]:
        """Every move that the store still has, oldest first."""
        return [self._read(number, info.created) for number, info in self._records.infos().items()]

    def taken_from(self, version: int) -> AliasRecord | None:
        """The move that the alias is at now, if a rollback or a person took the alias away from
        `version`, however often it has moved since; else None."""
        moves: list[AliasRecord] = []  # newest first
        for number, info in reversed(self._records.infos().items()):
            move = self._read(number, info.created)
            if move.version == version:
                was_taken = bool(moves) and (moves[-1].is_rollback or moves[-1].is_by_hand)
                return moves[0] if was_taken else None
            moves.append(move)
        return None

    def move(self, version: int, reason: str, expected: int | None = None) -> None:
        """Name a version; if the alias names it already, nothing is written.

        Args:
            version: The version.
            reason: Why.
            expected: The version it must name now, 0 for none; None: whichever.

        Raises:
            AlreadyExistsError: it names neither `version` nor `expected`.
        """
        number = max(self._records.infos(), default=0)
        while True:
            current = self._read(number).version if number else 0
            if current == version:
                return
            if expected is not None and current != expected:
                raise AlreadyExistsError(
                    f"alias '{self._alias}' was moved meanwhile",
                    where=self._where,
                    got=f"version {current or 'none'}",
                    expected=f"version {expected or 'none'}",
                    fix="look at the new version, then set the alias again",
                )
            try:
                self._records.create(number + 1, {"version": version, "reason": reason})
                return
            except AlreadyExistsError:
                number += 1  # another move came between: it is read next

    def roll_back(self) -> AliasRecord:
        """Name the version before. A second rollback after the first changes nothing, so two
        reactions to one alarm take one version back, and not two.

        Returns:
            The move that the alias is at now.

        Raises:
            MissingError: the alias never named another version.
        """
        infos = self._records.infos()
        moves = [self._read(number, infos[number].created) for number in list(infos)[-1:]]
        if moves and moves[0].is_rollback:
            return moves[0]
        for number in list(infos)[-2::-1]:
            moves.append(self._read(number, infos[number].created))
            if moves[-1].version != moves[0].version:
                current, before = moves[0].version, moves[-1].version
                reason = f"rollback from {current}"
                self.move(before, reason, expected=current)
                return AliasRecord(self._alias, before, reason)
        raise MissingError(
            f"alias '{self._alias}' has no version to go back to",
            where=self._where,
            got=f"history: {', '.join(str(one.version) for one in reversed(moves)) or 'none'}",
        )

    def _read(self, number: int, moved: str | None = None) -> AliasRecord:
        value = self._records.read(number)
        version, reason = value.get("version"), value.get("reason", "")
        if not isinstance(version, int):
            raise ContractError(
                "not a move of an alias",
                where=f"{self._where}: {self._records.name(number)}",
                got=value,
                expected="a version",
            )
        return AliasRecord(self._alias, version, str(reason), moved)
