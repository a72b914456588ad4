"""The champion as a run pins it: which version it was when the run began."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import ClassVar

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.parameters import parse
from kfp_suite.stores.versions import CHAMPION, ModelStore


@dataclass(frozen=True)
class ChampionReference:
    """The version that holds the alias `champion`, pinned by resolve."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    uri: str
    version: int
    manifest_digest: str = ""


def pin_champion(models: ModelStore, model: str) -> ChampionReference | None:
    """The champion of a model now; None if there is none."""
    version = models.alias(model, CHAMPION)
    if version is None:
        return None
    return ChampionReference(
        models.uri(model, version), version, models.manifest_digest(model, version)
    )


def champion_to_json(reference: ChampionReference | None) -> str:
    """The text that later steps are given; empty for none."""
    return json.dumps(asdict(reference), sort_keys=True) if reference else ""


def parse_champion(text: str) -> ChampionReference | None:
    """The reference in the JSON that resolve gives; None for an empty text.

    Raises:
        ParameterError: it is not JSON, or not of `uri`, `version`, `manifest_digest`.
    """
    if not text:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ParameterError(
            "not valid JSON",
            where="champion",
            got=text,
            expected='{"uri": ..., "version": ..., "manifest_digest": ...} or an empty text',
        ) from error
    return parse(ChampionReference, value, "champion")
