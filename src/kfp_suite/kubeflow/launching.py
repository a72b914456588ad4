"""A run, or a schedule, as somebody asks for it: by a command, or in a notebook."""

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
    """How runs are asked for.

    Attributes:
        name: Of the run or of the schedule; empty: pipeline and time, or the pipeline's.
        experiment: Its name; it is made where it is not there.
        service_account: That the steps run as; empty: the installation's.
        pipeline_root: Where artifacts go; empty: the installation's.
        check: Whether to look first for what would fail.
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
        filled: Those that nobody set, and that are others on a cluster.
        brought: The files of this machine that were brought to the store.
        warnings: What may fail.
    """

    arguments: dict[str, Any]
    filled: dict[str, Any]
    brought: tuple[Brought, ...]
    warnings: tuple[Finding, ...] = ()

    @property
    def lines(self) -> list[str]:
        """What a person is told of it."""
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
    """Fill in what nobody set, look for what would fail, and bring what only this machine has.

    Args:
        backend: Where it will run.
        package: The pipeline.
        arguments: As `cluster_arguments` gives them.
        order: How it is asked for.

    Raises:
        ParameterError: the run would fail, and why.
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
    everything, brought = bring(everything)
    return Prepared(everything, filled, brought, warnings)


def run(
    backend: Backend, package: Package, arguments: Mapping[str, Any], order: Order
) -> tuple[Submitted, Prepared]:
    """Start a run, and say what was sent.

    Args:
        backend: Where.
        package: The pipeline; it is uploaded where it is not there.
        arguments: As `cluster_arguments` gives them.
        order: How.

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
    """Make or change the schedule of its name, and say what was sent.

    Args:
        backend, package, arguments, order: As for `run`.
        recurrence: When, and how many at once.

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
