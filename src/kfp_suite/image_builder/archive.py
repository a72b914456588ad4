"""An image of one layer, whose identifier is of its content alone.

`docker import` writes the time into an image, so the same files are another image each time.
An archive for `docker load` says its own times: all are the beginning of time, and the same
layer is the same image on every machine and day.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

_CREATED = "1970-01-01T00:00:00Z"
_BLOCK = 1 << 20


def write_image(
    layer: Path, target: Path, *, tag: str, architecture: str, labels: Mapping[str, str]
) -> None:
    """Write an archive for `docker load`.

    Args:
        layer: The files of the image, as an uncompressed tar archive.
        target: The archive.
        tag: The tag of the image.
        architecture: As Docker names it: `amd64`.
        labels: Of the image.
    """
    digest = hashlib.sha256()
    with layer.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    config = json.dumps(
        {
            "architecture": architecture,
            "config": {"Labels": dict(labels)},
            "created": _CREATED,
            "history": [{"created": _CREATED, "created_by": "kfp-suite images build"}],
            "os": "linux",
            "rootfs": {"diff_ids": [f"sha256:{digest.hexdigest()}"], "type": "layers"},
        },
        sort_keys=True,
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as archive:
        _add(archive, name, config)
        _add(archive, "manifest.json", json.dumps(manifest).encode())
        entry = tarfile.TarInfo("layer.tar")
        entry.size = layer.stat().st_size
        with layer.open("rb") as file:
            archive.addfile(entry, file)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
