"""Pushed images are named by digest: in the lock, in compiled pipelines, in lineage."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from kfp_suite.image_builder import image_lock
from kfp_suite.image_builder.client import call, docker_client
from kfp_suite.image_builder.families import tag
from kfp_suite.runtimes.local import free_port
from tests.container.conftest import Image, kfp_suite


@pytest.fixture(scope="module")
def registry(client: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real registry on loopback, which Docker takes without TLS."""
    if shutil.which("docker-registry") is None:
        pytest.skip("no docker-registry; to run this: apt-get install docker-registry")
    folder, port = tmp_path_factory.mktemp("registry"), free_port()
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    process = subprocess.Popen(
        ["docker-registry", "serve", str(folder / "config.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            try:
                httpx.get(f"http://127.0.0.1:{port}/v2/")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield f"127.0.0.1:{port}/team"
    finally:
        process.terminate()
        process.wait()


def test_a_lock_names_what_was_pushed(image: Image, registry: str, tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    for family in ("deploy", "serving", "sklearn"):
        call([docker_client(), "tag", image(family), tag(family, registry)])
        reference = image_lock.push(family, registry)
        assert reference.startswith(f"{registry}/kfp-suite-python-{family}@sha256:")
        image_lock.write_lock(lock, {family: reference})
        call([docker_client(), "pull", "--quiet", reference])
    done = kfp_suite("compile", "train_and_deploy", "--image-lock", str(lock), "-o", str(tmp_path))
    assert done.returncode == 0, done.stderr
    spec = next(yaml.safe_load_all((tmp_path / "train_and_deploy.yaml").read_text()))
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor["container"]
        assert container["image"] in image_lock.read_lock(lock).images.values()
        digest = container["image"].partition("@")[2]
        assert {"name": "KFP_SUITE_IMAGE_DIGEST", "value": digest} in container["env"]


def test_a_family_that_is_not_locked_is_one_line(tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    image_lock.write_lock(lock, {"deploy": "r/kfp-suite-python-deploy@sha256:0"})
    done = kfp_suite("compile", "train_and_deploy", "--image-lock", str(lock), "-o", str(tmp_path))
    assert done.returncode == 2
    assert "no image of family 'sklearn' in the lock" in done.stderr
    assert not (tmp_path / "train_and_deploy.yaml").exists()
