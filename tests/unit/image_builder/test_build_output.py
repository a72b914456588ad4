"""An image that cannot be built: the reason is what the step printed, whichever client builds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kfp_suite.contracts.errors import RunError
from kfp_suite.image_builder.client import build_image, call

PIP = [
    "ERROR: Could not find a version that satisfies the requirement apache-beam==2.71.0",
    "ERROR: No matching distribution found for apache-beam==2.71.0",
]
BUILDKIT = f"""
import sys
print('''#4 [install 1/3] FROM docker.io/library/builder
#4 CACHED

#6 [install 3/3] RUN sh /context/install.sh suite /context
#6 0.413 {PIP[0]}
#5 0.414 Fetched something in another step
#6 0.415 {PIP[1]}
#6 ERROR: executor failed running [/bin/sh -c sh {"x" * 150}]: exit code: 1
------
 > [install 3/3] RUN sh /context/install.sh suite /context:
------
executor failed running [/bin/sh -c sh {"x" * 150}]: exit code: 1''', file=sys.stderr)
sys.exit(1)
"""
BEFORE_BUILDKIT = f"""
import sys
for stream, line in [
    (sys.stdout, "Step 1/9 : FROM builder"),
    (sys.stdout, " ---> 6711711efd08"),
    (sys.stdout, "Step 2/9 : RUN sh /context/install.sh suite /context"),
    (sys.stdout, " ---> Running in 5f1d3c6e1c11"),
    (sys.stderr, "{PIP[0]}"),
    (sys.stdout, "{PIP[1]}"),
    (sys.stderr, "The command '/bin/sh -c sh {"x" * 150}' returned a non-zero code: 1"),
]:
    print(line, file=stream, flush=True)
sys.exit(1)
"""


def docker(folder: Path, code: str) -> str:
    """A Docker client that does no more than `code`."""
    client = folder / "docker"
    client.write_text(f"#!{sys.executable}\n{code}")
    client.chmod(0o755)
    return str(client)


@pytest.mark.parametrize("code", [BUILDKIT, BEFORE_BUILDKIT])
def test_the_reason_is_what_the_step_printed(tmp_path: Path, code: str) -> None:
    said: list[str] = []
    with pytest.raises(RunError, match="docker build failed") as failed:
        build_image(docker(tmp_path, code), ["."], said.append)
    assert failed.value.got == " / ".join([*PIP, "exit code 1"])
    assert [line.strip() for line in said] == [*PIP, "exit code 1"]


def test_without_a_step_the_reason_is_the_error(tmp_path: Path) -> None:
    code = """
import sys
print("#3 [internal] load metadata for docker.io/library/nowhere:1", file=sys.stderr)
print("#3 ERROR: pull access denied, repository does not exist", file=sys.stderr)
sys.exit(1)
"""
    with pytest.raises(RunError) as failed:
        build_image(docker(tmp_path, code), ["."])
    assert failed.value.got == "pull access denied, repository does not exist"


def test_an_error_has_the_last_lines_that_fit() -> None:
    code = (
        "import sys; [print(f'line {n} ' + 'x' * 50, file=sys.stderr) for n in range(9)]; exit(1)"
    )
    with pytest.raises(RunError) as failed:
        call([sys.executable, "-c", code])
    assert [line[:6] for line in str(failed.value.got).split(" / ")] == [
        "line 6",
        "line 7",
        "line 8",
    ]


def test_a_program_that_prints_nothing_is_said() -> None:
    with pytest.raises(RunError, match="got nothing printed"):
        call([sys.executable, "-c", "exit(1)"])
