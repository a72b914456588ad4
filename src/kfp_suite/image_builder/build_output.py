"""What `docker build` printed, and why it failed."""

from __future__ import annotations

import re

# BuildKit, with `--progress plain`: `#7 2.315 text` is what a step printed.
_FAILED = re.compile(r"^#(\d+) ERROR: (.*)$", re.MULTILINE)
_EXIT_CODE = re.compile(r"(exit code|non-zero code): (\d+)$")
# The builder before it, which tells a step's own lines from what it printed in no other way.
_STEP = re.compile(r"^(Step \d+/\d+ :| ---> )")


def find_reason(output: str) -> list[str]:
    """The lines of a failed build that say why it failed.

    Args:
        output: What the client printed, standard output and standard error in one.

    Returns:
        What the step that failed printed, then its exit code; of a build without such a step,
        its error.
    """
    if found := _FAILED.findall(output):
        number, error = found[-1]
        printed = re.findall(rf"^#{number} \d+\.\d+ (.*\S)", output, re.MULTILINE)
    else:
        lines = [line for line in output.splitlines() if line.strip()]
        begun = max((n for n, line in enumerate(lines, 1) if _STEP.match(line)), default=0)
        *printed, error = lines[begun:] or [""]
    code = _EXIT_CODE.search(error)
    return [*printed, f"exit code {code[2]}" if code and printed else error]
