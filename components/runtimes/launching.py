"""How each server is started on a layout, on this machine.

Each is looked for as its program on the path, or where a variable says: an environment of
its own keeps its libraries apart from ours.

    kfp-suite    this Python
    mlserver     `mlserver`            KFP_SUITE_MLSERVER
    triton       `tritonserver`        KFP_SUITE_TRITON
    torchserve   `torchserve`          KFP_SUITE_TORCHSERVE
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kfp_suite.components.contracts.errors import ParameterError
from kfp_suite.components.runtimes.local import LOOPBACK, Launch, LocalServer, free_port
from kfp_suite.components.runtimes.runtime import SUITE


@dataclass(frozen=True)
class Loaded:
    """What a server is started on: the name and the version that it serves, and the folder."""

    name: str
    version: int
    folder: Path


def start(
    runtime: str, loaded: Loaded, port: int | None = None, *, predictor: str = ""
) -> LocalServer:
    """Start a server on a layout; it may not answer yet.

    Args:
        runtime: The server.
        loaded: Name, version and layout.
        port: Of HTTP; None: a free one.
        predictor: `host:port` of the predictor that our server is the transformer of; with
            `/output` where one of its outputs is asked for.

    Raises:
        ParameterError: it cannot be started outside its image.
        EndpointError: its program is not there.
    """
    port = port or free_port()
    if runtime not in _LAUNCHERS:
        raise ParameterError(
            f"runtime '{runtime}' cannot be started on this machine",
            where="runtime",
            expected=", ".join(sorted(_LAUNCHERS)),
            fix="deploy it on a cluster",
        )
    launch = _LAUNCHERS[runtime](loaded, port)
    if predictor:
        host, _, output = predictor.partition("/")
        more = [f"--predictor_host={host}", *([f"--predictor_outputs={output}"] if output else [])]
        launch = Launch((*launch.arguments, *more), launch.ready)
    return LocalServer(launch, port)


def _suite(loaded: Loaded, port: int) -> Launch:
    arguments = (
        sys.executable,
        "-m",
        "kfp_suite.components.server",
        f"--model_name={loaded.name}",
        f"--model_dir={loaded.folder}",
        f"--model_version={loaded.version}",
        f"--host={LOOPBACK}",
        f"--http_port={port}",
        "--grpc_port=0",
    )
    return Launch(arguments, f"/v2/models/{loaded.name}/ready")


_LAUNCHERS: dict[str, Callable[[Loaded, int], Launch]] = {SUITE: _suite}
