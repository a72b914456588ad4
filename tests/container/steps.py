"""A component in its own image, started as Kubeflow Pipelines starts it in a pod."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ended:
    """A step that has ended.

    Attributes:
        code: The exit code.
        log: What it wrote.
        outputs: The values of its output parameters, by name.
        folder: The folder of its output artifacts, each below its name.
    """

    code: int
    log: str
    outputs: dict[str, Any]
    folder: Path


def run_step(
    client: Any,
    component: Any,
    folder: Path,
    parameters: Mapping[str, Any],
    artifacts: Mapping[str, Path] = {},
    *,
    volumes: Mapping[Path, str] = {},
    environment: Mapping[str, str] = {},
) -> Ended:
    """Run a component's own command in its own image.

    As in a pod: the image's user, no capabilities, no new privileges; only the folders of the
    launcher and `/tmp` can be written. It shares this machine's network, where the doubles are.

    Args:
        client: Of Docker's daemon.
        component: A component, as its module defines it.
        folder: For the outputs; it is made.
        parameters: Of the component.
        artifacts: The folders, or files, of its input artifacts.
        volumes: More folders that it sees where they are, `ro` or `rw`.
        environment: More variables.

    Returns:
        How it ended.
    """
    container = component.component_spec.implementation.container
    outputs = component.component_spec.outputs or {}
    folder.mkdir(parents=True)
    _open(folder)
    for path in artifacts.values():
        _open(path)
    given = {
        "inputs": {
            "parameterValues": dict(parameters),
            "artifacts": {
                name: {"artifacts": [_artifact(name, path)]} for name, path in artifacts.items()
            },
        },
        "outputs": {
            "artifacts": {
                name: {"artifacts": [_artifact(name, folder / name)]}
                for name, output in outputs.items()
                if "." in output.type
            },
            "parameters": {
                name: {"outputFile": str(folder / f"{name}.txt")}
                for name, output in outputs.items()
                if "." not in output.type
            },
            "outputFile": str(folder / "executor_output.json"),
        },
    }
    mounted = {str(folder): {"bind": str(folder), "mode": "rw"}}
    mounted |= {str(path): {"bind": str(path), "mode": "ro"} for path in artifacts.values()}
    for path, mode in volumes.items():
        if mode == "rw":
            _open(path)
        mounted[str(path)] = {"bind": str(path), "mode": mode}
    running = client.containers.run(
        container.image,
        [*container.command, *(json.dumps(given) if a == "{{$}}" else a for a in container.args)],
        entrypoint="",
        volumes=mounted,
        environment={"HOME": "/tmp", **environment},
        read_only=True,
        tmpfs=dict.fromkeys(("/tmp", "/gcs", "/s3", "/minio"), "mode=1777"),
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        network_mode="host",
        detach=True,
    )
    try:
        code = running.wait()["StatusCode"]
        log = running.logs().decode(errors="replace")
    finally:
        running.remove(force=True)
    file = folder / "executor_output.json"
    said = json.loads(file.read_text()) if file.is_file() else {}
    return Ended(code, log, said.get("parameterValues", {}), folder)


def _artifact(name: str, path: Path) -> dict[str, Any]:
    return {
        "name": name,
        "type": {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"},
        "uri": str(path),
        "metadata": {},
    }


def _open(path: Path) -> None:
    """Let the image's user read it, and write it: a pod's volumes are its own."""
    for one in (path, *path.rglob("*")):
        one.chmod(0o777 if one.is_dir() else 0o666)
    for parent in path.parents:
        if parent.stat().st_uid == path.stat().st_uid and parent.stat().st_mode & 0o077 == 0:
            parent.chmod(0o711)
