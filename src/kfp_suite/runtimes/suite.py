"""Our own server: it loads the Model artifact as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kfp_suite.contracts.model import read_model
from kfp_suite.runtimes.checks import in_range

_MAX_WORKERS = 64


@dataclass(frozen=True)
class SuiteOptions:
    """Our server's.

    Attributes:
        workers: Processes behind the port, each with the model: 1 to 64.
        cors_origins: Origins of web pages that may send requests; `*`: any.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    workers: int = 1
    cors_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        in_range(1, _MAX_WORKERS, workers=self.workers)


def arguments(options: SuiteOptions) -> list[str]:
    """The server's arguments for these options."""
    workers = [f"--workers={options.workers}"] if options.workers > 1 else []
    return [*workers, *(f"--cors_origin={origin}" for origin in options.cors_origins)]


def lay_out(
    name: str,  # noqa: ARG001
    versions: Mapping[int, Path],
    deployed: int,  # noqa: ARG001
    options: SuiteOptions,  # noqa: ARG001
    folder: Path,
) -> None:
    """A copy of the one Model artifact."""
    (path,) = versions.values()
    read_model(path).copy_to(folder)
