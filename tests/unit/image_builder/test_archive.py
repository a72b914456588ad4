"""An image of one layer: the same files are the same image."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.image_builder.archive import write_image
from kfp_suite.image_builder.bases import _recipe_of, load_image
from kfp_suite.image_builder.client import call, docker_client


def layer(folder: Path, content: str = "here") -> Path:
    folder.mkdir()
    file = folder / "layer.tar"
    (folder / "hello").write_text(content)
    with tarfile.open(file, "w") as archive:
        entry = tarfile.TarInfo("hello")
        entry.size = len(content)
        with (folder / "hello").open("rb") as source:
            archive.addfile(entry, source)
    return file


def test_the_same_layer_is_the_same_archive(tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        target = tmp_path / f"{name}.tar"
        write_image(
            layer(tmp_path / name), target, tag="a:b", architecture="amd64", labels={"x": "y"}
        )
        written.append(target.read_bytes())
    assert written[0] == written[1]
    with tarfile.open(tmp_path / "one.tar") as archive:
        (manifest,) = json.loads(archive.extractfile("manifest.json").read())  # type: ignore[union-attr]
        config = archive.extractfile(manifest["Config"]).read()  # type: ignore[union-attr]
        content = archive.extractfile(manifest["Layers"][0]).read()  # type: ignore[union-attr]
    assert manifest["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
    said = json.loads(config)
    assert said["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(content).hexdigest()}"]
    assert said["config"] == {"Labels": {"x": "y"}}
    assert said["created"] == "1970-01-01T00:00:00Z"


@pytest.mark.skipif(
    shutil.which("docker") is None,
    reason="no Docker: pytest tests/unit/image_builder/test_archive.py",
)
def test_docker_gives_the_same_layer_the_same_identifier(tmp_path: Path) -> None:
    try:
        client = docker_client()
    except KfpSuiteError:
        pytest.skip("no Docker daemon: dockerd & pytest tests/unit/image_builder/test_archive.py")
    tag, identifiers = "kfp-suite-test-archive:1", []
    try:
        for number in range(2):
            folder = tmp_path / str(number)
            load_image(layer(folder), folder / "image.tar", tag, "sha256:recipe")
            inspected = call([client, "image", "inspect", "--format", "{{.Id}}", tag])
            identifiers.append(inspected.strip())
            assert _recipe_of(tag) == "sha256:recipe"
            call([client, "image", "rm", tag])
        assert identifiers[0] == identifiers[1]
        assert _recipe_of(tag) == ""
    finally:
        shutil.rmtree(tmp_path, ignore_errors=True)
