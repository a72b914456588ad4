"""What the steps of a run made, cached ones included."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from kfp_suite.contracts.errors import MissingError, did_you_mean
from kfp_suite.local.cached_steps import origin_of

REPORTS = "reports"
_KFP_FILES = ("executor_output.json", "error.json", "Output")
_LOOP = re.compile(r"for-loop-\d+-iteration-\d+")


class Outputs(dict[str, Path]):
    """The artifacts of a run: `step.artifact` to its path.

    Of a loop, the step is `<loop>.<step>`, with the loop's number and the iteration's. What
    a cached step made is a link into the run that made it.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__((name, path) for name, path in _list_outputs(folder) if path.exists())
        self._folder = folder

    def __missing__(self, name: str) -> Path:
        """Raise an error with the outputs that there are.

        Raises:
            MissingError: there is no such output, or it was removed with the run that made it.
        """
        raise missing_output(self._folder, "output", name, self)


def missing_output(folder: Path, kind: str, name: str, known: Iterable[str]) -> MissingError:
    """The error of an output, or of what is made from one, that is not there.

    Args:
        folder: The run's folder.
        kind: What it is: `output`, `report of`.
        name: The output that is missing: `step.artifact`, or a step.
        known: The names that exist.
    """
    gone = gone_outputs(folder)
    origin = next((gone[key] for key in gone if name in (key, _step(key))), None)
    if origin is None:
        return MissingError(f"no {kind} '{name}'", where=folder, fix=did_you_mean(name, known))
    return MissingError(
        f"the {kind} '{name}' was removed with the run that made it",
        where=folder,
        got=f"a link to {origin}",
        fix="run the pipeline again: it is made anew",
    )


def gone_outputs(folder: Path) -> dict[str, Path]:
    """The outputs of cached steps that were removed with the run that made them.

    Args:
        folder: The run's folder.

    Returns:
        `step.artifact` to where it was.
    """
    return {
        name: origin
        for name, path in _list_outputs(folder)
        if not path.exists() and (origin := origin_of(path))
    }


def _list_outputs(folder: Path) -> Iterator[tuple[str, Path]]:
    for step in sorted(folder.iterdir()):
        if not step.is_dir() or step.name == REPORTS:
            continue
        if _LOOP.fullmatch(step.name):
            yield from ((f"{step.name}.{name}", path) for name, path in _list_outputs(step))
            continue
        for artifact in sorted(step.iterdir()):
            if artifact.name not in _KFP_FILES and not artifact.name.startswith("."):
                yield f"{step.name}.{artifact.name}", artifact


def _step(name: str) -> str:
    return name.rpartition(".")[0]
