"""The options of every command that compiles a pipeline for a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def adapted_by_files(command: F) -> F:
    """Gives a command `lock_file` and `resources`."""
    lock = click.option(
        "--image-lock",
        "lock_file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Name images by the digests in this file, which `images build --push` writes.",
    )
    resources = click.option(
        "--resources",
        type=click.Path(dir_okay=False, path_type=Path),
        help="CPU, memory, accelerators, retries, nodes and secrets by task, from this file.",
    )
    return lock(resources(command))


def adaptation(lock_file: Path | None, resources: Path | None) -> Any:
    """What these files change of a compiled pipeline, None where none is given."""
    from kfp_suite.pipelines.images.image_lock import adapted
    from kfp_suite.pipelines.kubeflow.placing import both, placed

    return both(adapted(lock_file), placed(resources))
