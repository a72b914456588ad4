"""A step killed at each of its writes, and run again: `python -m tests.faults.killing`.

Every try is a fork of this process, which has imported what the steps need and done
nothing else. A try is killed with SIGKILL just before its n-th change of the file system
(seen through Python's audit events), so nothing is flushed, closed or cleaned up.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kfp_suite.contracts.digests import digest_file
from tests.steps import STEPS

_CHANGES = frozenset({"os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"})


def main() -> None:
    """Kill one step at several of its changes, and print what each second run left."""
    step, inputs, scratch = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    most = int(sys.argv[4])
    run = STEPS[step]
    counted = scratch / "count"

    def count(out: Path) -> None:
        changes = _on_change(out, lambda _: None)
        run(inputs, out)
        counted.write_text(str(changes[0]))

    expected = _try(scratch, count)
    total = int(counted.read_text())
    # The first and the last, and some evenly between.
    places = sorted({1 + round(i * (total - 1) / (most - 1)) for i in range(most)})
    again = {}
    for place in places:
        _try(scratch, partial(_killed_at, place, run, inputs), killed=True)
        again[place] = _try(scratch, partial(run, inputs), fresh=False)
    print(json.dumps({"changes": total, "expected": expected, "again": again}))


def _killed_at(place: int, run: Callable[[Path, Path], None], inputs: Path, out: Path) -> None:
    def kill(number: int) -> None:
        if number == place:
            os.kill(os.getpid(), signal.SIGKILL)

    _on_change(out, kill)
    run(inputs, out)


def _on_change(out: Path, call: Callable[[int], None]) -> list[int]:
    """Call `call` with 1, 2, … before each change below `out`; the list holds the last."""
    seen = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            writes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if not writes:
                return
        elif event not in _CHANGES:
            return
        if str(arguments[0]).startswith(str(out)):
            seen[0] += 1
            call(seen[0])

    sys.addaudithook(hook)
    return seen


def _try(
    scratch: Path, work: Callable[[Path], None], *, killed: bool = False, fresh: bool = True
) -> dict[str, str]:
    """Run `work` in a fork; the files it left below its folder, with their content."""
    out = scratch / "out"
    if fresh:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
    child = os.fork()
    if child == 0:
        try:
            work(out)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if died != killed or (not killed and status != 0):
        raise SystemExit(f"the try ended with {status}; expected {'a kill' if killed else '0'}")
    return {
        path.relative_to(out).as_posix(): digest_file(path)
        for path in sorted(out.rglob("*"))
        # What a store has not finished is never listed, and a later try cannot know whose it is.
        if path.is_file() and not ("store" in path.parts and path.suffix == ".partial")
    }


if __name__ == "__main__":
    main()
