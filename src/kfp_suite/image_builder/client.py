"""The Docker client, and programs like it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kfp_suite.contracts.errors import MAX_VALUE_CHARS, MissingError, RunError
from kfp_suite.image_builder.build_output import find_reason

Say = Callable[[str], None]
"""Called with a line of progress at a time: a build takes minutes."""
_CLIENTS = ("docker", "/usr/bin/docker")
_SHOWN = 20


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
        RunError: it failed; with the last lines it printed.
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
        raise _failure(command, (done.stderr or done.stdout).splitlines())
    return done.stdout


def build_image(client: str, arguments: Sequence[str], say: Say = say_nothing) -> None:
    """Run `docker build`.

    Args:
        client: The Docker client.
        arguments: Of the build.
        say: Called with the last lines that a step printed before it failed.

    Raises:
        RunError: it failed; with the last lines that the step printed.
    """
    command = [client, "build", "--progress", "plain", *arguments]
    done = subprocess.run(  # noqa: S603 - our own client
        command,
        # In one, in the order in which they were printed.
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
    )
    if done.returncode:
        reason = find_reason(done.stdout)
        for line in reason[-_SHOWN:]:
            say(f"  {line}")
        raise _failure(command, reason)


def _failure(command: Sequence[str], printed: Sequence[str]) -> RunError:
    """The error of a program that failed, with as many of its last lines as an error shows."""
    lines = [line.strip() for line in printed if line.strip()] or ["nothing printed"]
    got = lines.pop()
    while lines and len(longer := f"{lines[-1]} / {got}") <= MAX_VALUE_CHARS:
        got = longer
        lines.pop()
    return RunError(
        f"{' '.join([Path(command[0]).name, *command[1:2]])} failed", where="images", got=got
    )
