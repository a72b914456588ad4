"""What a run's own steps wrote, and its reports as files that a browser opens."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from kfp_suite.components.record.left import is_page

REPORTS = "reports"
_KFP_FILES = ("executor_output.json", "error.json", "Output")
_LOOP = re.compile(r"for-loop-\d+-iteration-\d+")
_BEGINNING = 64


def outputs_of(folder: Path) -> dict[str, str]:
    """Every output artifact of a run's own steps: `step.artifact` to its path.

    Of a loop, the step is `<loop>.<step>`, with the loop's number and the iteration's.
    """
    found: dict[str, str] = {}
    for step in sorted(folder.iterdir()):
        if not step.is_dir() or step.name == REPORTS:
            continue
        if _LOOP.fullmatch(step.name):
            found |= {f"{step.name}.{name}": path for name, path in outputs_of(step).items()}
            continue
        for artifact in sorted(step.iterdir()):
            if artifact.name not in _KFP_FILES and not artifact.name.startswith("."):
                found[f"{step.name}.{artifact.name}"] = str(artifact)
    return found


def collect_reports(folder: Path) -> dict[str, Path]:
    """Copy every HTML output to `reports/<step>.html`, and say where, by step.

    KFP gives an artifact's file no suffix, and without one a browser shows its source.
    """
    found = {}
    for name, path in outputs_of(folder).items():
        artifact = Path(path)
        if not artifact.is_file() or not _is_html(artifact):
            continue
        step = name.rpartition(".")[0]
        found[step] = folder / REPORTS / f"{step}.html"
        found[step].parent.mkdir(exist_ok=True)
        shutil.copyfile(artifact, found[step])
    return found


def _is_html(path: Path) -> bool:
    with path.open("rb") as file:
        return is_page(file.read(_BEGINNING))
