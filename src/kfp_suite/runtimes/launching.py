"""The command that starts each server on a layout, on this machine.

Its program is looked up on the path, or in a variable, so that a server can have an
environment of its own, apart from our libraries.

    kfp-suite    this Python
    mlserver     `mlserver`            KFP_SUITE_MLSERVER
    triton       `tritonserver`        KFP_SUITE_TRITON
    torchserve   `torchserve`          KFP_SUITE_TORCHSERVE
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.errors import EndpointError, ParameterError
from kfp_suite.runtimes import torchserve
from kfp_suite.runtimes.local import LOOPBACK, Launch, LocalServer, free_port
from kfp_suite.runtimes.runtime import MLSERVER, SUITE, TORCHSERVE, TRITON


@dataclass(frozen=True)
class Loaded:
    """The model of a server: name, version and folder; and our server's limit of a prediction
    in seconds, 0: its default."""

    name: str
    version: int
    folder: Path
    predict_seconds: int = 0


_PROGRAMS = {
    MLSERVER: {"mlserver": "KFP_SUITE_MLSERVER"},
    TRITON: {"tritonserver": "KFP_SUITE_TRITON"},
    TORCHSERVE: {"torchserve": "KFP_SUITE_TORCHSERVE", "java": "KFP_SUITE_JAVA"},
}


def check_startable(runtime: str) -> None:
    """Whether a server can be started on this machine.

    Raises:
        ParameterError: it cannot be started outside its image.
        EndpointError: its program is not installed.
    """
    if runtime not in _LAUNCHERS:
        raise ParameterError(
            f"runtime '{runtime}' cannot be started on this machine",
            where="runtime",
            expected=", ".join(sorted(_LAUNCHERS)),
            fix="deploy it on a cluster",
        )
    for name in _PROGRAMS.get(runtime, ()):
        _program(runtime, name)


def start(
    runtime: str, loaded: Loaded, port: int | None = None, *, predictor: str = ""
) -> LocalServer:
    """Start a server on a layout; it may not answer yet.

    Args:
        runtime: The server.
        loaded: Name, version and layout.
        port: Of HTTP; None: a free one.
        predictor: `host:port` of the predictor that our server is the transformer of; with
            `/output` to request one of its outputs.

    Raises:
        ParameterError: it cannot be started outside its image.
        EndpointError: its program is not installed.
    """
    check_startable(runtime)
    port = port or free_port()
    scratch = tempfile.TemporaryDirectory(prefix=f"kfp-suite-{runtime}-")
    try:
        launch = _LAUNCHERS[runtime](loaded, port, Path(scratch.name))
    except BaseException:
        scratch.cleanup()
        raise
    if predictor:
        host, _, output = predictor.partition("/")
        more = [f"--predictor_host={host}", *([f"--predictor_outputs={output}"] if output else [])]
        launch = replace(launch, arguments=(*launch.arguments, *more))
    return LocalServer(launch, port, scratch)


def _suite(loaded: Loaded, port: int, scratch: Path) -> Launch:
    del scratch  # it writes nothing
    grpc = free_port()
    arguments = (
        sys.executable,
        "-P",
        "-m",
        "kfp_suite.server",
        f"--model_name={loaded.name}",
        f"--model_dir={loaded.folder}",
        f"--model_version={loaded.version}",
        f"--host={LOOPBACK}",
        f"--http_port={port}",
        f"--grpc_port={grpc}",
        *([f"--predict-timeout={loaded.predict_seconds}"] if loaded.predict_seconds else []),
    )
    return Launch(arguments, f"/v2/models/{loaded.name}/ready", grpc_port=grpc)


def _mlserver(loaded: Loaded, port: int, scratch: Path) -> Launch:
    program = _program(MLSERVER, "mlserver")
    grpc = free_port()
    environment = {
        "MLSERVER_HOST": LOOPBACK,
        "MLSERVER_HTTP_PORT": str(port),
        "MLSERVER_GRPC_PORT": str(grpc),
        "MLSERVER_METRICS_PORT": str(free_port()),
        "MLSERVER_PARALLEL_WORKERS": "0",
        "MLSERVER_DEBUG": "false",
    }
    arguments = (str(program), "start", str(loaded.folder))
    ready = f"/v2/models/{loaded.name}/ready"
    return Launch(arguments, ready, environment, scratch, grpc_port=grpc)


def _triton(loaded: Loaded, port: int, scratch: Path) -> Launch:
    """Triton of the wheel nvidia-pytriton, which has the Python backend alone."""
    program = _program(TRITON, "tritonserver")
    home = _home(program)
    site, libraries = _site(home)
    triton = site / "pytriton" / "tritonserver"
    backend = scratch / "backends" / "python"
    if triton.is_dir():
        shutil.copytree(triton / "backends" / "python", backend)
        python = "{}.{}".format(*site.parent.name.removeprefix("python").split("."))
        stub = triton / "python_backend_stubs" / python / "triton_python_backend_stub"
        shutil.copy(stub, backend)
        # The backend looks for modules in its own folder, and ignores PYTHONPATH.
        (backend / "kfp_suite").symlink_to(_suite_folder())
        program = triton / "bin" / "tritonserver"
    grpc, metrics = free_port(), free_port()
    arguments = (
        str(program),
        f"--model-repository={loaded.folder}",
        *([f"--backend-directory={backend.parent}"] if backend.is_dir() else []),
        *(f"--{kind}-address={LOOPBACK}" for kind in ("http", "grpc", "metrics")),
        *(f"--http-port={port}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"),
        "--allow-gpu-metrics=false",
        "--exit-timeout-secs=5",
    )
    environment = {
        "PATH": f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "LD_LIBRARY_PATH": f"{site / 'nvidia_pytriton.libs'}:{libraries}",
        "OMP_NUM_THREADS": "1",
    }
    ready = f"/v2/models/{loaded.name}/ready"
    return Launch(arguments, ready, environment, scratch, grpc_port=grpc)


def _torchserve(loaded: Loaded, port: int, scratch: Path) -> Launch:
    """TorchServe's Java program itself: the command `torchserve` would leave it running."""
    program = _program(TORCHSERVE, "torchserve")
    java = _program(TORCHSERVE, "java")
    home = _home(program)
    site, _ = _site(home)
    management, grpc = free_port(), free_port()
    settings = scratch / "config.properties"
    given = (loaded.folder / torchserve.CONFIG).read_text()
    write_file(settings, _on_loopback(given, port, management, grpc).encode())
    (scratch / "tmp").mkdir()
    (scratch / "modules").mkdir()
    (scratch / "modules" / "kfp_suite").symlink_to(_suite_folder())
    arguments = (
        str(java),
        "-Xmx512m",
        f"-Dmodel_server_home={site}",
        f"-Djava.io.tmpdir={scratch / 'tmp'}",
        *("-cp", f"{site}/ts/frontend/*", "org.pytorch.serve.ModelServer"),
        *("--python", str(home / "bin" / "python"), "-f", str(settings)),
        *("-s", str(loaded.folder / torchserve.STORE), "-ncs"),
    )
    environment = {
        "PATH": f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "TMPDIR": str(scratch / "tmp"),
        "PYTHONPATH": str(scratch / "modules"),
        "LOG_LOCATION": str(scratch / "logs"),
        "METRICS_LOCATION": str(scratch / "logs"),
        "OMP_NUM_THREADS": "1",
    }
    keys = scratch / "key_file.json"

    def headers(kind: str = "inference") -> Mapping[str, str]:
        try:
            key = json.loads(keys.read_text())[kind]["key"]
        except (OSError, ValueError, KeyError):
            return {}  # tokens are off, or it has not written them yet
        return {"Authorization": f"Bearer {key}"}

    def ready() -> bool:
        url = f"http://{LOOPBACK}:{management}/models/{loaded.name}/all"
        call = urllib.request.Request(url, headers=dict(headers("management")))
        try:
            with urllib.request.urlopen(call, timeout=2) as response:  # noqa: S310
                versions = json.load(response)
            workers = [version.get("workers") or [{}] for version in versions]
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            return False
        return all(worker.get("status") == "READY" for found in workers for worker in found)

    return Launch(arguments, ready, environment, scratch, headers, grpc)


