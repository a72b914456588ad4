"""Files and folders that appear whole, or not at all, also with several writers at once.

Each writer fills a sibling of its own, `.<name>.<random>.partial`, and renames or links it into
place. A killed writer leaves its sibling behind; the next writer of the same name removes it. A
lock on the sibling, which the system releases with the process, shows that its writer is alive.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from kfp_suite.contracts.errors import store_error

PARTIAL = ".partial"
"""How the name of a file ends that is not whole."""
_MAX_NAME_BYTES = 255 - len(f"..{'0' * 16}{PARTIAL}")
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """Yield an empty folder beside `final`; rename it to `final` when the block succeeds.

    What stood at `final` is replaced; of two writers at once the last one's stays. On an
    exception nothing is left behind.

    Raises:
        StoreError: the parent is not writable or the disk is full.
    """
    try:
        remove_leftovers(final)
        partial, lock = _claim_folder(final)
        try:
            yield partial
            _put_in_place(partial, final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            os.close(lock)
    except OSError as error:
        raise store_error(error, error.filename or final) from error


@contextmanager
def whole_file(final: Path) -> Iterator[BinaryIO]:
    """Yield a new file beside `final`, opened for writing; rename it to `final` when the block
    succeeds.

    What stood at `final` is replaced; of two writers at once the last one's stays. On an
    exception nothing is left behind.

    Raises:
        StoreError: the folder is not writable or the disk is full.
    """
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(final)
        with partial_file(final) as file:
            yield file
            file.flush()
            os.replace(file.name, final)
    except OSError as error:
        raise store_error(error, final) from error


@contextmanager
def partial_file(final: Path) -> Iterator[BinaryIO]:
    """Yield a new file beside `final`, opened for writing, and remove it at the end unless it was
    renamed.

    It is locked as long as its writer lives, so that `remove_leftovers` leaves it alone.

    Raises:
        OSError: it cannot be written.
    """
    partial, file = _claim_file(final)
    try:
        with file:
            yield file
    finally:
        partial.unlink(missing_ok=True)


def remove_leftovers(final: Path) -> None:
    """Remove the siblings of `final` whose writers were killed.

    Those of living writers stay, and so does everything if the file system has no locks.
    """
    siblings = glob.glob(f".{glob.escape(_short_name(final))}.*{PARTIAL}", root_dir=final.parent)
    _remove_unlocked(final.parent / name for name in siblings)


def remove_leftovers_in(folder: Path) -> None:
    """Remove every partial file or folder in `folder` whose writer was killed."""
    _remove_unlocked(path for path in folder.iterdir() if path.name.endswith(PARTIAL))


def _remove_unlocked(leftovers: Iterable[Path]) -> None:
    for leftover in leftovers:
        with suppress(OSError):
            # NFS locks no file exclusively that is not open for writing; a folder never is.
            mode = os.O_RDONLY if leftover.is_dir() else os.O_RDWR
            descriptor = os.open(leftover, mode | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(leftover)
            finally:
                os.close(descriptor)


def _sibling(final: Path) -> Path:
    return final.with_name(f".{_short_name(final)}.{secrets.token_hex(8)}{PARTIAL}")


def _short_name(final: Path) -> str:
    """The name of `final`, or its digest if a sibling's name would be longer than file systems
    allow (255 bytes)."""
    name = os.fsencode(final.name)
    if len(name) <= _MAX_NAME_BYTES:
        return final.name
    return hashlib.sha256(name).hexdigest()


def _claim_folder(final: Path) -> tuple[Path, int]:
    """A new folder beside `final`, and the descriptor that holds its lock."""
    while True:
        partial = _sibling(final)
        partial.mkdir(parents=True)
        try:
            descriptor = os.open(partial, os.O_RDONLY)
        except FileNotFoundError:
            continue  # taken for a leftover before it had its lock
        if _is_locked(partial, descriptor):
            return partial, descriptor
        os.close(descriptor)


def _claim_file(final: Path) -> tuple[Path, BinaryIO]:
    while True:
        partial = _sibling(final)
        file = open(partial, "xb")  # noqa: SIM115 - its lock is held until it is in place
        if _is_locked(partial, file.fileno()):
            return partial, file
        file.close()


def _is_locked(partial: Path, descriptor: int) -> bool:
    """Lock a new sibling; false if it was taken for a leftover before it had its lock."""
    with suppress(OSError):  # without locks it is never taken for a leftover
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        return os.path.samestat(partial.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _put_in_place(partial: Path, final: Path) -> None:
    while True:
        try:
            os.rename(partial, final)
            return
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
        with suppress(FileNotFoundError):  # another writer took it away first
            if final.is_dir() and not final.is_symlink():
                replaced = _sibling(final)
                os.rename(final, replaced)
                shutil.rmtree(replaced, ignore_errors=True)
            else:
                final.unlink()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()
