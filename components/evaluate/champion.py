"""The champion, fetched from its store and scored on the challenger's rows.

A champion that cannot be scored is a reason in the verdict, not a failure of the step; only a
store that may answer on another try is an error.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_suite.components.evaluate.predictions import LabelledRows, Predictor, Scores, score
from kfp_suite.contracts.errors import (
    IntegrityError,
    KfpSuiteError,
    TransientError,
)
from kfp_suite.contracts.model import ModelManifest, read_model
from kfp_suite.stores.champions import ChampionReference
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore, parse_reference


@dataclass(frozen=True)
class Champion:
    """The champion's scores.

    `same` if it is the model under evaluation; `scores` is None if it could not be scored,
    with the `reason`.
    """

    reference: ChampionReference
    manifest: ModelManifest | None = None
    scores: Scores | None = None
    same: bool = False
    reason: str = ""


Fetch = Callable[[ChampionReference, Path], Path]
Load = Callable[[Path], Predictor]


def fetch_champion(reference: ChampionReference, folder: Path) -> Path:
    """Download the champion's Model artifact to `folder`, every digest verified.

    Raises:
        MissingError: there is no such version.
        IntegrityError: it is not the version that resolve pinned.
    """
    store, model, _ = parse_reference(reference.uri)
    models = ModelStore(open_store(store))
    if reference.manifest_digest:
        got = models.manifest_digest(model, reference.version)
        if got != reference.manifest_digest:
            raise IntegrityError(
                "the manifest is not the one that was pinned",
                where=reference.uri,
                got=got,
                expected=reference.manifest_digest,
            )
    models.fetch(model, reference.version, folder)
    return folder


def load_folder(folder: Path) -> Predictor:
    """The model in a Model artifact, its digests verified."""
    from kfp_suite.models.loading import load_model

    return load_model(folder)


def score_champion(
    reference: ChampionReference,
    challenger: ModelManifest,
    rows: LabelledRows,
    *,
    fetch: Fetch,
    load: Load,
) -> Champion:
    """Fetch, load and score the champion on `rows`.

    Raises:
        TransientError: the store may answer on another try.
    """
    manifest = None
    try:
        with tempfile.TemporaryDirectory(prefix="champion-") as scratch:
            folder = fetch(reference, Path(scratch) / "champion")
            manifest = read_model(folder).manifest
            if manifest.digest == challenger.digest:
                return Champion(reference, manifest, same=True)
            reason = _why_incomparable(manifest, challenger)
            if reason:
                return Champion(reference, manifest, reason=reason)
            return Champion(reference, manifest, score(load(folder), rows))
    except TransientError:
        raise
    except KfpSuiteError as error:
        return Champion(reference, manifest, reason=str(error))
    except Exception as error:  # a model of another library version fails in its own ways
        return Champion(reference, manifest, reason=f"{type(error).__name__}: {error}")


def _why_incomparable(champion: ModelManifest, challenger: ModelManifest) -> str:
    differences: list[tuple[str, Any, Any]] = [
        ("task", champion.task, challenger.task),
        ("label", champion.label, challenger.label),
        ("classes", champion.classes, challenger.classes),
    ]
    for name, its, ours in differences:
        if its != ours:
            verb = "are" if name == "classes" else "is"
            return f"its {name} {verb} {_listed(its)}, not {_listed(ours)}"
    return ""


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
