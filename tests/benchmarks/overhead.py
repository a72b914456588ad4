"""What a step costs before it works, and what compiling costs.

A component of the suite imports what its image holds; the usual Lightweight component
pip-installs its libraries each time it starts. The same function is run as both.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

from tests.benchmarks.table import Row

_SCRIPT = """
import sys, time
from kfp import dsl, local

@dsl.component(
    base_image="kfp-suite-python-sklearn:0.1.0",
    install_kfp_package={install},
    packages_to_install={packages},
)
def step(x: int) -> int:
    import yaml
    return x + len(yaml.__name__)

local.init(local.SubprocessRunner(use_venv={install}), pipeline_root=sys.argv[1])
started = time.monotonic()
step(x=1)
print("SECONDS", time.monotonic() - started)
"""


def run() -> list[Row]:
    """The ratio of the two, and the seconds that compiling every pipeline takes."""
    installed = min(_step(install=False) for _ in range(3))
    installing = _step(install=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                sys.executable,
                "-c",
                "from kfp_suite.cli.main import main; main()",
                "compile",
                "--all",
                "-o",
                folder,
            ],
            check=True,
            capture_output=True,
        )
    compiling = time.monotonic() - started
    return [
        Row(
            "a step's overhead",
            f"{installed:.2f} s",
            f"the same function, pip-installing at start: {installing:.1f} s",
            installed / installing,
            "at most 0.1",
        ),
        Row("compile every pipeline", f"{compiling:.2f} s", "", compiling, "under 2 s"),
    ]


def _step(install: bool) -> float:
    script = _SCRIPT.format(install=install, packages=["pyyaml"] if install else [])
    with tempfile.TemporaryDirectory() as root, tempfile.NamedTemporaryFile("w", suffix=".py") as f:
        # A file, since kfp reads the function's source.
        f.write(script)
        f.flush()
        done = subprocess.run(
            [sys.executable, f.name, root], check=True, capture_output=True, text=True
        )
    line = next(line for line in done.stdout.splitlines() if line.startswith("SECONDS"))
    return float(line.split()[1])
