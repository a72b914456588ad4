"""Our own server: it loads the Model artifact as it is."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path


def lay_out(name: str, versions: Mapping[int, Path], options: None, folder: Path) -> None:  # noqa: ARG001
    """A copy of the one Model artifact."""
    (path,) = versions.values()
    shutil.copytree(path, folder, dirs_exist_ok=True)
