"""What C++ libraries write to standard error, past Python."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_STANDARD_ERROR = 2


@contextmanager
def set_aside() -> Iterator[None]:
    """Keep it out of a command's own lines; where the block fails it is shown after all.

    TensorFlow says what it runs on whatever its log level is. Python's `sys.stderr` goes on to
    where it went.
    """
    sys.stderr.flush()
    shown = os.dup(_STANDARD_ERROR)
    before = sys.stderr
    with tempfile.TemporaryFile() as aside, os.fdopen(shown, "w", buffering=1) as ours:
        os.dup2(aside.fileno(), _STANDARD_ERROR)
        sys.stderr = ours
        try:
            yield
        except BaseException:
            aside.seek(0)
            ours.write(aside.read().decode(errors="replace"))
            raise
        finally:
            ours.flush()
            os.dup2(shown, _STANDARD_ERROR)
            sys.stderr = before
