"""The server's own OpenAPI, by schemathesis: whatever it allows, no answer is a 5xx."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kfp_suite.local.serving import local_endpoint
from kfp_suite.stores.versions import ModelStore
from tests.servers.conftest import environment


def test_no_request_that_the_openapi_allows_is_an_error_of_ours(
    models: ModelStore, tmp_path: Path
) -> None:
    program = environment("schemathesis") / "bin" / "schemathesis"
    with local_endpoint(f"{models.store.uri}/wings/1", "wings") as endpoint:
        done = subprocess.run(
            [
                *(str(program), "run", f"{endpoint.base}/openapi.json", "--seed", "1"),
                *("--checks", "not_a_server_error", "--max-examples", "100"),
                *("--phases", "examples,coverage,fuzzing", "--request-timeout", "20"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert endpoint.ready()
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
