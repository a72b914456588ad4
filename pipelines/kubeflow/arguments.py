"""The arguments of a run on a cluster: checked before anything is sent."""

from __future__ import annotations

from typing import Any

from kfp_suite.components.contracts.errors import ParameterError
from kfp_suite.pipelines.kubeflow.package import Package
from kfp_suite.pipelines.runs.origin import parameters_from
from kfp_suite.pipelines.runs.parameters import (
    check,
    merge,
    parameter_file,
    parse_assignments,
    read_parameters,
)

_PLACES = ("store", "module_file", "labelled")


def cluster_arguments(
    package: Package, file: str | None, assignments: tuple[str, ...], origin: str = ""
) -> dict[str, Any]:
    """What a run of a pipeline on a cluster is called with.

    Args:
        package: The pipeline.
        file: A parameter file by path, or a shipped one by name.
        assignments: `name=value`, over those of the file.
        origin: A published version whose parameters are below both.

    Raises:
        InputError: a parameter that is not right, or a path that only this machine has.
    """
    assigned = parse_assignments(assignments, package.parameters)
    path = parameter_file(file) if file else None
    from_version = parameters_from(origin, package.parameters) if origin else {}
    from_file = read_parameters(path) if path else {}
    values = merge(package.parameters, from_version | from_file, assigned)
    values = check(package.parameters, values, str(path) if path else "--param")
    for name in _PLACES:
        _check_place(name, values.get(name))
    for name, source in (values.get("sources") or {}).items():
        if isinstance(source, dict):
            _check_place(f"sources.{name}.uri", source.get("uri"))
    return values


def _check_place(name: str, value: Any) -> None:
    if isinstance(value, str) and value and "://" not in value:
        raise ParameterError(
            "only this machine has this",
            where=name,
            got=value,
            expected="what the cluster reads: gs://…, s3://…, postgresql://…",
            fix=f"upload it and give its address: --param {name}=gs://…",
        )