def _on_loopback(config: str, inference: int, management: int, grpc: int) -> str:
    """TorchServe's configuration with addresses of this machine."""
    lines = dict(line.split("=", 1) for line in config.splitlines() if "=" in line)
    lines |= {
        "inference_address": f"http://{LOOPBACK}:{inference}",
        "management_address": f"http://{LOOPBACK}:{management}",
        "metrics_address": f"http://{LOOPBACK}:{free_port()}",
        "grpc_inference_address": LOOPBACK,
        "grpc_management_address": LOOPBACK,
        "grpc_inference_port": str(grpc),
        "grpc_management_port": str(free_port()),
        "disable_system_metrics": "true",
        "number_of_netty_threads": "2",
    }
    del lines["model_store"]
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def _program(runtime: str, name: str) -> Path:
    """A program of a server, by its variable or on the path. Raises EndpointError."""
    variable = _PROGRAMS[runtime][name]
    given = os.environ.get(variable) or shutil.which(name)
    if not given or not Path(given).exists():
        raise EndpointError(
            f"no program '{name}' here",
            where=given or "PATH",
            fix=f"install it in an environment of its own and set {variable}; see docs/runtimes.md",
        )
    return Path(given)


def _home(program: Path) -> Path:
    """The environment that a program is in."""
    return program.parent.parent


def _site(home: Path) -> tuple[Path, str]:
    """The site-packages of an environment, and the folder of its Python's own libraries."""
    code = "import sysconfig as s; print(s.get_path('purelib')); print(s.get_config_var('LIBDIR'))"
    try:
        said = subprocess.run(  # noqa: S603 - the environment's own interpreter
            [str(home / "bin" / "python"), "-c", code], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError) as error:
        raise EndpointError(
            "not a Python environment", where=home, got=str(error), fix="see docs/runtimes.md"
        ) from error
    return Path(said[0]), said[1]


def _suite_folder() -> Path:
    """The folder of `kfp_suite`, which handlers import."""
    return Path(__file__).resolve().parents[1]


_LAUNCHERS: dict[str, Callable[[Loaded, int, Path], Launch]] = {
    SUITE: _suite,
    MLSERVER: _mlserver,
    TRITON: _triton,
    TORCHSERVE: _torchserve,
}
