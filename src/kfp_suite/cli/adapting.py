"""The options of every command that compiles a pipeline for a cluster."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


image_lock_option = click.option(
    "--image-lock",
    "lock_file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="KFP_SUITE_IMAGE_LOCK",
    show_envvar=True,
    help="Name images by the digests in this file, which `images build --push` writes.",
)


def adapted_by_files(command: F) -> F:
    """Gives a command `lock_file` and `resources`."""
    resources = click.option(
        "--resources",
        type=click.Path(dir_okay=False, path_type=Path),
        help="CPU, memory, accelerators, retries, nodes and secrets by task, from this file.",
    )
    return image_lock_option(resources(command))


def sent_to_kubeflow(command: F) -> F:
    """Gives a command `package_of`: a pipeline by name or path as a cluster can run it."""

    @functools.wraps(command)
    def adapted(
        *args: Any,
        lock_file: Path | None,
        resources: Path | None,
        allow_local_images: bool,
        **given: Any,
    ) -> Any:
        def package_of(pipeline: str, *, cache: bool = True) -> Any:
            from kfp_suite.kubeflow.package import check_images, is_file, open_package

            # A file names the images that it was compiled with, unless a lock is given for it.
            lock = None if is_file(pipeline) and _is_usual("lock_file") else lock_file
            package = open_package(pipeline, adaptation(lock, resources, cache=cache))
            if not allow_local_images:
                check_images(package)
            return package

        return command(*args, package_of=package_of, **given)

    local = click.option(
        "--allow-local-images",
        is_flag=True,
        help="Also images of no registry: the nodes have them, as on kind.",
    )
    return adapted_by_files(local(adapted))  # type: ignore[return-value]


def _is_usual(option: str) -> bool:
    """Whether an option is the environment's, and not of this command."""
    source = click.get_current_context().get_parameter_source(option)
    return source is not click.core.ParameterSource.COMMANDLINE


def adaptation(lock_file: Path | None, resources: Path | None, *, cache: bool = True) -> Any:
    """What these files change of a compiled pipeline, None if none is given; without `cache`,
    no task is cached."""
    from kfp_suite.image_builder.image_lock import adapted
    from kfp_suite.kubeflow.placing import both, placed, uncached

    return both(adapted(lock_file), placed(resources), None if cache else uncached)
