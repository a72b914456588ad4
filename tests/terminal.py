"""A command under a pseudo-terminal: what a user types, and what the screen then shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

COMMAND = Path(sys.executable).with_name("kfp-suite")
CTRL_C = "\x03"
MAX_SECONDS = 240.0
_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_BECOME_FOREGROUND = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
_CONTROL = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])")


def bare_environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a shell that sets nothing: the path, a home, and trusted authorities."""
    kept = {name: os.environ[name] for name in _TRUST if name in os.environ}
    return {"PATH": os.environ["PATH"], "HOME": str(home), **kept, **more}


class Terminal:
    """A command that runs under a pseudo-terminal.

    Args:
        words: The program and its arguments.
        cwd: Its working folder.
        environment: All of its environment.
        columns: Width of the terminal, in characters.
        rows: Its height, in lines.
    """

    def __init__(
        self,
        *words: str | Path,
        cwd: Path,
        environment: Mapping[str, str],
        columns: int = 80,
        rows: int = 24,
    ) -> None:
        self._master, slave = pty.openpty()
        self._resize(columns, rows)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BECOME_FOREGROUND, *map(str, words)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env=dict(environment),
            start_new_session=True,
        )
        os.close(slave)
        self._columns = columns
        self._open = True
        self._bytes = bytearray()

    @property
    def output(self) -> str:
        """Everything written so far, control codes included."""
        return self._bytes.decode(errors="replace")

    @property
    def text(self) -> str:
        """Everything written so far, without control codes."""
        return without_control_codes(self.output)

    @property
    def screen(self) -> str:
        """What is to be seen once everything is written, scrolled lines included."""
        return drawn(self.output, self._columns)

    def type(self, keys: str) -> None:
        """Press keys; `CTRL_C` interrupts what runs in the foreground."""
        os.write(self._master, keys.encode())

    def resize(self, columns: int, rows: int = 24) -> None:
        """Change the size of the window, which the command is told of (SIGWINCH)."""
        self._columns = columns
        self._resize(columns, rows)

    def wait_for(self, pattern: str, seconds: float = MAX_SECONDS) -> str:
        """Read until `pattern`, a regular expression, is in the text.

        Returns:
            What it matched.
        """
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            assert self._read(deadline), f"{pattern!r} is not in:\n{self.text}"
        return found.group()

    def wait(self, seconds: float = MAX_SECONDS) -> int:
        """Read until the command ends.

        Returns:
            Its exit code.
        """
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        assert not self._open, f"it still runs after {seconds} s:\n{self.text}"
        return self.process.wait(max(1.0, deadline - time.monotonic()))

    def close(self) -> None:
        """End the command, if it still runs, and everything it started in its session."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)

    def _read(self, deadline: float) -> bool:
        """Whether there was something to read before the deadline."""
        left = deadline - time.monotonic()
        if not self._open or left <= 0:
            return False
        if not select.select([self._master], [], [], left)[0]:
            return False
        try:
            read = os.read(self._master, 65536)
        except OSError:  # how Linux says that nobody has the other side open
            read = b""
        self._bytes += read
        self._open = bool(read)
        return self._open

    def _resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextmanager
def terminal(
    *words: str | Path,
    cwd: Path,
    columns: int = 80,
    environment: Mapping[str, str] | None = None,
    term: str = "xterm-256color",
) -> Iterator[Terminal]:
    """A command under a pseudo-terminal, ended with the block.

    Args:
        words: The program and its arguments.
        cwd: Its working folder, and its home unless an environment is given.
        columns: Width of the terminal, in characters.
        environment: All of its environment; None: a bare one.
        term: What kind of terminal it is told it has.
    """
    environment = bare_environment(cwd) if environment is None else environment
    running = Terminal(*words, cwd=cwd, columns=columns, environment={"TERM": term, **environment})
    try:
        yield running
    finally:
        running.close()


def without_control_codes(text: str) -> str:
    """Text as it was meant to be read: one line feed a line, no control code."""
    return _CONTROL.sub("", text).replace("\r\n", "\n").replace("\r", "\n")


def drawn(output: str, columns: int) -> str:
    """What a terminal of `columns` characters shows after `output`, scrolled lines included.

    Follows what `rich` writes: lines that wrap, returns, moves up, erased lines. Anything
    else is an error, so that nothing is overlooked.
    """
    lines: list[list[str]] = [[]]
    row = column = 0
    at = 0
    while at < len(output):
        control = _CONTROL.match(output, at)
        if control:
            at = control.end()
            argument, letter = control.groups()
            match letter:
                case "A":
                    row = max(0, row - int(argument or 1))
                case "K":
                    assert argument in ("", "0", "2"), control.group()
                    lines[row] = [] if argument == "2" else lines[row][:column]
                case "m":
                    pass
                case "h" | "l":
                    assert argument == "?25", control.group()
                case _:
                    raise AssertionError(f"unknown control code {control.group()!r}")
            continue
        character = output[at]
        at += 1
        if character == "\r":
            column = 0
        elif character == "\n":
            row += 1
            column = 0
        else:
            assert character.isprintable(), f"unknown control character {character!r}"
            if column == columns:
                row, column = row + 1, 0
        while len(lines) <= row:
            lines.append([])
        if character in "\r\n":
            continue
        line = lines[row]
        line.extend(" " * (column + 1 - len(line)))
        line[column] = character
        column += 1
    return "\n".join("".join(line).rstrip() for line in lines)
