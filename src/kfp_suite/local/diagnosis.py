"""What this machine can run: on its own, and in containers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from kfp_suite.contracts.environment import DISTRIBUTION, available_cpus
from kfp_suite.local.findings import Finding, judged

_LOCAL_MODULES = {
    "pipelines": ("kfp", "click", "rich"),
    "sklearn": ("duckdb", "pyarrow", "sklearn", "skops", "onnxruntime", "tensorflow_metadata"),
    "serving": ("kserve", "orjson"),
    "stores": ("google.cloud.storage", "boto3"),
    "deploy": ("kubernetes",),
}
_TIMEOUT_SECONDS = 10


def diagnose(root: Path) -> list[Finding]:
    """Look at everything; nothing is changed and no secret is read."""
    return [*_local(root), *_docker()]


def _local(root: Path) -> list[Finding]:
    version = platform.python_version()
    findings = [
        judged(
            "local",
            "Python",
            (3, 11) <= sys.version_info[:2] <= (3, 13),
            version,
            "use Python 3.11, 3.12 or 3.13",
        )
    ]
    for extra, modules in _LOCAL_MODULES.items():
        missing = [name for name in modules if not _installed(name)]
        findings.append(
            judged(
                "local",
                f"libraries of [{extra}]",
                not missing,
                f"missing: {', '.join(missing)}" if missing else "installed",
                f"pip install '{DISTRIBUTION}[{extra}]'",
            )
        )
    folder = root.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    findings.append(
        judged("local", "disk", free > 2, f"{free:.0f} GiB free in {folder}", "free 2 GiB")
    )
    findings.append(
        judged(
            "local",
            "runs folder",
            os.access(folder, os.W_OK) and "python3" not in str(root.absolute()),
            str(root.absolute()),
            "choose a writable --root without 'python3' in its path",
        )
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    findings.append(
        judged(
            "local",
            "machine",
            memory > 2,
            f"{available_cpus()} CPUs, {memory:.0f} GiB",
            "use a machine with 4 GiB of memory",
        )
    )
    return findings


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _docker() -> list[Finding]:
    client = shutil.which("docker")
    if client is None:
        return [judged("docker", "client", False, "not on the path", "install Docker")]
    daemon = _run([client, "version", "--format", "{{.Server.Version}}"])
    findings = [
        judged("docker", "client", True, client),
        judged(
            "docker",
            "daemon",
            daemon is not None,
            f"version {daemon}" if daemon else "does not answer",
            "start dockerd, or set DOCKER_HOST",
        ),
        judged(
            "docker",
            "Python client",
            _installed("docker"),
            "installed" if _installed("docker") else "missing",
            "pip install docker",
        ),
    ]
    if daemon:
        images = _run([client, "images", "--format", "{{.Repository}}:{{.Tag}}"]) or ""
        ours = sorted(name for name in images.split() if "kfp-suite-python-" in name)
        findings.append(
            judged("docker", "images", bool(ours), ", ".join(ours) or "none", "build the images")
        )
    return findings


def _run(command: list[str]) -> str | None:
    """What a command prints; None if it fails or hangs."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command line
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
