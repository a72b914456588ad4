"""The environment that computed an artifact: code, libraries, image, threads, CPU and BLAS.

Two runs can be compared bit for bit only if these are the same; `reproduce` names the
first that differs.
"""

from __future__ import annotations

import functools
import importlib.metadata
import math
import os
import platform
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kfp_suite.contracts.digests import digest_files, digest_value

DISTRIBUTION = "kfp-suite"
IMAGE_DIGEST_VARIABLE = "KFP_SUITE_IMAGE_DIGEST"
"""Set by `compile --image-lock`: an image cannot contain its own digest."""
CLIENT_FOLDERS = frozenset(
    {
        "cli",
        "image_builder",
        "images",
        "kubeflow",
        "local",
        "notebook",
        "pipelines",
        "scaffold",
        "testing",
    }
)
"""Folders of `kfp_suite` whose code no step and no server runs."""


@dataclass(frozen=True)
class Environment:
    """The environment of a step. `digest` covers all but the image.

    `blas`: the kernel of linear algebra, "" if it is unknown.
    """

    python: str
    libraries: dict[str, str]
    threads: int
    cpu: str
    image: str = "none"
    blas: str = ""

    @property
    def digest(self) -> str:
        return digest_value(
            {
                "python": self.python,
                "libraries": self.libraries,
                "threads": self.threads,
                "cpu": self.cpu,
                "blas": self.blas,
            }
        )


def environment(family: str, threads: int = 0) -> Environment:
    """The environment this process runs in.

    Args:
        family: The extra of the distribution whose libraries count: `sklearn`, `tfx`.
        threads: How many threads it computes with; 0: as many as there are CPUs for it.
    """
    return Environment(
        python=".".join(str(part) for part in sys.version_info[:3]),
        libraries=libraries(family),
        threads=threads or available_cpus(),
        cpu=cpu_class(),
        image=os.environ.get(IMAGE_DIGEST_VARIABLE, "none"),
        blas=blas_kernel(),
    )


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The CPUs this process may use: those it may run on, within its container's CPU limit.

    Args:
        cgroup: Where the container's control group is mounted. Version 2 has `cpu.max`,
            version 1 `cpu/cpu.cfs_quota_us` and `cpu/cpu.cfs_period_us`: microseconds of
            CPU time in each period; `max` or -1: no limit.
    """
    cpus = len(os.sched_getaffinity(0))
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with suppress(OSError, ValueError):
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            if int(quota) > 0:
                cpus = min(cpus, max(1, math.ceil(int(quota) / int(period))))
    return cpus


def blas_kernel() -> str:
    """The kernel that NumPy's BLAS chose for this CPU, or that OPENBLAS_CORETYPE sets:
    `openblas SkylakeX`; "" without NumPy."""
    try:
        import numpy  # noqa: F401 - loads the library that is asked about
        import threadpoolctl
    except ImportError:
        return ""
    found = {
        f"{library['internal_api']} {library.get('architecture') or ''}".strip()
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] == "blas"
    }
    return ", ".join(sorted(found))


@functools.cache
def code_digest() -> str:
    """Digest of the installed sources that a step or a server may run.

    Returns:
        The digest of every module of `kfp_suite` but those of the folders in `CLIENT_FOLDERS`.
    """
    folder = Path(__file__).parents[1]
    rooms = (p for p in folder.iterdir() if p.is_dir() and p.name not in CLIENT_FOLDERS)
    names = (p.relative_to(folder).as_posix() for room in rooms for p in room.rglob("*.py"))
    return digest_value(digest_files(folder, names))


@functools.cache
def libraries(family: str) -> dict[str, str]:
    """Name and version of every installed distribution that the extra `family` pulls in."""
    found: dict[str, str] = {}
    waiting = [(DISTRIBUTION, frozenset({family}))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a requirement whose marker does not hold on this platform
        if name != DISTRIBUTION:
            found[name] = distribution.version
        waiting.extend(_requirements(distribution.requires or (), extras))
    return dict(sorted(found.items()))


def _requirements(
    lines: list[str] | tuple[()], extras: frozenset[str]
) -> list[tuple[str, frozenset[str]]]:
    wanted = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        needed_by = re.search(r"""extra\s*==\s*["']([^"']+)["']""", marker)
        if needed_by and needed_by.group(1) not in extras:
            continue
        match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?", requirement)
        assert match is not None
        name = re.sub(r"[-_.]+", "-", match.group(1)).lower()
        inner = frozenset(e.strip() for e in (match.group(2) or "").split(",") if e.strip())
        wanted.append((name, inner))
    return wanted


@functools.cache
def cpu_class() -> str:
    """The machine type and the widest vector extension: what floating-point sums depend on."""
    flags: set[str] = set()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.split(":", 1)[1].split())
                break
    except OSError:
        pass
    widest = next((f for f in ("avx512f", "avx2", "avx", "sve", "asimd") if f in flags), "generic")
    return f"{platform.machine()}-{widest}"
