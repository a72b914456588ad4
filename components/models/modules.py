"""A user's module, as it travels: imported under a name made of its digest.

The classes it defines are saved by that name, so the same bytes find them again wherever
the model is loaded, and two models with two modules do not meet.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from kfp_suite.components.contracts.digests import PREFIX, digest_file
from kfp_suite.components.contracts.errors import IntegrityError, ParameterError

MODULE = "module.py"


def import_module(path: Path, digest: str) -> ModuleType:
    """The module in the file `path`, whose bytes have the digest `digest`.

    Raises:
        IntegrityError: the bytes are others: they do not run.
        ParameterError: it cannot be imported.
    """
    got = digest_file(path)
    if got != digest:
        raise IntegrityError(
            "the module does not match its recorded digest", where=path, got=got, expected=digest
        )
    name = f"kfp_suite_module_{digest.removeprefix(PREFIX)[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ParameterError(
            "the module cannot be imported",
            where=path.name,
            got=f"{type(error).__name__}: {error}",
            fix="run it on its own first; its imports must be in the step's image",
        ) from error
    return module
