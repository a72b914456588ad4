"""The Docker client, and programs like it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kfp_suite.contracts.errors import MissingError, RunError

Say = Callable[[str], None]
"""Called with a line of progress at a time: a build takes minutes."""
_CLIENTS = ("docker", "/usr/bin/docker")


def say_nothing(_: str) -> None:
    """Says nothing."""


@functools.cache
def docker_client() -> str:
    """The first Docker client that has BuildKit, which the first on the path may not.

    Raises:
        MissingError: there is none, or no daemon answers.
    """
    with tempfile.TemporaryDirectory() as empty:
        (Path(empty) / "Dockerfile").write_text("FROM scratch\nLABEL probe=1\n")
        for client in _CLIENTS:
            if shutil.which(client) is None:
                continue
            done = subprocess.run(  # noqa: S603 - one of two names
                [client, "build", "--quiet", empty],
                capture_output=True,
                check=False,
                env={**os.environ, "DOCKER_BUILDKIT": "1"},
            )
            if done.returncode == 0:
                return client
    raise MissingError(
        "no Docker client with BuildKit answers",
        where="images",
        fix="install Docker (Debian: apt-get install docker.io) and start its daemon",
    )


def call(
    command: Sequence[str], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> str:
    """Run a program of ours to its end, and return what it printed.

    Raises:
        RunError: it failed; with the last line it said.
    """
    done = subprocess.run(  # noqa: S603 - commands of our own
        list(command),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd=folder,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise RunError(
            f"{' '.join([Path(command[0]).name, *command[1:2]])} failed",
            where="images",
            got=said[-1] if said else "no word",
        )
    return done.stdout
