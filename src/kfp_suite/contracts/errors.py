"""The exceptions of KFP Suite, each a line that says what, where, got, expected and next.

    KfpSuiteError
    ├── InputError              exit 2: the user can mend it
    │   ├── ParameterError      a parameter, a spec or a command-line value
    │   ├── DataError           the content of the data
    │   ├── MissingError        a file, object, column or version that is not there
    │   └── ContractError       an artifact that is not what its contract says
    ├── IntegrityError          exit 1: bytes that do not match the digest we recorded
    ├── StoreError              exit 1: a store that refused (permissions, disk full)
    │   ├── AlreadyExistsError  an exclusive create that lost
    │   └── TransientError      worth another try: time-outs, 429, 5xx
    ├── EndpointError           exit 1: an endpoint that does not answer as it should
    │   └── SupersededError     another version took its place meanwhile
    └── RunError                exit 1: a pipeline run that failed

A valid "no" (a model that is not blessed, data with anomalies) is a result, not an error.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable
from typing import Any

DEBUG_VARIABLE = "KFP_SUITE_DEBUG"
"""Set it to see tracebacks."""
MAX_VALUE_CHARS = 200
"""Characters of a value that an error shows."""


def _one_line(value: object) -> str:
    """`value` without control characters, cut to a length that fits a terminal line."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 1] + "…"


class KfpSuiteError(Exception):
    """The base of every error raised on purpose.

    Args:
        what: What went wrong, without a final full stop.
        where: File, column, field, component or URI at fault.
        got: The offending value.
        expected: What would have been right.
        fix: What to do next, in the imperative.

    `str(error)` is one line whatever the values hold.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        got: object = None,
        expected: object = None,
        fix: str | None = None,
    ) -> None:
        self.what, self.fix = what, fix
        self.where = None if where is None else str(where)
        self.got = None if got is None else _one_line(got)
        self.expected = None if expected is None else _one_line(str(expected))
        super().__init__(what)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        parts = [_one_line_unlimited(head)]
        if self.got is not None:
            parts.append(f"got {self.got}")
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.fix is not None:
            parts.append(_one_line_unlimited(self.fix))
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The error as the plain mapping that `error.json` holds."""
        return {
            "type": type(self).__name__,
            "message": str(self),
            "what": self.what,
            "where": self.where,
            "got": self.got,
            "expected": self.expected,
            "fix": self.fix,
            "exit_code": self.exit_code,
        }


def _one_line_unlimited(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class InputError(KfpSuiteError):
    """Something the user gave and can mend."""

    exit_code = 2


class ParameterError(InputError):
    """A parameter, spec or command-line value that is not allowed."""


class DataError(InputError):
    """Data whose content cannot be used."""


class MissingError(InputError):
    """Something named that is not there."""


class ContractError(InputError):
    """An artifact that is not what its contract says."""


class IntegrityError(KfpSuiteError):
    """Bytes that do not match the digest that was recorded for them."""


class StoreError(KfpSuiteError):
    """A store that refused."""


class AlreadyExistsError(StoreError):
    """An exclusive create that found the object there."""


class TransientError(StoreError):
    """A failure that another try may not meet."""


class EndpointError(KfpSuiteError):
    """An endpoint that does not answer as it should."""


class SupersededError(EndpointError):
    """An endpoint that another deployment took over meanwhile."""


class RunError(KfpSuiteError):
    """A pipeline run that failed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The near miss for an unknown name, or the list of what is known."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known) or 'none'}"


def store_error(error: OSError, where: object) -> KfpSuiteError:
    """The error for an `OSError` met while writing or reading `where`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError("no space left", where=where, fix="free space or choose another folder")
    if error.errno == errno.EACCES and _is_unreadable(error.filename):
        return DataError(
            "permission denied",
            where=where,
            fix="give the user who runs this permission to read it",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreError(
            "permission denied", where=where, fix="give write permission or choose another folder"
        )
    if isinstance(error, FileNotFoundError):
        return MissingError("no such file or folder", where=where, fix="check the path")
    return StoreError(error.strerror or str(error), where=where)


def _is_unreadable(path: object) -> bool:
    """Whether `path` is there, and this process may not read it."""
    if not isinstance(path, (str, os.PathLike)):
        return False
    effective = os.access in os.supports_effective_ids
    is_there, is_readable = (
        os.access(path, mode, effective_ids=effective) for mode in (os.F_OK, os.R_OK)
    )
    return is_there and not is_readable
