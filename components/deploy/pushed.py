"""What push says it published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kfp_suite.contracts.canonical import read_json
from kfp_suite.contracts.errors import ContractError
from kfp_suite.contracts.run_record import PUSHED


@dataclass(frozen=True)
class Pushed:
    """A published version: where it is, and which."""

    store: str
    model: str
    version: int


def read_pushed(folder: Path) -> Pushed:
    """What the artifact of push names. Raises MissingError, ContractError."""
    found = read_json(folder / PUSHED)
    try:
        return Pushed(str(found["store"]), str(found["model"]), int(found["version"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ContractError(
            "not what push writes",
            where=folder / PUSHED,
            got=f"{type(error).__name__}: {error}",
        ) from error
