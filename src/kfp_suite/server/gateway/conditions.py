"""Conditions of InferenceGraphs: paths in the syntax of gjson, which KServe's router follows.

A condition holds if its path leads to a value, even to null. Supported here:

    name  0  *.na?e  a\\.b        a field, an element, a field by wildcards, escaped characters
    #                            each element: always leads to a value in a list
    #(path)  #(path OP value)    the first element that has it: OP is one of == = != < <= > >= % !%
    #(path OP value)#            all of them: always leads to a value in a list
    @this  [@this]               at the start: the document, and a list of it alone

Any other path of gjson (pipes, modifiers, selections of several, JSON Lines) is refused when the
graph is read: a condition that is not understood would silently never hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_OPERATORS = ("==", "!=", "<=", ">=", "!%", "=", "<", ">", "%")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda one, other: bool(one == other),
    "!=": lambda one, other: bool(one != other),
    "<": lambda one, other: bool(one < other),
    "<=": lambda one, other: bool(one <= other),
    ">": lambda one, other: bool(one > other),
    ">=": lambda one, other: bool(one >= other),
}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_THIS = re.compile(r"(?P<list>\[@this\]|@this)(?:\.|$)")


class NotFollowed(ValueError):
    """A path that gjson may support and this module does not; `str()` names the part."""


@dataclass(frozen=True)
class _Name:
    """A field of an object, or the position in a list."""

    text: str
    wild: re.Pattern[str] | None = None


@dataclass(frozen=True)
class _Elements:
    """The elements of a list; with a query those that fit it, `first`: only the first one."""

    query: _Query | None = None
    first: bool = False


@dataclass(frozen=True)
class _Query:
    path: tuple[_Part, ...]
    operator: str = ""
    value: str = ""


_Part = _Name | _Elements


@dataclass(frozen=True)
class Condition:
    """A condition that was parsed."""

    text: str
    _parts: tuple[_Part, ...] = field(repr=False)
    _in_list: bool = field(default=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Parse a path.

        Raises:
            NotFollowed: it is empty, or not one of those that are followed.
        """
        path, in_list = text, False
        if this := _THIS.match(text):
            path, in_list = text[this.end() :], this["list"].startswith("[")
            if not path:
                return cls(text, (), in_list)
        return cls(text, _parse_path(path), in_list)

    def holds(self, document: Any) -> bool:
        """Whether it leads to something in a JSON document."""
        start = [document] if self._in_list else document
        return bool(_find_values(start, self._parts))


def _parse_path(path: str) -> tuple[_Part, ...]:
    parts, position = [], 0
    while True:
        part, position = _part(path, position)
        parts.append(part)
        if position == len(path):
            return tuple(parts)
        if path[position] != ".":
            raise NotFollowed(f"{path[position:]!r} in {path!r}")
        position += 1


def _part(path: str, start: int) -> tuple[_Part, int]:
    """The part that starts there, and its end."""
    if path.startswith("#(", start):
        end = _closing(path, start + 1)
        query = _query(path[start + 2 : end])
        if path.startswith("#", end + 1):
            return _Elements(query), end + 2
        return _Elements(query, first=True), end + 1
    if path.startswith("#", start) and path[start + 1 : start + 2] in ("", "."):
        return _Elements(), start + 1
    if path[start : start + 1] in ("", ".", "@", "!", "[", "{", "#"):
        raise NotFollowed(f"{path[start:]!r} in {path!r}" if path else "the empty path")
    text, pattern, wild, position = "", "", False, start
    while position < len(path) and path[position] not in ".|":
        character = path[position]
        if character == "\\":
            position += 1
            character = path[position : position + 1]
            pattern += re.escape(character)
        elif character in "*?":
            wild = True
            pattern += ".*" if character == "*" else "."
        else:
            pattern += re.escape(character)
        text += character
        position += 1
    return _Name(text, re.compile(pattern, re.DOTALL) if wild else None), position


