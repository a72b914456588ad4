"""An endpoint on this machine for as long as somebody needs it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kfp_suite.components.contracts.errors import EndpointError
from kfp_suite.components.runtimes.asking import Answer, ask
from kfp_suite.components.runtimes.exchange import Question
from kfp_suite.components.runtimes.local import LOOPBACK, free_port

_START_SECONDS = 120.0
_STOP_SECONDS = 15.0
_COMMAND = "from kfp_suite.pipelines.cli.main import main; main()"


class Endpoint:
    """A served model."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[str]) -> None:
        self.name, self.port, self.process = name, port, process
        self.base = f"http://{LOOPBACK}:{port}"
        self.url = f"{self.base}/v1/models/{name}:predict"

    def ask(self, request: Mapping[str, Any]) -> Answer:
        """Predict.

        Raises:
            EndpointError: no answer, or not 200.
        """
        return ask(self.base, Question(f"/v1/models/{self.name}:predict", dict(request)))

    def ready(self) -> bool:
        """Whether the model is loaded and answers."""
        try:
            with urllib.request.urlopen(  # noqa: S310
                f"{self.base}/v2/models/{self.name}/ready", timeout=2
            ) as response:
                return bool(response.status == 200)
        except OSError:
            return False


@contextmanager
def local_endpoint(
    reference: str, name: str, port: int | None = None, arguments: Sequence[str] = ()
) -> Iterator[Endpoint]:
    """Serve a manifest or a version in a child process until the block ends.

    Args:
        reference: What `kfp-suite serve` takes.
        name: The model's name.
        port: None: a free one.
        arguments: More of them.

    Raises:
        EndpointError: it did not come up; with the last thing it said.
    """
    port = port or free_port()
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(  # noqa: S603 - this command, in a child
            [sys.executable, "-c", _COMMAND, "serve", reference, *arguments, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            endpoint = Endpoint(name, port, process)
            _wait(endpoint, log)
            yield endpoint
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(endpoint: Endpoint, log: Any) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not endpoint.ready():
        if endpoint.process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            said = [line.strip() for line in log if line.strip()]
            raise EndpointError(
                "the model server did not start",
                where=endpoint.url,
                got=said[-1].removeprefix("error: ") if said else "not a word",
                fix="start it with kfp-suite serve to see all it says",
            )
        time.sleep(0.1)
