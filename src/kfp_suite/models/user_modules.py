"""A user's module, imported from its bytes under a name made of its digest.

The classes it defines are saved by that name, so loading the same bytes finds them again,
and the modules of two models do not collide. It is never imported from a file: Python would
write bytecode beside it, into an artifact whose files are digested, and would run bytecode
that it finds there instead of the bytes that were checked.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
import traceback
from importlib.machinery import ModuleSpec
from types import ModuleType

from kfp_suite.contracts.digests import PREFIX, digest_bytes
from kfp_suite.contracts.errors import IntegrityError, ParameterError

MODULE = "module.py"
_PREFIX = "kfp_suite_module_"
_ONE_FILE = (
    "one file is pinned: code of a file beside it goes into it; a library must be installed "
    "where the step runs, or in its image"
)


class _SourceInMemory(importlib.abc.SourceLoader):
    """The loader of a source that is in no file. `inspect` and tracebacks find its lines."""

    def __init__(self, filename: str, content: bytes) -> None:
        self._filename, self._content = filename, content

    def get_filename(self, fullname: str) -> str:
        return self._filename

    def get_data(self, path: str) -> bytes:
        if path != self._filename:
            raise FileNotFoundError(path)
        return self._content


def import_module(content: bytes, digest: str) -> ModuleType:
    """The module with the source `content`.

    Args:
        content: Its bytes.
        digest: The digest they must have.

    Raises:
        IntegrityError: the bytes have another digest; they do not run.
        ParameterError: it cannot be imported.
    """
    got = digest_bytes(content)
    if got != digest:
        raise IntegrityError(
            "the module does not match its recorded digest", where=MODULE, got=got, expected=digest
        )
    name = f"{_PREFIX}{digest.removeprefix(PREFIX)[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    filename = f"{name}.py"
    spec = ModuleSpec(name, loader := _SourceInMemory(filename, content), origin=filename)
    module = importlib.util.module_from_spec(spec)
    module.__file__ = filename
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ParameterError(
            "the module cannot be imported",
            where=MODULE,
            got=describe_failure(error),
            fix=mend_module(error),
        ) from error
    return module


def describe_failure(error: BaseException) -> str:
    """The first line of an error that a user's module raised, and its line in the module."""
    said = (str(error).strip().splitlines() or [""])[0]
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(_PREFIX)
    ]
    where = f", at line {lines[-1]} of the module" if lines else ""
    return f"{type(error).__name__}: {said}{where}"


def mend_module(error: BaseException) -> str:
    """The remedy for an error of a user's module."""
    if isinstance(error, ModuleNotFoundError):
        return _ONE_FILE
    return "mend it there; docs/running.md says what a module is given"
