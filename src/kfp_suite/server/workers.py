"""Several processes behind one port, for machines with more cores than one process uses.

Each loads the model itself. The port is opened once and handed to all, so that a connection
waits while one of them restarts. Any of them answers `/metrics` with the sum of their counters,
which they share in files, in memory if there is such a folder.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.multiprocess import MultiProcessCollector

from kfp_suite.runtimes.local import bind, ending_with_us
from kfp_suite.server.keep_alive import MAX_LINGER_SECONDS, refuse_new

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client learns that it is one of several."""
_MEMORY = Path("/dev/shm")  # noqa: S108 - writable in a pod with a read-only root, too
_BACKLOG = 2048
_POLL_SECONDS = 0.2
_EXIT_SECONDS = 2.0

log = logging.getLogger(__name__)


def run_workers(
    count: int,
    arguments: Sequence[str],
    host: str,
    port: int,
    *,
    drain: float,
    started: Callable[[], None],
) -> int:
    """Serve until a signal; a worker that was killed, or ended itself, is started again.

    A worker that exits with an error ends all: it could not load the model, and never will.

    Args:
        count: Number of workers.
        arguments: Of the command; each worker is also given `--socket`.
        host: The address to bind to.
        port: Of HTTP.
        drain: Seconds for a worker to finish its requests.
        started: Called when all are started: the port is open, and they load the model.

    Returns:
        The exit code: that of a worker which failed.

    Raises:
        EndpointError: the port is in use.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    folder = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="kfp-suite-metrics-", dir=folder) as metrics,
        ExitStack() as opened,
    ):
        listeners = [opened.enter_context(one) for one in bind(host, port)]
        for listener in listeners:
            listener.listen(_BACKLOG)
        command = [sys.executable, "-P", "-m", "kfp_suite.server", *arguments]
        numbers = tuple(listener.fileno() for listener in listeners)
        command += [f"--socket={number}" for number in numbers]

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(  # noqa: S603 - this command, once more
                ending_with_us(command),
                env={**os.environ, METRICS_FOLDER: metrics},
                pass_fds=numbers,
            )

        workers = [start() for _ in range(count)]
        started()
        code = 0
        while not code and not ended.wait(_POLL_SECONDS):
            for i, worker in enumerate(workers):
                if worker.poll() is None:
                    continue
                if worker.returncode > 0:
                    code = worker.returncode
                    break
                log.warning("worker %d ended (%d): started again", worker.pid, worker.returncode)
                workers[i] = start()
        for listener in listeners:
            refuse_new(listener)
            listener.close()
        _end(workers, MAX_LINGER_SECONDS + drain + _EXIT_SECONDS)
        return code


def _end(workers: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    """Let them finish their requests, then end them."""
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + seconds
    for worker in workers:
        with suppress(subprocess.TimeoutExpired):
            worker.wait(max(0.0, deadline - time.monotonic()))
        worker.kill()
        worker.wait()


def summed_registry() -> CollectorRegistry:
    """The sum of all workers' counters."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


async def summed_metrics(request: Request) -> Response:
    """The metrics page of all workers' counters."""
    registry = summed_registry()
    encode, content_type = exposition.choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), headers={"content-type": content_type})
