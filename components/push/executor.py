"""Publish a blessed model as a version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import read_json, write_json
from kfp_suite.contracts.errors import ContractError, ParameterError
from kfp_suite.contracts.model import read_model
from kfp_suite.contracts.run_record import EVALUATION, PUSHED
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import CHALLENGER, CHAMPION, ModelStore, Published

FORMAT_VERSION = 1
_KEPT = ("blessed", "reasons", "metrics", "split", "rows", "dataset_digest", "thresholds")


@dataclass(frozen=True)
class PushParameters:
    """Where to publish, under which name, which alias moves (none where it is empty), and
    the run that publishes."""

    store: str
    model_name: str
    require_blessed: bool = True
    alias: str = CHALLENGER
    run: Mapping[str, str] = field(default_factory=dict)


def push(parameters: PushParameters, model: Path, evaluation: Path, output: Path) -> Published:
    """Publish the Model artifact `model` and move the alias to it.

    Args:
        parameters: Store, name and run.
        model: A Model artifact.
        evaluation: An evaluation artifact: a folder with `evaluation.json`.
        output: The folder `pushed.json` is written to.

    Raises:
        ParameterError: no store, a bad name, an alias that only a deployment moves, or a model
            that is not blessed.
        ContractError: the evaluation is of another model.
    """
    if not parameters.store:
        raise ParameterError("no store", where="store", expected="a folder, gs://… or s3://…")
    if parameters.alias == CHAMPION:
        raise ParameterError(
            "only an endpoint that answered makes a champion",
            where="alias",
            got=CHAMPION,
            expected=f"{CHALLENGER}, another, or empty",
        )
    verdict = read_json(evaluation / EVALUATION)
    digest = read_model(model).manifest.digest
    if verdict.get("model_digest") != digest:
        raise ContractError(
            "the evaluation is of another model",
            where=evaluation / EVALUATION,
            got=verdict.get("model_digest"),
            expected=digest,
            fix="evaluate this model before pushing it",
        )
    if parameters.require_blessed and not verdict.get("blessed"):
        raise ParameterError(
            "the model is not blessed",
            where=parameters.model_name,
            got="; ".join(verdict.get("reasons", ())),
            fix="mend the model, or push with require_blessed=False",
        )
    models = ModelStore(open_store(parameters.store))
    published = models.publish(
        parameters.model_name,
        model,
        evaluation=_kept(verdict),
        run=parameters.run,
        parameters={},
    )
    if parameters.alias:
        models.set_alias(published.model, parameters.alias, published.version, _reason(parameters))
    manifest = models.manifest(published.model, published.version)
    with whole_folder(output) as folder:
        write_json(
            folder / PUSHED,
            {
                "format_version": FORMAT_VERSION,
                # Not `created`: a retried push says the same as the first.
                **{k: v for k, v in asdict(published).items() if k != "created"},
                "store": parameters.store,
                "model_uri": models.model_uri(manifest),
                "saved_model_uri": models.saved_model_uri(manifest),
            },
        )
    return published


def _kept(verdict: Mapping[str, Any]) -> dict[str, Any]:
    return {key: verdict[key] for key in _KEPT if key in verdict}


def _reason(parameters: PushParameters) -> str:
    run = parameters.run.get("name") or parameters.run.get("id")
    return f"pushed by {run}" if run else "pushed"
