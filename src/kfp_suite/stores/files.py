"""One file by URI, and its pin: the bytes that a later step must find there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from kfp_suite.contracts.canonical import canonical_json
from kfp_suite.contracts.digests import digest_bytes
from kfp_suite.contracts.errors import IntegrityError, MissingError, store_error
from kfp_suite.contracts.parameters import parse
from kfp_suite.stores.sources import REMOTE
from kfp_suite.stores.store import open_store


@dataclass(frozen=True)
class PinnedFile:
    """A file whose bytes had this digest when the run began."""

    uri: str
    digest: str

    def to_json(self) -> str:
        """The pin as the text that pipelines pass on."""
        return canonical_json(asdict(self)).decode()

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            MissingError: it is gone.
            IntegrityError: it has changed since it was pinned.
        """
        content = read_file(self.uri)
        if digest_bytes(content) != self.digest:
            raise IntegrityError(
                "the file has changed since the run began",
                where=self.uri,
                got=digest_bytes(content),
                expected=self.digest,
                fix="run the pipeline again",
            )
        return content


def pin_file(uri: str) -> PinnedFile:
    """Pin the file at a path, `gs://` or `s3://`. Raises MissingError."""
    return PinnedFile(uri, digest_bytes(read_file(uri)))


def pin_from_json(text: str, where: str) -> PinnedFile:
    """What `PinnedFile.to_json` wrote. Raises ParameterError."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return parse(PinnedFile, value, where)


def read_file(uri: str) -> bytes:
    """The bytes of a file at a path, `gs://` or `s3://`. Raises MissingError, StoreError."""
    if uri.startswith(REMOTE):
        parent, _, name = uri.rpartition("/")
        return open_store(parent).read(name)
    try:
        return Path(uri).read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingError("no such file", got=uri, fix="check the path") from error
    except OSError as error:
        raise store_error(error, uri) from error
