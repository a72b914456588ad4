"""Names of columns that a dataset keeps as the file has them, or refuses."""

from __future__ import annotations

from collections.abc import Sequence

from kfp_suite.contracts.errors import DataError


def check_names(source: str, file: str, names: Sequence[str]) -> None:
    """Refuse the names that SQL would change or mix up.

    Raises:
        DataError: an empty name, blanks around one, or two that are equal but for capitals.
    """
    where = f"sources.{source}: {file}"
    seen: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        if not name.strip():
            raise DataError(
                f"column {number} has no name",
                where=where,
                got=name,
                fix="name it in the file (an index that pandas wrote: index=False leaves it out)",
            )
        if name != name.strip():
            raise DataError(
                "a column's name with blanks around it",
                where=where,
                got=f"'{name}'",
                expected=f"'{name.strip()}'",
                fix="rename it in the file",
            )
        other = seen.get(name.lower())
        if other is not None:
            raise DataError(
                f"column '{name}' is there twice"
                if other == name
                else f"columns '{other}' and '{name}' differ in capitals alone",
                where=where,
                fix="rename one of them in the file",
            )
        seen[name.lower()] = name
