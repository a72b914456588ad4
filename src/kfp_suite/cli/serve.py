"""kfp-suite serve."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kfp_suite.cli.completion import complete_model
from kfp_suite.cli.references import find_reference
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.runtimes.local import LOOPBACK
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore

if TYPE_CHECKING:
    from kfp_suite.server.model import ServedVersion, VersionedModel


@click.command("serve")
@click.argument(
    "references",
    metavar="MANIFEST|[STORE/]MODEL[/VERSION]...",
    nargs=-1,
    required=True,
    shell_complete=complete_model,
)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option("--host", default=LOOPBACK, show_default=True, help="Address to bind to.")
@click.option("--grpc-port", type=click.IntRange(1, 65535), help="Serve gRPC, too.")
@click.option(
    "--predict-timeout",
    type=click.FloatRange(0, min_open=True),
    help="Seconds a prediction may take; then 504.  [default: 60]",
)
@click.option(
    "--cors-origin",
    "cors_origins",
    metavar="ORIGIN",
    multiple=True,
    help="Origin of web pages that may send requests, * for all; may be repeated.  [default: none]",
)
def serve(
    references: tuple[str, ...],
    port: int,
    host: str,
    grpc_port: int | None,
    predict_timeout: float | None,
    cors_origins: tuple[str, ...],
) -> None:
    """Serve published versions on this machine, with KServe's own server.

    A model with a version or an alias is served as it is. A model alone is its champion,
    and follows it: a new champion takes over without a dropped request. Several models are
    served side by side, each by its name.

    Manifests (InferenceService, InferenceGraph) are served as KServe would: each version by
    the real server that it names, in a process of its own, behind one address that splits
    the traffic as a canary says. They are followed: a changed manifest takes over without a
    dropped request.
    """
    manifests = [Path(one) for one in references if one.endswith((".yaml", ".yml"))]
    if manifests:
        if len(manifests) < len(references) or (grpc_port, predict_timeout) != (None, None):
            raise ParameterError(
                "manifests are served by themselves, over HTTP, as they say",
                where="kfp-suite serve",
                fix="serve STORE/MODEL[/VERSION] in a process of its own, with these options",
            )
        from kfp_suite.runtimes.local import check_port
        from kfp_suite.server.gateway.serving import serve_manifests

        check_port(host, port)
        serve_manifests(manifests, host=host, port=port, cors_origins=cors_origins)
        return
    found = [_find(reference) for reference in references]
    names = [target.name for target in found]
    for name in names:
        if names.count(name) > 1:
            raise ParameterError(f"model '{name}' is there twice", where="kfp-suite serve")
    sys.argv = sys.argv[:1]  # kserve reads the command line when it is imported
    from kfp_suite.runtimes.local import check_grpc_port, check_port
    from kfp_suite.server.limits import PREDICT_SECONDS
    from kfp_suite.server.model import VersionedModel
    from kfp_suite.server.serving import serve as serve_models

    check_port(host, port)
    check_grpc_port(host, grpc_port, port)
    seconds = predict_timeout or PREDICT_SECONDS
    with tempfile.TemporaryDirectory(prefix="kfp-suite-serve-") as scratch:
        models = {}
        for target in found:
            model = VersionedModel(
                target.name,
                target.load(target.version, Path(scratch)),
                predict_seconds=seconds,
            )
            models[model] = _newer(target, model, Path(scratch)) if target.follows else None
        serve_models(
            models,
            host=host,
            http_port=port,
            grpc_port=grpc_port,
            predict_seconds=seconds,
            cors_origins=cors_origins,
        )


@dataclass(frozen=True)
class _Target:
    """A version to serve, of a model that may be followed."""

    models: ModelStore
    name: str
    version: int
    follows: bool

    def load(self, version: int, scratch: Path) -> ServedVersion:
        from kfp_suite.server.model import ServedVersion

        folder = scratch / self.name / str(version)
        self.models.fetch(self.name, version, folder)
        return ServedVersion.load(str(version), folder, verify=False)


def _newer(
    target: _Target, model: VersionedModel, scratch: Path
) -> Callable[[], ServedVersion | None]:
    def newer() -> ServedVersion | None:
        champion = target.models.resolve(target.name)
        return None if str(champion) == model.version else target.load(champion, scratch)

    return newer


def _find(reference: str) -> _Target:
    """What a reference names."""
    store, name, wanted = find_reference(reference)
    models = ModelStore(open_store(store))
    return _Target(models, name, models.resolve(name, wanted), follows=not wanted)
