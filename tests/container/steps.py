"""A component in its own image, started as Kubeflow Pipelines starts it in a pod."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PACKAGE = "kfp_suite.components"
_TASK = "0f8e6b9c-1c9d-4ed5-8a5c-9b1d4a3a2f10"


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
    root: str = "",
    volumes: Mapping[Path, str] = {},
    environment: Mapping[str, str] = {},
) -> Ended:
    """Run a component in its own image, by the command that compiled pipelines have.

    As in a pod: the image's user, no capabilities, no new privileges; only the folders of the
    launcher and `/tmp` can be written. It shares this machine's network, where the doubles are.

    Args:
        client: Of Docker's daemon.
        component: A component, as its module defines it.
        folder: For the outputs; it is made.
        parameters: Of the component.
        artifacts: The folders, or files, of its input artifacts.
        root: The folder of a run in a bucket, `s3://…`, say: artifacts have URIs below it, and lie
            where KFP's launcher downloads them to and uploads them from, which is not done.
            Empty: an artifact's URI is its path.
        volumes: More folders that it sees where they are, `ro` or `rw`.
        environment: More variables.

    Returns:
        How it ended.
    """
    container = component.component_spec.implementation.container
    module = component.python_func.__module__.removeprefix(f"{_PACKAGE}.")
    command = ["python3", "-m", _PACKAGE, module.removesuffix(".component")]
    outputs = component.component_spec.outputs or {}
    scheme, _, place = root.partition("://")
    launched = {"gs": "gcs"}.get(scheme, scheme)
    task = f"{component.name}/{_TASK}"
    left = folder / launched / place / task if root else folder
    left.mkdir(parents=True)
    if root:
        given = {name: left / name for name in artifacts}
        for name, path in artifacts.items():
            copy = shutil.copytree if path.is_dir() else shutil.copyfile
            copy(path, given[name])
    else:
        given = dict(artifacts)
    _open(folder)
    for path in given.values():
        _open(path)

    def artifact(name: str) -> dict[str, Any]:
        uri = f"{root}/{task}/{name}" if root else str(given.get(name, left / name))
        kind = {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}
        return {"artifacts": [{"name": name, "type": kind, "uri": uri, "metadata": {}}]}

    made = {name for name, output in outputs.items() if "." in output.type}
    executor_input = {
        "inputs": {
            "parameterValues": dict(parameters),
            "artifacts": {name: artifact(name) for name in given},
        },
        "outputs": {
            "artifacts": {name: artifact(name) for name in made},
            "parameters": {
                name: {"outputFile": str(folder / f"{name}.txt")} for name in outputs.keys() - made
            },
            "outputFile": str(folder / "executor_output.json"),
        },
    }
    mounted = {str(folder): {"bind": str(folder), "mode": "rw"}}
    mounted |= {str(path): {"bind": str(path), "mode": "ro"} for path in given.values()}
    for path, mode in volumes.items():
        if mode == "rw":
            _open(path)
        mounted[str(path)] = {"bind": str(path), "mode": mode}
    scratch = {"/tmp", "/gcs", "/s3", "/minio"}
    if root:
        mounted[str(folder / launched)] = {"bind": f"/{launched}", "mode": "rw"}
        scratch.remove(f"/{launched}")
    words = {"{{$}}": json.dumps(executor_input)}
    running = client.containers.run(
        container.image,
        [*command, *(words.get(word, word) for word in container.args)],
        entrypoint="",
        volumes=mounted,
        environment={"HOME": "/tmp", **environment},
        read_only=True,
        tmpfs=dict.fromkeys(scratch, "mode=1777"),
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
    return Ended(code, log, said.get("parameterValues", {}), left)


def _open(path: Path) -> None:
    """Let the image's user read it, and write it: a pod's volumes are its own."""
    for one in (path, *path.rglob("*")):
        one.chmod(0o777 if one.is_dir() else 0o666)
    for parent in path.parents:
        if parent.stat().st_uid == path.stat().st_uid and parent.stat().st_mode & 0o077 == 0:
            parent.chmod(0o711)
