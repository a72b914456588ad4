"""A model server in its image, without privileges, started as KServe's ServingRuntimes start it."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.model import Model
from kfp_suite.kserve.images import default_image
from kfp_suite.kserve.pods import SERVER_COMMAND
from kfp_suite.runtimes.layout import parse_options
from kfp_suite.runtimes.local import LOOPBACK, Launch, LocalServer, free_port
from kfp_suite.runtimes.runtime import (
    MLSERVER,
    SKLEARN,
    SUITE,
    TENSORFLOW_SERVING,
    TRITON,
)

MOUNT = "/mnt/models"
_SECONDS_A_COMMAND = 30


class Container(LocalServer):
    """A server in a container; its process is the `docker run` that is attached to it."""

    def __init__(
        self, launch: Launch, port: int, scratch: tempfile.TemporaryDirectory[str], name: str
    ) -> None:
        super().__init__(launch, port, scratch)
        self._name = name

    def peak_memory(self) -> int:
        """Bytes that its processes hold at most, 0 if that cannot be told."""
        # A process that has just gone makes cat fail, and changes nothing.
        said = _docker("exec", self._name, "sh", "-c", "cat /proc/[0-9]*/status")
        lines = [line.split() for line in said.splitlines() if line.startswith("VmHWM:")]
        return sum(int(line[1]) * 1024 for line in lines)

    def kill(self) -> None:
        """Remove the container: the daemon's, it outlives the `docker run` that is killed."""
        super().kill()
        _docker("rm", "--force", self._name)


def _docker(*arguments: str) -> str:
    """What a command of Docker says; nothing where it does not answer."""
    try:
        done = subprocess.run(  # noqa: S603
            ["docker", *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=_SECONDS_A_COMMAND,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def start_container(parameters: Any, artifact: Model, layout: Path) -> Container:
    """Start the server in its image.

    Args:
        parameters: `InfraParameters`.
        artifact: The candidate.
        layout: The candidate as the server loads it.

    Raises:
        ParameterError: there is no image for it, or no Docker.
    """
    if shutil.which("docker") is None:
        raise ParameterError("Docker is not installed", where="place", fix="use place 'process'")
    port, name = free_port(), parameters.name
    command = _command(parameters, artifact)
    scratch = tempfile.TemporaryDirectory(prefix="kfp-suite-container-")
    identity = Path(scratch.name).name  # as free as the folder's name is
    arguments = (
        *("docker", "run", "--rm", "--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp"),  # noqa: S108
        *("--security-opt", "no-new-privileges", "--user", "65532:65532"),
        # A process of its own before the server passes on what ends it: see signal(7) on init.
        *("--init", "--name", identity),
        *("--publish", f"{LOOPBACK}:{port}:8080", "--volume", f"{layout}:{MOUNT}:ro"),
        *command,
    )
    for path in (layout, *layout.rglob("*")):  # the container's user is nobody of ours
        path.chmod(0o755 if path.is_dir() else 0o644)
    ready = (
        _available(f"http://{LOOPBACK}:{port}/v1/models/{name}")
        if parameters.runtime == TENSORFLOW_SERVING
        else f"/v2/models/{name}/ready"
    )
    return Container(Launch(arguments, ready), port, scratch, identity)


def _command(parameters: Any, artifact: Model) -> tuple[str, ...]:
    """The end of `docker run`: environment, image and arguments."""
    name, runtime = parameters.name, parameters.runtime
    if runtime == SUITE:
        image = parameters.image or default_image(artifact.manifest.framework)
        return (
            *("--entrypoint", SERVER_COMMAND[0], image, *SERVER_COMMAND[1:]),
            *(f"--model_name={name}", f"--model_dir={MOUNT}", "--model_version=1"),
        )
    if runtime not in _STARTED or not parameters.image:
        raise ParameterError(
            f"runtime '{runtime}' has no container here",
            where="place",
            expected=f"image, and one of {', '.join((SUITE, *_STARTED))}",
            fix="set image to the server's, or use place 'process' or 'cluster'",
        )
    before, after = _STARTED[runtime](name, parameters.runtime_options, artifact)
    return (*before, parameters.image, *after)


def _sklearn(
    name: str, options: Mapping[str, Any], artifact: Model
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    del options  # it has none
    probabilities = len(artifact.manifest.signature.outputs) > 1
    return (
        ("--env", "PREDICT_PROBA=true") if probabilities else (),
        (f"--model_name={name}", f"--model_dir={MOUNT}", "--http_port=8080"),
    )


def _mlserver(
    name: str, options: Mapping[str, Any], artifact: Model
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    del name, options, artifact  # all is in its layout
    return ("--env", "MLSERVER_HTTP_PORT=8080", "--env", f"MLSERVER_MODELS_DIR={MOUNT}"), ()


def _triton(
    name: str, options: Mapping[str, Any], artifact: Model
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    del name, options, artifact
    return (), ("tritonserver", f"--model-store={MOUNT}", "--http-port=8080")


def _tensorflow(
    name: str, options: Mapping[str, Any], artifact: Model
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    from kfp_suite.runtimes.tensorflow_serving import arguments

    del artifact
    return ("--entrypoint", "/usr/bin/tensorflow_model_server"), (
        *(f"--model_name={name}", "--rest_api_port=8080", f"--model_base_path={MOUNT}"),
        *arguments(parse_options(TENSORFLOW_SERVING, options), MOUNT),
    )


def _available(url: str) -> Callable[[], bool]:
    """TensorFlow Serving answers for a model that it still loads, too."""

    def ready() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310
                states = json.load(response)["model_version_status"]
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            return False
        return bool(states) and all(one["state"] == "AVAILABLE" for one in states)

    return ready


_STARTED = {
    SKLEARN: _sklearn,
    MLSERVER: _mlserver,
    TRITON: _triton,
    TENSORFLOW_SERVING: _tensorflow,
}
