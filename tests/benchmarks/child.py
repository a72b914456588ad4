"""Seconds and peak memory of a piece of code in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

_MEASURE = """
import sys, time
started = time.monotonic()
{code}
seconds = time.monotonic() - started
# Not getrusage, whose peak is that of the parent where the parent is larger.
peak = next(row for row in open("/proc/self/status") if row.startswith("VmHWM"))
print("MEASURED", seconds, int(peak.split()[1]) * 1024)
"""


@dataclass(frozen=True)
class Cost:
    """Wall-clock seconds without the interpreter's start, and peak resident bytes."""

    seconds: float
    peak_bytes: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.peak_bytes / 2**20:,.0f} MiB"


def cost(code: str, *arguments: str) -> Cost:
    """Run `code`, which finds `arguments` in `sys.argv[1:]`."""
    script = _MEASURE.format(code=code)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    line = next(row for row in done.stdout.splitlines() if row.startswith("MEASURED"))
    _, seconds, peak = line.split()
    return Cost(float(seconds), float(peak))
