"""A folder as a store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from kfp_suite.contracts.atomic import PARTIAL, partial_file, remove_leftovers_in
from kfp_suite.contracts.errors import AlreadyExistsError, MissingError, store_error
from kfp_suite.stores.store import ObjectInfo, check_name, is_name


class FolderStore:
    """Objects are files below `root`, written to a sibling and linked into place."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = str(self.root)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder = self.root / prefix.rpartition("/")[0]
        if not folder.is_dir():
            return
        names = []
        for parent, _, files in os.walk(folder):
            below = Path(parent).relative_to(self.root)
            names += [(below / file).as_posix() for file in files if not file.endswith(PARTIAL)]
        for name in sorted(name for name in names if name.startswith(prefix) and is_name(name)):
            try:
                yield self.stat(name)
            except MissingError:
                continue  # removed since it was listed

    def stat(self, name: str) -> ObjectInfo:
        try:
            found = (self.root / check_name(name)).stat()
        except OSError as error:
            raise store_error(error, self.root / name) from error
        created = datetime.fromtimestamp(found.st_mtime, UTC).isoformat(timespec="seconds")
        return ObjectInfo(name, found.st_size, "", created)

    def read(self, name: str, generation: str = "") -> bytes:
        try:
            return (self.root / check_name(name)).read_bytes()
        except OSError as error:
            raise store_error(error, self.root / name) from error

    def copy(self, name: str, target: Path, generation: str = "") -> None:
        source = self.root / check_name(name)
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise store_error(error, error.filename or source) from error

    def create(self, name: str, content: bytes | Path) -> None:
        target = self.root / check_name(name)
        # Beside the folders of the versions, so that no reader sees half a file; below
        # the first folder of the name, so that it is on the same file system.
        partials = self.root.joinpath(*name.split("/")[:-1][:1]) / PARTIAL
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partials.mkdir(exist_ok=True)
            remove_leftovers_in(partials)
            with partial_file(partials / target.name) as file:
                if isinstance(content, Path):
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, file)
                else:
                    file.write(content)
                file.flush()
                os.fsync(file.fileno())
                # A hard link fails if the name is taken: exclusive and whole at once.
                os.link(file.name, target)
        except FileExistsError as error:
            raise AlreadyExistsError("it is there already", where=target) from error
        except OSError as error:
            raise store_error(error, target) from error

    def download(self, prefix: str, names: Iterable[str], folder: Path) -> None:
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy(f"{prefix}/{name}", target)
