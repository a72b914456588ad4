"""kfp-suite serve."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kfp_suite.components.contracts.errors import IntegrityError
from kfp_suite.components.kserve.manifests import read_served
from kfp_suite.components.stores.store import open_store
from kfp_suite.components.stores.versions import ModelStore, parse_reference

if TYPE_CHECKING:
    from kfp_suite.components.server.model import ServedVersion

LOOPBACK = "127.0.0.1"


@click.command("serve")
@click.argument("reference", metavar="MANIFEST|STORE/MODEL[/VERSION]")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option("--host", default=LOOPBACK, show_default=True, help="Address to bind HTTP to.")
@click.option("--grpc-port", type=click.IntRange(1, 65535), help="Serve gRPC, too.")
def serve(reference: str, port: int, host: str, grpc_port: int | None) -> None:
    """Serve a published version on this machine, with KServe's own server.

    An InferenceService manifest, or a model with a version or an alias, is served as it
    is. A model alone is its champion, and follows it: a new champion takes over without a
    dropped request.
    """
    name, models, wanted, digest = _target(reference)
    number = models.resolve(name, wanted)
    if digest and models.manifest_digest(name, number) != digest:
        raise IntegrityError(
            "the published version is not the one the manifest names",
            where=reference,
            got=models.manifest_digest(name, number),
            expected=digest,
            fix="deploy the version again",
        )
    sys.argv = sys.argv[:1]  # kserve reads the command line when it is imported
    from kfp_suite.components.server.model import VersionedModel
    from kfp_suite.components.server.serving import check_port
    from kfp_suite.components.server.serving import serve as serve_models

    check_port(host, port)
    with tempfile.TemporaryDirectory(prefix="kfp-suite-serve-") as scratch:
        model = VersionedModel(name, _load(models, name, number, Path(scratch)))

        def newer() -> ServedVersion | None:
            champion = models.resolve(name)
            if str(champion) == model.version:
                return None
            return _load(models, name, champion, Path(scratch))

        click.echo(f"{name} version {number}: http://{host}:{port}/v1/models/{name}:predict")
        serve_models(
            [model],
            host=host,
            http_port=port,
            grpc_port=grpc_port,
            newer=None if wanted else newer,
        )


def _target(reference: str) -> tuple[str, ModelStore, str, str]:
    """Model, store, version or alias ("" to follow the champion) and manifest digest."""
    if reference.endswith((".yaml", ".yml")):
        served = read_served(Path(reference))
        models = ModelStore(open_store(served.store))
        return served.model, models, str(served.version), served.manifest_digest
    store, name, wanted = parse_reference(reference)
    return name, ModelStore(open_store(store)), wanted, ""


def _load(models: ModelStore, name: str, number: int, scratch: Path) -> ServedVersion:
    from kfp_suite.components.models.loading import load_model
    from kfp_suite.components.server.model import ServedVersion

    folder = scratch / str(number)
    models.fetch(name, number, folder)
    return ServedVersion(str(number), load_model(folder, verify=False))
