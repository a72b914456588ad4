"""Requests for runs and schedules, from a command or a notebook."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from kfp_suite.kubeflow.arguments import filled_in, told
from kfp_suite.kubeflow.cluster_checks import look_at_cluster_of_run, wanted_by
from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.local_files import Brought, bring
from kfp_suite.kubeflow.package import Package
from kfp_suite.kubeflow.run_checks import check_run
from kfp_suite.kubeflow.scheduling import Change, Schedule, schedule
from kfp_suite.kubeflow.submitting import Submitted, experiment_named, submit
from kfp_suite.kubeflow.timing import Timing
from kfp_suite.kubeflow.uploading import upload
from kfp_suite.local.findings import Finding, refuse_errors

COPIES = (
    "every run of the schedule reads these copies; for data that change, give an address that the "
    "cluster reads"
)
"""What is to be said of a schedule with files that were brought to the store."""


@dataclass(frozen=True)
class Order:
    """The options of a run or schedule.

    Attributes:
        name: Of the run or of the schedule; empty: pipeline and time, or the pipeline's.
        experiment: Its name; it is created if missing.
        service_account: The account of the steps; empty: the installation's.
        pipeline_root: The root of artifacts; empty: the installation's.
        check: Whether to check first for errors that would occur later.
    """

    name: str = ""
    experiment: str = "Default"
    service_account: str = ""
    pipeline_root: str = ""
    check: bool = True


@dataclass(frozen=True)
class Recurrence:
    """How a schedule starts runs; see `Schedule`. `pin`: this version, or the latest each time."""

    timing: Timing
    max_concurrency: int = 1
    catchup: bool = True
    pin: bool = True


@dataclass(frozen=True)
class Prepared:
    """The arguments as they are sent.

    Attributes:
        arguments: All of them.
        filled: Those that were not set, and whose defaults differ on a cluster.
        brought: The files of this machine that were copied to the store.
        warnings: Possible failures.
    """

    arguments: dict[str, Any]
    filled: dict[str, Any]
    brought: tuple[Brought, ...]
    warnings: tuple[Finding, ...] = ()

    @property
    def lines(self) -> list[str]:
        """The lines to print about it."""
        warnings = [f"warning: {one}" for one in self.warnings]
        return [*warnings, *map(str, self.brought), *filter(None, [told(self.filled)])]

    def to_json(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "filled_in": self.filled,
            "brought": [asdict(one) for one in self.brought],
            "warnings": [asdict(one) for one in self.warnings],
        }


def prepare(
    backend: Backend, package: Package, arguments: Mapping[str, Any], order: Order
) -> Prepared:
    """Fill in defaults, check for errors, and copy local files to the store.

    Args:
        backend: The Kubeflow that it will run on.
        package: The pipeline.
        arguments: As `cluster_arguments` returns them.
        order: The options of the run.

    Raises:
        ParameterError: the run would fail, with the reasons.
        KfpSuiteError: as `bring`.
    """
    filled = filled_in(package, arguments, backend)
    everything = {**arguments, **filled}
    warnings: tuple[Finding, ...] = ()
    if order.check:
        wanted = wanted_by(package, everything, backend, order.service_account)
        warnings = refuse_errors(
            [
                *check_run(package, everything, order.pipeline_root),
                *look_at_cluster_of_run(backend.connection, wanted),
            ]
        )
    brought: tuple[Brought, ...] = ()
    if package.has_our_steps:
        everything, brought = bring(everything)
    return Prepared(everything, filled, brought, warnings)


def run(
    backend: Backend, package: Package, arguments: Mapping[str, Any], order: Order
) -> tuple[Submitted, Prepared]:
    """Start a run, and return what was sent.

    Args:
        backend: The Kubeflow.
        package: The pipeline; it is uploaded if missing.
        arguments: As `cluster_arguments` returns them.
        order: The options of the run.

    Raises:
        KfpSuiteError: see `Backend.call`.
    """
    prepared = prepare(backend, package, arguments, order)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    done = submit(
        backend,
        package,
        prepared.arguments,
        # Of its own, so that it can be named.
        name=order.name or f"{package.name} {now} {secrets.token_hex(2)}",
        experiment=order.experiment,
        service_account=order.service_account,
        pipeline_root=order.pipeline_root,
    )
    return done, prepared


def recur(
    backend: Backend,
    package: Package,
    arguments: Mapping[str, Any],
    order: Order,
    recurrence: Recurrence,
) -> tuple[Change, Prepared]:
    """Create or change the schedule of that name, and return what was sent.

    Args:
        backend, package, arguments, order: As for `run`.
        recurrence: Times, and the number of concurrent runs.

    Raises:
        AlreadyExistsError: as `schedule`.
        KfpSuiteError: see `Backend.call`.
    """
    prepared = prepare(backend, package, arguments, order)
    uploaded = upload(backend, package)
    wanted = Schedule(
        name=order.name or package.name,
        pipeline_id=uploaded.pipeline_id,
        version_id=uploaded.version_id if recurrence.pin else "",
        **asdict(recurrence.timing),
        max_concurrency=recurrence.max_concurrency,
        catchup=recurrence.catchup,
        parameters=prepared.arguments,
        service_account=order.service_account,
        pipeline_root=order.pipeline_root,
        experiment_id=experiment_named(backend, order.experiment),
    )
    return schedule(backend, wanted), prepared
