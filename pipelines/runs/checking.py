"""The endpoint that a local run deployed: started, asked, and then made champion."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_suite.components.contracts.errors import EndpointError
from kfp_suite.components.contracts.model import SAMPLE_REQUEST
from kfp_suite.components.stores.store import open_store
from kfp_suite.components.stores.versions import CHAMPION, ModelStore
from kfp_suite.pipelines.runs.local import LocalRun
from kfp_suite.pipelines.runs.serving import Endpoint, local_endpoint


@dataclass(frozen=True)
class Checked:
    """An endpoint that answered: it, and what a person is told of it."""

    endpoint: Endpoint
    found: dict[str, Any]


@contextmanager
def checked_endpoint(finished: LocalRun, port: int | None = None) -> Iterator[Checked]:
    """Serve what a run deployed, send the model's sample request, and make it champion.

    Args:
        finished: A run whose record names an endpoint with a manifest.
        port: The endpoint's port; None: a free one.

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
    with local_endpoint(str(manifest), name, port) as served:
        answer = served.ask(json.loads(content))
        if answer.version != str(version):
            raise EndpointError(
                "another version answered", where=served.url, got=answer.version, expected=version
            )
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
        found = {
            "url": served.url,
            "manifest": str(manifest),
            "version": version,
            "answer": answer.body,
            "curl": "curl -H 'content-type: application/json' "
            f"-d @{shlex.quote(str(request))} {served.url}",
            "serve": f"kfp-suite serve {shlex.quote(str(manifest))} --port {served.port}",
        }
        yield Checked(served, found)