def _closing(path: str, start: int) -> int:
    """The position of the parenthesis that closes the one at `start`."""
    depth, quoted, position = 0, False, start
    while position < len(path):
        character = path[position]
        if character == "\\":
            position += 1
        elif character == '"':
            quoted = not quoted
        elif not quoted:
            depth += (character == "(") - (character == ")")
            if not depth:
                return position
        position += 1
    raise NotFollowed(f"no ')' in {path!r}")


def _query(text: str) -> _Query:
    position = 0
    while position < len(text):
        if text.startswith("#(", position):
            position = _closing(text, position + 1) + 1
            continue
        operator = next((one for one in _OPERATORS if text.startswith(one, position)), "")
        if operator:
            path, value = text[:position].strip(), text[position + len(operator) :].strip()
            if value.startswith("~"):
                raise NotFollowed(f"{value!r} in {text!r}")
            parts = _parse_path(path) if path else ()
            return _Query(parts, "=" if operator == "==" else operator, _unquote(value))
        position += 2 if text[position] == "\\" else 1
    if not text.strip():
        raise NotFollowed("an empty query")
    return _Query(_parse_path(text.strip()))


def _unquote(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def _find_values(value: Any, parts: tuple[_Part, ...]) -> list[Any]:
    """The value that a path leads to, if any."""
    if not parts:
        return [value]
    part, rest = parts[0], parts[1:]
    if isinstance(part, _Elements):
        return _elements(value, part, rest)
    if isinstance(value, dict):
        if part.wild is None:
            return _find_values(value[part.text], rest) if part.text in value else []
        fitting = (inner for key, inner in value.items() if part.wild.fullmatch(key))
        return next((found for inner in fitting if (found := _find_values(inner, rest))), [])
    if isinstance(value, list) and re.fullmatch("[0-9]+", part.text):
        position = int(part.text)
        return _find_values(value[position], rest) if position < len(value) else []
    return []


def _elements(value: Any, part: _Elements, rest: tuple[_Part, ...]) -> list[Any]:
    if not isinstance(value, list):
        return []
    fitting = [one for one in value if part.query is None or _fits(one, part.query)]
    if part.first:
        return _find_values(fitting[0], rest) if fitting else []
    if part.query is None and not rest:
        return [len(value)]
    return [[inner for one in fitting for inner in _find_values(one, rest)]]


def _fits(item: Any, query: _Query) -> bool:
    """Whether an element matches, compared as gjson does: by the type of its value."""
    if isinstance(item, (dict, list)):
        if not query.path:
            return False
        found = _find_values(item, query.path)
    else:
        found = [] if query.path else [item]
    if not found:
        return False
    return not query.operator or _compare(found[0], query.operator, query.value)


def _compare(there: Any, operator: str, wanted: str) -> bool:
    if isinstance(there, bool):
        return _compare_truth(there, {"true": True, "false": False}.get(wanted), operator)
    if isinstance(there, (int, float)):
        number = float(wanted) if _NUMBER.fullmatch(wanted) else 0.0
        return operator in _COMPARE and _COMPARE[operator](there, number)
    if not isinstance(there, str):
        return False
    if operator in ("%", "!%"):
        return (_wildcards(wanted).fullmatch(there) is not None) == (operator == "%")
    return _COMPARE[operator](there, wanted)


def _compare_truth(there: bool, wanted: bool | None, operator: str) -> bool:
    if operator in ("=", "!="):
        return (there is wanted) == (operator == "=")
    if there:
        return operator == ">=" or (operator == ">" and wanted is False)
    return operator == "<=" or (operator == "<" and wanted is True)


def _wildcards(pattern: str) -> re.Pattern[str]:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    shown = {"*": ".*", "?": "."}
    return re.compile(
        "".join(shown.get(one, re.escape(one.removeprefix("\\"))) for one in parts), re.DOTALL
    )
