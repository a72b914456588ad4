"""Steps in containers, whose exit code is always known.

kfp.local's own call starts a container that removes itself, then waits for it; where the
daemon is the faster of the two, the wait finds nothing, and kfp takes that for success
(`run_docker_container` in kfp 2.17.0, docker_task_handler.py: `except NotFound: return 0`).
Here a container stays until its code was read, and is then removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from kfp_suite.contracts.environment import IMAGE_DIGEST_VARIABLE
from kfp_suite.contracts.errors import MissingError
from kfp_suite.local.commands import exit_code_of, find_step
from kfp_suite.local.time_limits import set_deadline


def use_docker(limits: Mapping[str, int]) -> None:
    """Let kfp.local.DockerRunner run containers by `run_container`.

    Args:
        limits: How many seconds a step may take, by its name; see `find_time_limits`.
    """
    from kfp.local import docker_task_handler

    docker_task_handler.run_docker_container = partial(run_container, limits=limits)


def check_docker(images: Iterable[str]) -> None:
    """Whether the daemon answers and has these images.

    Raises:
        MissingError: it does not, or lacks one.
    """
    import docker

    try:
        client = docker.from_env()
    except docker.errors.DockerException as error:
        raise MissingError(
            "no Docker daemon answers",
            where="--runner docker",
            fix="start Docker, or leave the runner out to run without containers",
        ) from error
    try:
        for image in images:
            client.images.get(image)
    except docker.errors.ImageNotFound as error:
        raise _no_image(image) from error
    finally:
        client.close()


def image_ids(images: Iterable[str]) -> list[str]:
    """The ids of images, which change with what is in them; as their names do not.

    Raises:
        MissingError: one is not on this machine.
    """
    import docker

    client = docker.from_env()
    try:
        return [client.images.get(image).id for image in images]
    except docker.errors.ImageNotFound as error:
        raise MissingError("an image is gone", got=str(error)) from error
    finally:
        client.close()


def images_of(pipeline: Any) -> list[str]:
    """The images that the steps of a pipeline run in, each once."""
    executors = dict(pipeline.pipeline_spec.deployment_spec)["executors"]
    return sorted(
        {
            executor["container"]["image"]
            for executor in executors.values()
            if "container" in executor
        }
    )


def _no_image(image: str) -> MissingError:
    return MissingError(
        f"no image '{image}' on this machine",
        where="--runner docker",
        fix="build it: kfp-suite images build",
    )


def run_container(
    client: Any,
    image: str,
    command: list[str],
    volumes: dict[str, Any],
    limits: Mapping[str, int] = {},
    **arguments: Any,
) -> int:
    """Run a container to its end, and return its exit code.

    It runs as the user who runs the pipeline, so that what it writes belongs to them, on a
    read-only root file system.

    Args:
        client: Of the daemon.
        image: The step's.
        command: As `command_of` made it.
        volumes: As docker takes them.
        limits: How many seconds a step may take, by its name.
        arguments: What else docker takes.

    Raises:
        MissingError: the image is not on this machine.
    """
    import docker

    try:
        # An image cannot contain its own digest; it is part of a model's lineage.
        digest = {IMAGE_DIGEST_VARIABLE: client.images.get(image).id}
        container = client.containers.create(
            image,
            command,
            volumes=volumes,
            user=f"{os.getuid()}:{os.getgid()}",
            read_only=True,
            tmpfs={"/tmp": "mode=1777"},  # noqa: S108 - the container's own
            security_opt=["no-new-privileges"],
            cap_drop=["ALL"],
            environment={
                **arguments.pop("environment", {}),
                **digest,
                "PYTHONSAFEPATH": "1",
            },
            **arguments,
        )
    except docker.errors.ImageNotFound as error:
        raise _no_image(image) from error
    deadline = set_deadline(find_step(command), limits)

    def end() -> None:
        with suppress(docker.errors.APIError):  # it has ended meanwhile
            container.kill()

    try:
        container.start()
        last = ""
        with deadline.ending(end):
            for block in container.logs(stream=True, follow=True):
                line = block.decode(errors="replace")
                print(line, end="", flush=True)
                last = line.strip() or last
            code = container.wait()["StatusCode"]
        return exit_code_of(command, code, last, deadline)
    finally:
        container.remove(force=True)
