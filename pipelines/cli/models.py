"""kfp-suite models: what is in a store."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from kfp_suite.components.contracts.errors import ParameterError
from kfp_suite.components.stores.store import open_store
from kfp_suite.components.stores.versions import CHAMPION, ModelStore, parse_reference
from kfp_suite.pipelines.cli.tables import print_whole
from kfp_suite.pipelines.runs.history import best_of


@click.group("models")
def models() -> None:
    """Published versions and their aliases."""


@models.command("list")
@click.argument("store")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_models(store: str, as_json: bool) -> None:
    """Every version in STORE: a folder, gs://bucket/prefix or s3://bucket/prefix."""
    opened = ModelStore(open_store(store))
    found: list[dict[str, Any]] = [
        {
            "model": name,
            "version": version,
            "aliases": [alias for alias, at in aliases.items() if at == version],
            "created": opened.created(name, version),
            "digest": opened.manifest(name, version).digest,
        }
        for name in opened.models()
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
            entry["digest"][:19],
        )
    if found:
        print_whole(table)
    else:
        click.echo(f"no models in {store}")


@models.command("best")
@click.argument("reference", metavar="STORE/MODEL")
@click.option("--metric", required=True, help="A metric of the evaluations: roc_auc, rmse, …")
@click.option(
    "--lowest/--highest", default=None, help="Which is better; default: as the metric is."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def best(reference: str, metric: str, lowest: bool | None, as_json: bool) -> None:
    """The version with the best value of a metric, wherever it was made."""
    store, name, _ = parse_reference(reference)
    opened = ModelStore(open_store(store))
    values = {
        version: {
            key: found["value"]
            for key, found in opened.manifest(name, version).evaluation.get("metrics", {}).items()
            if found.get("value") is not None
        }
        for version in opened.versions(name)
    }
    version = best_of(values, metric, lowest)
    uri = opened.uri(name, version)
    if as_json:
        click.echo(json.dumps({"version": version, "uri": uri, "value": values[version][metric]}))
        return
    click.echo(f"version {version} of {name}: {metric} {values[version][metric]:.6g}")
    click.echo(f"make it again:       kfp-suite reproduce {uri}")
    click.echo(f"search wider around: kfp-suite run tune --from {uri}")


@models.command("show")
@click.argument("reference", metavar="STORE/MODEL[/VERSION|/ALIAS]")
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
        "by run": manifest.run.get("name"),
        "digest": manifest.digest,
        "dataset": recipe["dataset_digest"],
        "transform": recipe["transform_digest"],
        "code": recipe["code_digest"],
        "module": recipe["module_digest"],
        "image": environment["image"],
        "environment": f"Python {environment['python']}, {environment['threads']} threads, "
        f"{environment['cpu']}, {len(environment['libraries'])} libraries",
        **{f"source {key}": value["digest"] for key, value in recipe["sources"].items()},
        **{key: json.dumps(value) for key, value in recipe["train"].items() if value != {}},
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
@click.argument("reference", metavar="STORE/MODEL/VERSION")
@click.argument("alias")
@click.option("--reason", default="set by hand", show_default=True)
@click.option("--history", is_flag=True, help="Show every move of the alias instead.")
def alias(reference: str, alias: str, reason: str, history: bool) -> None:
    """Point ALIAS at a version; its moves are kept."""
    opened, name, version = _version(reference)
    if not history:
        opened.set_alias(name, alias, version, reason)
        click.echo(f"{name}: {alias} is version {version}")
        return
    for move in opened.alias_history(name, alias):
        click.echo(f"{move.moved or '?'}  version {move.version}  {move.reason}")


@models.command("rollback")
@click.argument("reference", metavar="STORE/MODEL")
@click.option("--alias", default=CHAMPION, show_default=True)
def rollback(reference: str, alias: str) -> None:
    """Point an alias at the version it named before.

    Once: run again, it changes nothing. To go back further, name the version:
    `kfp-suite models alias STORE/MODEL/VERSION champion`.
    """
    store, name, wanted = parse_reference(reference)
    if wanted:
        raise ParameterError(
            "rollback takes a model, not a version", got=reference, expected="STORE/MODEL"
        )
    move = ModelStore(open_store(store)).rollback(name, alias)
    click.echo(f"{name}: {alias} is version {move.version} again ({move.reason})")


@models.command("verify")
@click.argument("reference", metavar="STORE/MODEL[/VERSION|/ALIAS]")
def verify(reference: str) -> None:
    """Recompute every digest of a version, or of all versions of a model."""
    store, name, wanted = parse_reference(reference)
    opened = ModelStore(open_store(store))
    versions = [opened.resolve(name, wanted)] if wanted else opened.versions(name)
    for version in versions or [opened.resolve(name)]:
        manifest = opened.verify(name, version)
        click.echo(f"{name} version {version}: {len(manifest.files)} files, all as published")


def _version(reference: str) -> tuple[ModelStore, str, int]:
    store, name, wanted = parse_reference(reference)
    opened = ModelStore(open_store(store))
    return opened, name, opened.resolve(name, wanted)
