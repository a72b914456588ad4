"""The endpoint that a local run deployed: started, asked, and then made champion."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.contracts.model import SAMPLE_REQUEST
from kfp_suite.kserve.gateway_status import (
    answers,
    read_status,
    wait_until_observed,
)
from kfp_suite.local.local import LocalRun
from kfp_suite.local.serving import ModelAddress, local_endpoint
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import CHAMPION, ModelStore

# A gateway that follows the manifest may still be starting its version.
_FOLLOW_SECONDS = 120.0


@dataclass(frozen=True)
class Checked:
    """An endpoint that answered: it, the process that serves it (None: a gateway that was there
    before), and the user's instructions."""

    endpoint: ModelAddress
    process: subprocess.Popen[str] | None
    found: dict[str, Any]


@contextmanager
def checked_endpoint(finished: LocalRun, port: int | None = None) -> Iterator[Checked]:
    """Serve what a run deployed, send the model's sample request, and make it champion.

    If a gateway follows the manifest already, that one gets the request, and no other is started. A
    rollout has moved the champion by itself, or left it where it was.

    Args:
        finished: A run whose record names an endpoint with a manifest.
        port: The endpoint's port; None: a free one. Not used if a gateway is there.

    Raises:
        EndpointError: it does not answer, or another version does.
        AlreadyExistsError: another version has become champion since it was deployed.
    """
    endpoint = finished.record.endpoint
    assert endpoint is not None
    manifest = Path(endpoint["manifest"])
    models = ModelStore(open_store(endpoint["store"]))
    name, version = endpoint["model"], endpoint["version"]
    content = models.store.read(
        f"{name}/{version}/{models.manifest(name, version).path}/{SAMPLE_REQUEST}"
    )
    with _open_endpoint(manifest, endpoint.get("name") or name, port) as (served, process):
        answer = served.ask(json.loads(content), str(version))
        if answer.version != str(version):
            raise EndpointError(
                "another version answered", where=served.url, got=answer.version, expected=version
            )
        if "promoted" not in endpoint:
            # Of two runs at once, the second was not compared with the first one's version.
            models.set_alias(
                name,
                CHAMPION,
                version,
                f"answered in {finished.record.run}",
                expected=endpoint.get("champion"),
            )
        request = finished.folder / SAMPLE_REQUEST
        request.write_bytes(content)
        port_used = urlsplit(served.base).port
        found = {
            "url": served.url,
            "manifest": str(manifest),
            "version": version,
            "answer": answer.body,
            "curl": "curl -H 'content-type: application/json' "
            f"-d @{shlex.quote(str(request))} {served.url}",
            "serve": f"kfp-suite serve {shlex.quote(str(manifest))} --port {port_used}",
        }
        yield Checked(served, process, found)


@contextmanager
def _open_endpoint(
    manifest: Path, name: str, port: int | None
) -> Iterator[tuple[ModelAddress, subprocess.Popen[str] | None]]:
    """The endpoint of a manifest: by the gateway that follows it, or by one until the block
    ends."""
    status = read_status(manifest)
    if status is None or not answers(status):
        with local_endpoint(str(manifest), name, port) as started:
            yield started, started.process
        return
    status = wait_until_observed(manifest, _FOLLOW_SECONDS)
    yield ModelAddress(name, status.url), None
