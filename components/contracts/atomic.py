"""Folders that appear whole, or not at all.

A retried step finds the partial output of the step before it: so an output is written
to a sibling and renamed into place when it is complete.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kfp_suite.components.contracts.errors import store_error


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """Yield an empty folder beside `final`; rename it to `final` when the block succeeds.

    What stood at `final` is replaced. On an exception nothing is left behind; after a kill
    the sibling `.<name>.partial` is left, and the next call starts by removing it.

    Raises:
        StoreError: the parent is not writable or the disk is full.
    """
    partial = final.with_name(f".{final.name}.partial")
    replaced = final.with_name(f".{final.name}.replaced")
    try:
        for leftover in (partial, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            if final.is_dir() and not final.is_symlink():
                os.rename(final, replaced)
            elif final.exists() or final.is_symlink():
                final.unlink()
            os.rename(partial, final)
        finally:
            for leftover in (partial, replaced):
                shutil.rmtree(leftover, ignore_errors=True)
    except OSError as error:
        raise store_error(error, error.filename or final) from error
