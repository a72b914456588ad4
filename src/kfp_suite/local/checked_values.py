"""The values that a parameter may hold: those that reach a step as they were written.

KFP passes parameters as JSON with 64-bit floats for numbers, replaces `{{$…}}`, and has no
infinities. A value that would arrive as another one is refused, by its path.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping
from typing import Any

from kfp_suite.contracts.errors import ParameterError

MAX_DEPTH = 20
"""Of mappings and lists within each other."""
MAX_VALUES = 200_000
"""In one parameter."""
MAX_EXACT = 2**53
"""The largest whole number up to which a 64-bit float holds each one."""
MAX_CLUSTER_BYTES = 100_000
"""Of all parameters of a run on a cluster, as JSON: KFP passes them in one argument of a
command, for which Linux has 131,072 bytes."""
_PLACEHOLDER, _ARGO = "{{$", "{{"


def place_of(name: str, where: str, assigned: Collection[str]) -> str:
    """Where the parameter `name` is set.

    Args:
        name: A parameter.
        where: The parameter file.
        assigned: Names that override the file's; `a.b` is a key of the parameter `a`.

    Returns:
        `--param` if the parameter or a key inside it is assigned, else `where`.
    """
    is_assigned = any(other == name or other.startswith(f"{name}.") for other in assigned)
    return "--param" if is_assigned else where


def convert_to_plain(value: Any, path: str, where: str) -> Any:
    """`value` as text, numbers, true, false, null, lists and mappings with text keys.

    Tuples become lists and paths text.

    Args:
        value: The value of a file, a command or a notebook.
        path: The parameter's name.
        where: The file, or `--param`.

    Raises:
        ParameterError: a part of it would not arrive; naming the path within the parameter.
    """
    return _Reader(where).read(value, path, 0)


def check_for_cluster(
    arguments: Mapping[str, Any], where: str, assigned: Collection[str] = ()
) -> None:
    """Refuse values that reach a step on this machine, but not on a cluster.

    Args:
        arguments: Values by parameter.
        where: The parameter file.
        assigned: As `place_of` takes them.

    Raises:
        ParameterError: parameters that are too large, naming the largest; or one with `{{`, which
            Argo, that runs KFP's steps, fills in.
    """
    for name, value in arguments.items():
        if _ARGO in json.dumps(value):
            raise ParameterError(
                f"{name}: on a cluster Argo fills in what stands in '{{{{…}}}}'",
                where=place_of(name, where, assigned),
                got=value,
                expected="text without '{{'",
            )
    sizes = {name: len(json.dumps(value).encode()) for name, value in arguments.items()}
    total = sum(sizes.values())
    if total <= MAX_CLUSTER_BYTES:
        return
    largest = max(sizes, key=lambda name: sizes[name])
    raise ParameterError(
        f"parameter '{largest}' is too large for a cluster",
        where=place_of(largest, where, assigned),
        got=f"{sizes[largest]:,} bytes, of {total:,} in all",
        expected=f"at most {MAX_CLUSTER_BYTES:,} bytes in all parameters",
        fix="name a folder or a pattern instead of many files; put a long query into a view",
    )


class _Reader:
    def __init__(self, where: str) -> None:
        self._where = where
        self._left = MAX_VALUES

    def read(self, value: Any, path: str, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise self._make_error("too many values", path, None, f"at most {MAX_VALUES:,}")
        if depth > MAX_DEPTH:
            raise self._make_error("nested too deeply", path, None, f"at most {MAX_DEPTH} levels")
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, int):
            return self._whole(value, path)
        if isinstance(value, float):
            return self._number(value, path)
        if isinstance(value, Mapping):
            return {
                self._key(key, path): self.read(item, f"{path}.{key}", depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.read(item, f"{path}[{n}]", depth + 1) for n, item in enumerate(value)]
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise self._make_error(
            f"a value of type {kind}", path, value, "text, a number, true, false, a list, a mapping"
        )

    def _text(self, value: str, path: str) -> str:
        if _PLACEHOLDER in value:
            raise self._make_error(
                "KFP fills in what stands in '{{$…}}'", path, value, "text without '{{$'"
            )
        try:  # JSON in ASCII has two escapes for one character beyond the first 65,536
            return value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            raise self._make_error("text that is not Unicode", path, repr(value), None) from error

    def _whole(self, value: int, path: str) -> int:
        if abs(value) > MAX_EXACT:
            raise self._make_error(
                "KFP rounds whole numbers of this size",
                path,
                value if abs(value) < 10**100 else "more than 100 digits",
                f"at most {MAX_EXACT}; or text, in quotes",
            )
        return int(value)

    def _number(self, value: float, path: str) -> float:
        if not math.isfinite(value):
            raise self._make_error(
                "not a finite number", path, value, "a number; without a limit, leave the key out"
            )
        return float(value)

    def _key(self, key: Any, path: str) -> str:
        if not isinstance(key, str):
            raise self._make_error("a key that is not text", path, key, "text, in quotes")
        return self._text(key, path)

    def _make_error(
        self, what: str, path: str, got: object, expected: str | None
    ) -> ParameterError:
        return ParameterError(f"{path}: {what}", where=self._where, got=got, expected=expected)
