"""The complete arguments of a local run: parameters, staged sources, the default store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp_suite.local.local import Root
from kfp_suite.local.origin import parameters_from
from kfp_suite.local.parameters import (
    check,
    merge,
    parameters_of,
    read_parameters,
)
from kfp_suite.local.preflight import check_values
from kfp_suite.local.staging import stage, stage_sources


def read_values(
    pipeline: Any, file: Path | None, assigned: Mapping[str, Any], store: str, origin: str = ""
) -> dict[str, Any]:
    """The parameters of `pipeline` as they were written, each of its type and none missing.

    Args:
        pipeline: Of the suite.
        file: A parameter file.
        assigned: Values that override the file's; `a.b` reaches into the mapping `a`.
        store: The store if none is given.
        origin: A published version whose parameters the file's override.

    Raises:
        InputError: a parameter or a file that is not right.
    """
    known = parameters_of(pipeline)
    from_file = read_parameters(file) if file else {}
    from_version = parameters_from(origin, known) if origin else {}
    values = merge(known, from_version | from_file, assigned)
    if "store" in known and values.get("store") is None:
        values["store"] = store
    return check(known, values, str(file) if file else "--param", assigned)


def add_defaults(pipeline: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, and the defaults of the parameters that are not among them."""
    defaults = {name: known.default for name, known in parameters_of(pipeline).items()}
    return defaults | dict(values)


def run_arguments(
    pipeline: Any,
    file: Path | None,
    assigned: Mapping[str, Any],
    root: Root,
    origin: str = "",
) -> dict[str, Any]:
    """The arguments of a local run of `pipeline`.

    The values `assigned` override those of the file, and those the ones of the published
    version `origin`; `a.b` reaches into the mapping `a`. Relative paths start from the file's
    folder in the file, from the working folder in `assigned`. Local sources, the module
    file and the schema are staged below the root; a store that is not given is the
    root's own.

    Raises:
        InputError: a parameter or a file that is not right.
    """
    values = read_values(pipeline, file, assigned, str(root.models), origin)
    check_values(add_defaults(pipeline, values))

    def base(*names: str) -> Path:
        return file.parent if file and not assigned.keys() & set(names) else Path()

    if isinstance(values.get("sources"), dict):
        values["sources"] = {
            name: staged
            for name, source in values["sources"].items()
            for staged in stage_sources(
                {name: source},
                base("sources", f"sources.{name}", f"sources.{name}.uri"),
                root.data,
            ).values()
        }
    if values.get("module_file"):
        values["module_file"] = stage(
            values["module_file"], base("module_file"), root.data, "module_file"
        )
    if "://" not in values.get("store", "://"):
        values["store"] = str((base("store") / values["store"]).resolve())
    return values
