"""Names of parameters, metrics and tags that MLflow accepts.

MLflow allows letters, digits, `_`, `-`, `.`, `:`, space and `/`, at most 250 characters
(mlflow/utils/validation.py); of its stores, the one in files makes folders of a `/`, which then
meet files, and takes a leading `.` for a folder above. A class of a model, a column or an option
of an estimator may be called anything.
"""

from __future__ import annotations

import hashlib
import re

_FORBIDDEN = re.compile(r"[^\w\-.: ]")
_MAX_NAME_CHARACTERS = 250
_DIGEST_CHARACTERS = 8


def allowed_name(name: str) -> str:
    """The name itself if MLflow takes it; else the name with `_` for what it does not allow, and
    the beginning of the name's own digest: two names never become one, and the same name is the
    same in every run."""
    readable = re.sub(r"^\.+", lambda dots: "_" * len(dots[0]), _FORBIDDEN.sub("_", name))
    if name and readable == name and len(name) <= _MAX_NAME_CHARACTERS:
        return name
    mark = f"-{hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_CHARACTERS]}"
    return readable[: _MAX_NAME_CHARACTERS - len(mark)] + mark
