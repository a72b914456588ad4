"""A real model server as a process of this machine, on the loopback address.

It loads the same layout as it would find under its storage URI on a cluster.
"""

from __future__ import annotations

import errno
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.runtimes.http_client import Answer, ask
from kfp_suite.runtimes.protocol import Question

LOOPBACK = "127.0.0.1"
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.05
# If the parent process is killed, Linux ends the server, too (prctl(2)).
_TIED = (
    "import ctypes, os, signal, sys; "
    "ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


@dataclass(frozen=True)
class Launch:
    """The start of a server, and its check for readiness.

    Attributes:
        arguments: The command line.
        ready: The path that answers 200 when the model itself is loaded, or a function that
            returns whether it is.
        environment: Variables over this process's own.
        folder: Its working folder; None: the present one.
        headers: A function that returns the headers of requests, once it is ready: a token.
        grpc_port: Its port of gRPC; 0: it has none.
    """

    arguments: tuple[str, ...]
    ready: str | Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    headers: Callable[[], Mapping[str, str]] = dict
    grpc_port: int = 0


def ending_with_us(arguments: Sequence[str]) -> list[str]:
    """A command line of a server that ends when this process does.

    Raises:
        FileNotFoundError: there is no such program.
    """
    if shutil.which(arguments[0]) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), arguments[0])
    if sys.platform != "linux":
        return list(arguments)
    return [sys.executable, "-I", "-S", "-c", _TIED, *arguments]


def free_port() -> int:
    """A free port of the loopback address."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def check_port(host: str, port: int) -> None:
    """Raises EndpointError if the port cannot be bound."""
    for listener in bind(host, port):
        listener.close()


def check_grpc_port(host: str, port: int | None, http_port: int) -> None:
    """Raises EndpointError if gRPC cannot be served on `port`; None: gRPC is off."""
    if port is None:
        return
    if port == http_port:
        raise EndpointError(
            "HTTP and gRPC cannot share a port",
            where=host,
            got=port,
            fix="choose another with --grpc-port",
        )
    check_port(host, port)


def bind(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of a host: an IPv4 or IPv6 address, or a name that has both.

    Args:
        host: `::` is every address, of IPv4, too.
        port: The port of all.

    Raises:
        EndpointError: the host has no address here, or the port is in use.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise EndpointError(
            f"no address of '{host}' is known",
            where="--host",
            got=getattr(error, "strerror", None) or str(error),
            expected="an IPv4 or IPv6 address of this machine, or a name that has one",
        ) from error
    sockets: list[socket.socket] = []
    refused: OSError | None = None
    for family, address in dict.fromkeys((one[0], one[4]) for one in found):
        # Without the protocol asyncio leaves Nagle's algorithm on: 40 ms an answer.
        one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
            one.bind(address)
        except OSError as error:
            one.close()
            refused = refused or error
            if error.errno == errno.EADDRNOTAVAIL:
                continue  # a name may have an IPv6 address on a machine without IPv6
            refused = error
            break
        sockets.append(one)
    if refused is not None and (not sockets or refused.errno != errno.EADDRNOTAVAIL):
        for one in sockets:
            one.close()
        raise EndpointError(
            f"port {port} cannot be used",
            where=host,
            got=refused.strerror,
            fix="choose another with --host"
            if refused.errno == errno.EADDRNOTAVAIL
            else "choose another with --port",
        ) from refused
    return sockets


def every_address() -> str:
    """The host that stands for all addresses of this machine: IPv6's, too, if it has them."""
    try:
        for one in bind("::", 0):
            one.close()
    except (OSError, EndpointError):
        return "0.0.0.0"  # noqa: S104 - the pod's network is the boundary
    return "::"


def address_of(host: str, port: int) -> str:
    """`host:port` as a URL and gRPC write it: IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class LocalServer:
    """A started server; `stop` ends it and everything it started."""

    def __init__(
        self,
        launch: Launch,
        port: int,
        scratch: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        """Start it; `scratch` is removed when it stops.

        Raises:
            EndpointError: its program is not there.
        """
        self.base = f"http://{LOOPBACK}:{port}"
        self.grpc_port = launch.grpc_port
        self._launch, self._scratch = launch, scratch
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed by stop
        self.started = time.monotonic()
        try:
            self.process = subprocess.Popen(  # noqa: S603 - a model server's own command
                ending_with_us(launch.arguments),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **launch.environment},
                cwd=launch.folder,
                start_new_session=True,
            )
        except OSError as error:
            self._close()
            raise EndpointError(
                "the model server cannot be started",
                where=launch.arguments[0],
                got=error.strerror,
                fix="install it: see docs/runtimes.md",
            ) from error

    def ready(self, timeout: float = 2.0) -> bool:
        """Whether the model is loaded and answers."""
        tells = self._launch.ready
        if not isinstance(tells, str):
            return tells()
        try:
            with urllib.request.urlopen(self.base + tells, timeout=timeout) as response:  # noqa: S310
                return bool(response.status == 200)
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def running(self) -> bool:
        """Whether the process is there."""
        return self.process.poll() is None

    def wait(self, timeout: float) -> float:
        """Wait until the model answers; the seconds it took since the start.

        Raises:
            EndpointError: it ended, or does not answer in time; with its last words.
        """
        deadline = time.monotonic() + timeout
        while not self.ready():
            if not self.running():
                raise EndpointError(
                    "the model server ended before it answered",
                    where=self.base,
                    got=self.last_words(),
                    expected="a server that goes on",
                )
            if time.monotonic() >= deadline:
                raise EndpointError(
                    "the model server does not answer in time",
                    where=self.base,
                    got=self.last_words(),
                    expected=f"ready within {timeout:g} s",
                )
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - self.started

    def ask(self, question: Question, timeout: float = 30.0) -> Answer:
        """One request. Raises EndpointError."""
        return ask(self.base, question, headers=self.headers(), timeout=timeout)

    def headers(self) -> Mapping[str, str]:
        """The headers that every request needs."""
        return self._launch.headers()

    def last_words(self) -> str:
        """The last line of its output that is not empty."""
        self._log.flush()
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        told = [line for line in lines if "rror" in line]
        return (told or lines or ["not a word"])[-1].removeprefix("error: ")

    def peak_memory(self) -> int:
        """Peak memory of it and its child processes in bytes, as Linux counts it; 0 if that is
        not known."""
        total = 0
        for pid in _family(self.process.pid):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            found = [line for line in status.splitlines() if line.startswith("VmHWM:")]
            total += int(found[0].split()[1]) * 1024 if found else 0
        return total

    def kill(self) -> None:
        """End it and everything it started without a word; `stop` is still to come."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it and its child processes: by SIGTERM, then by SIGKILL."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_SECONDS)
        self.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        self._log.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()


def _family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        for thread in Path(f"/proc/{current}/task").glob("*/children"):
            try:
                waiting += [int(child) for child in thread.read_text().split()]
            except OSError:
                continue
    return found
