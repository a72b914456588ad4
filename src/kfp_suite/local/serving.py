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

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.runtimes.http_client import VERSION_CHOICE, Answer, ask
from kfp_suite.runtimes.local import LOOPBACK, check_port, free_port
from kfp_suite.runtimes.protocol import Question

_START_SECONDS = 120.0
_STOP_SECONDS = 15.0
_COMMAND = ("-P", "-c", "from kfp_suite.cli.main import main; main()")


class ModelAddress:
    """A model at an address, of any server."""

    def __init__(self, name: str, base: str) -> None:
        """`base`: the address of the server, `http://host:port`."""
        self.name, self.base = name, base
        self.url = f"{self.base}/v1/models/{name}:predict"

    def ask(self, request: Mapping[str, Any], version: str = "") -> Answer:
        """Predict.

        Args:
            request: The body, as V1 has it.
            version: The version that is to answer, of an endpoint that serves two; empty:
                whichever it is.

        Raises:
            EndpointError: no answer, or not 200.
        """
        question = Question(f"/v1/models/{self.name}:predict", dict(request))
        return ask(self.base, question, headers={VERSION_CHOICE: version} if version else None)

    def ready(self) -> bool:
        """Whether the model is loaded and answers."""
        try:
            with urllib.request.urlopen(  # noqa: S310
                f"{self.base}/v2/models/{self.name}/ready", timeout=2
            ) as response:
                return bool(response.status == 200)
        except OSError:
            return False


class Endpoint(ModelAddress):
    """A model that a process of ours serves."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[str]) -> None:
        super().__init__(name, f"http://{LOOPBACK}:{port}")
        self.port, self.process = port, process


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
        EndpointError: the port is taken, or the server did not come up; with the last line of its
            output.
    """
    if port is not None:
        check_port(LOOPBACK, port)  # else a server that is there already would be asked
    port = port or free_port()
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(  # noqa: S603 - this command, in a child
            [
                sys.executable,
                *_COMMAND,
                "serve",
                reference,
                *arguments,
                "--port",
                str(port),
            ],
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
