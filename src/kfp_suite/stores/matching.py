"""The files of a folder and the objects of a bucket that a source names, by one rule for both.

A URI without a wildcard names a file, or everything below a folder. In a pattern `*`, `?` and
`[…]` stay within a name, and `**` is any number of folders. Names that begin with `.` or `_`
are left out, as by Hive and Spark, unless the pattern begins so as well; so are the empty
objects that stand for folders in a bucket.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from kfp_suite.contracts.errors import MissingError, store_error

ANY_FOLDERS = "**"
EVERYTHING = (ANY_FOLDERS,)
_WILDCARD = re.compile(r"[*?\[]")
_HIDDEN = (".", "_")
_FOLDER_OBJECTS = ("/", "_$folder$")


def split_pattern(path: str) -> tuple[str, tuple[str, ...]]:
    """The folder before the first wildcard, and the parts of the pattern below it.

    Without a wildcard, everything below `path`.
    """
    parts = path.split("/")
    for number, part in enumerate(parts):
        if _WILDCARD.search(part):
            return "/".join(parts[:number]), tuple(parts[number:])
    return path, EVERYTHING


def fixed_prefix(path: str) -> str:
    """The text before the first wildcard."""
    return _WILDCARD.split(path, maxsplit=1)[0]


def matching_names(names: Iterable[str], path: str) -> list[str]:
    """The names of the objects that match `path`, a folder or a pattern; in order."""
    folder, pattern = split_pattern(path)
    start = f"{folder}/" if folder else ""
    return sorted(
        name
        for name in names
        if name.startswith(start)
        and not name.endswith(_FOLDER_OBJECTS)
        and _matches(tuple(name.removeprefix(start).split("/")), pattern)
    )


def find_files(root: Path, pattern: tuple[str, ...], where: str) -> dict[str, Path]:
    """The files below `root` that match the pattern, by their name below it, in order.

    Links are followed. A file that has several names is there once, by the first of those
    that lead through no link, or else by the first.

    Raises:
        MissingError: a link that may be meant leads to nothing.
    """
    found: dict[Path, tuple[bool, str, Path]] = {}
    if root.is_dir():
        for name, path in _walk(root, (), pattern, (root.resolve(),), where):
            real = path.resolve()
            candidate = (real != root.resolve() / name, name, path)
            found[real] = min(found.get(real, candidate), candidate)
    return {name: path for _, name, path in sorted(found.values(), key=lambda item: item[1])}


@contextmanager
def convert_read_errors(where: str) -> Iterator[None]:
    """Convert an error of reading a file or a folder into one line."""
    try:
        yield
    except OSError as error:
        raise store_error(error, f"{where}: {error.filename}") from error


def check_link(path: Path, where: str) -> None:
    """Raises MissingError if a path is a link that leads to nothing."""
    if path.is_symlink() and not path.exists():
        raise MissingError(
            "a link that leads to nothing",
            where=f"{where}: {path}",
            got=f"a link to {path.readlink()}",
            fix="mount or restore what it leads to, or remove it",
        )


def _walk(
    folder: Path,
    parts: tuple[str, ...],
    pattern: tuple[str, ...],
    above: tuple[Path, ...],
    where: str,
) -> Iterator[tuple[str, Path]]:
    """Names and paths of matching files.

    Args:
        above: The real folders on the way here, against links that lead back.
    """
    for entry in sorted(os.scandir(folder), key=lambda found: found.name):
        here = (*parts, entry.name)
        path = Path(entry.path)
        is_meant, leads_on = _matches(here, pattern), _leads_on(here, pattern)
        if not is_meant and not leads_on:
            continue
        check_link(path, where)
        if entry.is_dir():
            real = path.resolve()
            if leads_on and not (ANY_FOLDERS in pattern and real in above):
                yield from _walk(path, here, pattern, (*above, real), where)
        elif is_meant and entry.is_file():
            yield "/".join(here), path


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == ANY_FOLDERS:
        below = bool(parts) and _is_visible(parts[0]) and _matches(parts[1:], pattern)
        return below or _matches(parts, pattern[1:])
    return bool(parts) and _fits(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _leads_on(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether a name below the folder `parts` may match."""
    if not parts or not pattern:
        return bool(pattern)
    if pattern[0] == ANY_FOLDERS:
        below = _is_visible(parts[0]) and _leads_on(parts[1:], pattern)
        return below or _leads_on(parts, pattern[1:])
    return _fits(parts[0], pattern[0]) and _leads_on(parts[1:], pattern[1:])


def _fits(part: str, pattern: str) -> bool:
    return fnmatchcase(part, pattern) and (_is_visible(part) or pattern.startswith(_HIDDEN))


def _is_visible(part: str) -> bool:
    return not part.startswith(_HIDDEN)
