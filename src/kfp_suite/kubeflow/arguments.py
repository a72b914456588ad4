"""The arguments of a run on a cluster: checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.local_files import find_local_files
from kfp_suite.kubeflow.package import Package
from kfp_suite.local.catalog import pipelines
from kfp_suite.local.checked_values import check_for_cluster
from kfp_suite.local.origin import parameters_from
from kfp_suite.local.parameters import (
    check,
    merge,
    parameter_file,
    read_parameters,
)
from kfp_suite.local.preflight import check_values

_SET_ON_A_CLUSTER = {"target": ("", "local"), "namespace": ("default",)}
"""Parameters to the defaults that give way to what is right on a cluster."""


def cluster_arguments(
    package: Package, file: str | None, assigned: Mapping[str, Any], origin: str = ""
) -> dict[str, Any]:
    """The arguments of a run on a cluster; those that name files of this machine, by absolute
    paths, for `local_files.bring`.

    Args:
        package: The pipeline.
        file: A parameter file by path, or a shipped one by name.
        assigned: Values over those of the file, by name; `a.b` reaches into the mapping `a`.
        origin: A published version whose parameters are below both.

    Raises:
        InputError: a parameter that is not right, or a file that is not there.
    """
    path = parameter_file(file) if file else None
    from_version = parameters_from(origin, package.parameters) if origin else {}
    from_file = read_parameters(path) if path else {}
    values = merge(package.parameters, from_version | from_file, assigned)
    where = str(path) if path else "--param"
    values = check(package.parameters, values, where, assigned)
    if package.name.replace("-", "_") in pipelines():
        defaults = {name: known.default for name, known in package.parameters.items()}
        check_values(defaults | values)
    check_for_cluster(values, where, assigned)
    if not package.has_our_steps:
        return values

    def base_of(name: str) -> Path:
        """As a local run has it."""
        parts = name.split(".")
        above = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
        return path.parent if path and not assigned.keys() & above else Path()

    return find_local_files(values, base_of, has_store="store" in package.parameters)


def filled_in(package: Package, arguments: Mapping[str, Any], backend: Backend) -> dict[str, Any]:
    """The parameters that are not set, and whose defaults differ between a cluster and a laptop.

    `target` is `cluster`, so that a model is deployed and becomes the champion; `namespace` is
    the profile's; and with notifications, `notify.ui` is the address of this Kubeflow. In a
    pipeline without a step of the suite, such names mean something else, and nothing is set.

    Args:
        package: The pipeline.
        arguments: As `cluster_arguments` returns them.
        backend: The Kubeflow that it will run on.
    """
    if not package.has_our_steps:
        return {}
    on_a_cluster = {"target": "cluster", "namespace": backend.namespace}
    found: dict[str, Any] = {
        name: on_a_cluster[name]
        for name, defaults in _SET_ON_A_CLUSTER.items()
        if name not in arguments
        and name in package.parameters
        and package.parameters[name].default in defaults
        and on_a_cluster[name]
    }
    notify = arguments.get("notify")
    if isinstance(notify, Mapping) and notify and not notify.get("ui") and backend.ui:
        found["notify"] = {**notify, "ui": backend.ui}
    return found


def told(filled: Mapping[str, Any]) -> str:
    """The line with the values that were filled in; empty if there are none."""
    words = [
        f"notify.ui={value['ui']}" if name == "notify" else f"{name}={value}"
        for name, value in filled.items()
    ]
    return f"on a cluster, unless you say otherwise: {', '.join(words)}" if words else ""
