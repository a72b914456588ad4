"""The outputs of cached steps, in the folder of the run that uses them.

kfp's local cache hands a step's outputs on from the run that made them, and leaves nothing
in the new run's folder. Links to them complete it: `ingest/dataset` of every run is its
dataset, wherever it was made.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def link_cached_outputs() -> None:
    """Have kfp's local runner link every artifact of a cached step into the run's folder."""
    from kfp.local import executor_input_utils
    from kfp.local.orchestrator import task_executor

    execute = task_executor.execute_single_task

    @functools.wraps(execute)
    def execute_and_link(**task: Any) -> Any:
        outputs, status = execute(**task)
        component = task["task_spec"].component_ref.name
        folder = executor_input_utils.construct_local_task_root(
            task["pipeline_root"],
            task["pipeline_resource_name"],
            executor_input_utils.get_local_task_resource_name(component),
        )
        for name, artifact in _artifacts(outputs):
            _link(Path(folder, name), Path(artifact.path), Path(task["pipeline_root"]))
        return outputs, status

    task_executor.execute_single_task = execute_and_link


def origin_of(output: Path) -> Path | None:
    """Where a cached step's output was made; None for an output that the run itself made."""
    return output.parent / output.readlink() if output.is_symlink() else None


def _artifacts(outputs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    from kfp.dsl import Artifact

    return ((name, value) for name, value in outputs.items() if isinstance(value, Artifact))


def _link(link: Path, made: Path, root: Path) -> None:
    """Relative, so that a folder of runs can be moved."""
    if link == made or link.exists() or not made.is_relative_to(root):
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(made, link.parent))
