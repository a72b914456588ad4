"""kfp-suite models: what is in a store."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from kfp_suite.cli.completion import complete_model
from kfp_suite.cli.references import DEFAULT_STORE, find_reference, version_argument
from kfp_suite.cli.run_summary import print_uses
from kfp_suite.cli.tables import print_whole
from kfp_suite.contracts.errors import (
    ContractError,
    KfpSuiteError,
    MissingError,
    ParameterError,
)
from kfp_suite.contracts.model import estimator_name
from kfp_suite.contracts.parameters import whole_numbers
from kfp_suite.local.comparing import OTHER_ROWS, measured_rows
from kfp_suite.local.conclusion import rollout_command
from kfp_suite.local.history import best_of
from kfp_suite.stores.aliases import by_hand
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import CHAMPION, ModelStore, VersionManifest


@click.group("models")
def models() -> None:
    """Published versions and their aliases."""


@models.command("list")
@click.argument("store", default=str(DEFAULT_STORE))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_models(store: str, as_json: bool) -> None:
    """Every version in STORE: a folder, gs://bucket/prefix or s3://bucket/prefix.

    STORE is kfp-suite-runs/models unless it is given.
    """
    opened = ModelStore(open_store(store))
    names = opened.models()
    if not names:
        _check_is_store(store)
    found: list[dict[str, Any]] = [
        {
            "model": name,
            "version": version,
            "aliases": [alias for alias, at in aliases.items() if at == version],
            "created": opened.created(name, version),
            **_digest_or_error(opened, name, version),
        }
        for name in names
        for aliases in [opened.aliases(name)]
        for version in opened.versions(name)
    ]
    if as_json:
        click.echo(json.dumps(found))
        return
    table = Table("model", "version", "aliases", "created", "digest", box=None)
    for entry in found:
        table.add_row(
            entry["model"],
            str(entry["version"]),
            ", ".join(entry["aliases"]),
            (entry["created"] or "")[:19].replace("T", " "),
            entry["digest"][:19] if "digest" in entry else "unreadable",
        )
    if found:
        print_whole(table)
    else:
        click.echo(f"no models in {store}")
    for entry in found:
        if "error" in entry:
            click.echo(entry["error"], err=True)


def _digest_or_error(opened: ModelStore, name: str, version: int) -> dict[str, str]:
    """The digest of a version; or why its manifest cannot be read, which hides no other version."""
    try:
        return {"digest": opened.manifest(name, version).digest}
    except ContractError as error:
        return {"error": str(error)}


def _check_is_store(store: str) -> None:
    """Refuse a place without models that is no store.

    Raises:
        ParameterError: it is a model.
        MissingError: there is no such folder; that of local runs need not be there yet.
    """
    if _is_model(store):
        raise ParameterError(
            "a model, not a store",
            got=store,
            fix=shlex.join(["kfp-suite", "models", "show", store.rstrip("/")]),
        )
    opened = open_store(store)
    if isinstance(opened, FolderStore) and not opened.root.is_dir() and store != str(DEFAULT_STORE):
        raise MissingError("no such folder", where=store, fix="give the folder of a store")


def _is_model(reference: str) -> bool:
    try:
        store, name, _ = find_reference(reference)
        return bool(ModelStore(open_store(store)).versions(name))
    except KfpSuiteError:  # no reference, or beyond what may be listed
        return False


@models.command("best")
@click.argument("reference", metavar="[STORE/]MODEL", shell_complete=complete_model)
@click.option("--metric", required=True, help="A metric of the evaluations: roc_auc, rmse, …")
@click.option(
    "--lowest/--highest", default=None, help="Which is better; default: as the metric is."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def best(reference: str, metric: str, lowest: bool | None, as_json: bool) -> None:
    """The version with the best value of a metric, wherever it was made."""
    store, name, _ = find_reference(reference)
    opened = ModelStore(open_store(store))
    evaluations = {one: opened.manifest(name, one).evaluation for one in opened.versions(name)}
    values = {
        one: {
            key: found["value"]
            for key, found in evaluation.get("metrics", {}).items()
            if found.get("value") is not None
        }
        for one, evaluation in evaluations.items()
    }
    if not values:
        raise opened.no_model(name)
    version = best_of(values, metric, lowest)
    uri = opened.uri(name, version)
    measured = [one for one in values if metric in values[one]]
    others = [
        one
        for one in measured
        if measured_rows(evaluations[one]) != measured_rows(evaluations[version])
    ]
    if as_json:
        found = {"version": version, "uri": uri, "value": values[version][metric]}
        click.echo(json.dumps({**found, "other_rows": others}))
        return
    click.echo(f"version {version} of {name}: {metric} {values[version][metric]:.6g}")
    if others:
        click.echo(f"{len(others)} of {len(measured)} versions: {OTHER_ROWS}")
    print_uses(uri)


@models.command("show")
@version_argument
@click.option("--json", "as_json", is_flag=True, help="Print the whole manifest.")
def show(reference: str, as_json: bool) -> None:
    """Where a version comes from: data, code, libraries, parameters, verdict, run."""
    opened, name, version = _version(reference)
    manifest = opened.manifest(name, version)
    if as_json:
        click.echo(json.dumps(asdict(manifest)))
        return
    console = Console(highlight=False, soft_wrap=True)
    recipe, environment = manifest.recipe, manifest.recipe["environment"]
    console.print(f"[bold]{name}[/] version {version}")
    rows: dict[str, Any] = {
        "aliases": ", ".join(a for a, at in opened.aliases(name).items() if at == version),
        "published": opened.created(name, version),
        "by run": manifest.run.get("name") or manifest.run.get("id"),
        "digest": manifest.digest,
        "dataset": recipe["dataset_digest"],
        "transform": recipe["transform_digest"],
        "code": recipe["code_digest"],
        "module": recipe["module_digest"],
        "image": environment["image"],
        "environment": f"Python {environment['python']}, {environment['threads']} threads, "
        f"{environment['cpu']}, {len(environment['libraries'])} libraries",
        **{f"source {key}": value["digest"] for key, value in recipe["sources"].items()},
        **{key: json.dumps(value) for key, value in _training(opened, manifest).items()},
        **{
            key: f"{value['value']:.6g}"
            for key, value in manifest.evaluation.get("metrics", {}).items()
            if value.get("value") is not None
        },
    }
    width = max(map(len, rows))
    for key, value in rows.items():
        if value:
            console.print(f"{key:>{width}}  {value}", markup=False)


@models.command("alias")
@click.argument("reference", metavar="[STORE/]MODEL/VERSION", shell_complete=complete_model)
@click.argument("alias")
@click.option("--reason", default="", help="Why, for the history of the alias.")
@click.option("--history", is_flag=True, help="Show every move of the alias instead.")
def alias(reference: str, alias: str, reason: str, history: bool) -> None:
    """Point ALIAS at a version; its moves are kept.

    Endpoints that deploy and rollout made stay on the version that they serve.
    """
    opened, name, version = _version(reference)
    if not history:
        opened.set_alias(name, alias, version, by_hand(reason))
        click.echo(f"{name}: {alias} is version {version}")
        _say_what_stays(opened, name, version, alias)
        return
    for move in opened.alias_history(name, alias):
        click.echo(f"{move.moved or '?'}  version {move.version}  {move.reason}")


@models.command("rollback")
@click.argument("reference", metavar="[STORE/]MODEL", shell_complete=complete_model)
@click.option("--alias", default=CHAMPION, show_default=True)
def rollback(reference: str, alias: str) -> None:
    """Point an alias at the version it named before.

    Once: run again, it changes nothing. To go back further, name the version:
    `kfp-suite models alias STORE/MODEL/VERSION champion`. Endpoints that deploy and rollout made
    stay on the version that they serve.
    """
    store, name, wanted = find_reference(reference)
    if wanted:
        raise ParameterError(
            "rollback takes a model, not a version", got=reference, expected="STORE/MODEL"
        )
    opened = ModelStore(open_store(store))
    move = opened.rollback(name, alias)
    click.echo(f"{name}: {alias} is version {move.version} again ({move.reason})")
    _say_what_stays(opened, name, move.version, alias)


def _say_what_stays(opened: ModelStore, name: str, version: int, alias: str) -> None:
    """Say which servers follow an alias that was moved, and how the others get the version."""
    follows = f"what serves {opened.store.uri}/{name} follows it; " if alias == CHAMPION else ""
    click.echo(f"{follows}endpoints of deploy and rollout stay on the version that they serve")
    known = {"model": name, "store": opened.store.uri}
    here = rollout_command(str(version), {**known, "manifest": "FILE"})
    cluster = {**known, "target": "cluster", "namespace": "NAMESPACE"}
    click.echo(f"roll it out on this machine:  {here}")
    click.echo(f"roll it out on a cluster:     {rollout_command(str(version), cluster)}")


@models.command("verify")
@version_argument
def verify(reference: str) -> None:
    """Recompute every digest of a version, or of all versions of a model."""
    store, name, wanted = find_reference(reference)
    opened = ModelStore(open_store(store))
    versions = [opened.resolve(name, wanted)] if wanted else opened.versions(name)
    for version in versions or [opened.resolve(name)]:
        manifest = opened.verify(name, version)
        click.echo(f"{name} version {version}: {len(manifest.files)} files, all as published")


def _training(models: ModelStore, manifest: VersionManifest) -> dict[str, Any]:
    """The parameters of training: whole numbers as such, the task that was found for `auto`,
    what a user's module returned in place of the estimator that it replaces, and a threshold
    only of a model that decides by one."""
    model = models.model_manifest(manifest)
    given = {key: value for key, value in manifest.recipe["train"].items() if value != {}}
    found: dict[str, Any] = whole_numbers(given) | {"task": model.task}
    if model.recipe.module_digest:
        found = {key: value for key, value in found.items() if key != "network"}
        found["estimator"] = estimator_name(model)
    if model.task != "binary":
        found.pop("threshold", None)
    return found


def _version(reference: str) -> tuple[ModelStore, str, int]:
    store, name, wanted = find_reference(reference)
    opened = ModelStore(open_store(store))
    return opened, name, opened.resolve(name, wanted)
