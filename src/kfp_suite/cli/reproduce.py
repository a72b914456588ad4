"""kfp-suite reproduce."""

from __future__ import annotations

import json

import click

from kfp_suite.cli.native_output import set_aside
from kfp_suite.cli.references import find_reference, version_argument
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.local.reproduce import reproduce as make_again
from kfp_suite.local.reproduce import to_json
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore


@click.command("reproduce")
@version_argument
@click.option(
    "--source",
    "sources",
    metavar="NAME=PATH",
    multiple=True,
    help="Where a source is now, if it moved. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def reproduce(reference: str, sources: tuple[str, ...], as_json: bool) -> None:
    """Rebuild a published model from its manifest alone, and compare digests.

    Exit code 0 and "identical", or 1 and what differs, first cause first.
    """
    moved = {}
    for given in sources:
        name, separator, path = given.partition("=")
        if not separator:
            raise ParameterError("not a source", where="--source", got=given, expected="NAME=PATH")
        moved[name] = path
    store, model, wanted = find_reference(reference)
    models = ModelStore(open_store(store))
    version = models.resolve(model, wanted)

    def say(step: str) -> None:
        click.echo(f"{step} …", err=True)

    with set_aside():
        found = make_again(models, model, version, moved, say)
    if as_json:
        click.echo(json.dumps(to_json(found)))
    elif found.identical:
        click.echo(
            f"identical: {model} version {version}, {models.manifest(model, version).digest}"
        )
        for cause in found.causes:
            click.echo(f"  although {cause}")
    else:
        click.echo(f"different: {model} version {version}")
        for difference in (*found.causes, *found.results):
            click.echo(f"  {difference}")
    if not found.identical:
        raise click.exceptions.Exit(1)
