"""A C++ library's own words stay out of a command's, unless the command fails."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, sys
from kfp_suite.cli.native_output import set_aside
with set_aside():
    os.write(2, b"C++\\n")
    print("ours", file=sys.stderr)
    {end}
os.write(2, b"later\\n")
"""


def said(end: str) -> str:
    script = SCRIPT.format(end=end)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    ).stderr


def test_it_is_kept_aside() -> None:
    assert said("pass") == "ours\nlater\n"


def test_it_is_shown_where_the_block_fails() -> None:
    assert said("raise SystemExit(1)") == "ours\nC++\n"
