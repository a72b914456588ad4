"""The outputs of a run's steps, read from below its root."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kfp_suite.contracts.run_record import ERROR, LEFT_BY_STEPS, TRIALS, try_of
from kfp_suite.stores.store import Store, open_store

_OPENING = b"<!doctype html>"
_LOGS = "executor-logs"  # of KFP's launcher, whatever the end
_REPORT = re.compile(r"(.+_)?(report|preview)")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class StepOutputs:
    """The outputs of a run's steps.

    `files`: name and content of the files that the run record combines; `pages`: HTML reports
    by the name of their step; `trials`: those of a search.
    """

    files: tuple[tuple[str, Any], ...] = ()
    pages: Mapping[str, bytes] = field(default_factory=dict)
    trials: tuple[Mapping[str, Any], ...] = ()


def read_step_outputs(root: str, *, whole: bool) -> StepOutputs:
    """Read the outputs below `root`; pages and trials only if `whole`.

    Raises:
        StoreError, ParameterError: the root cannot be read.
    """
    store = open_store(root)
    files: list[tuple[str, Any]] = []
    pages: dict[str, bytes] = {}
    trials: list[Mapping[str, Any]] = []
    paths = list(_paths(store))
    for path in paths:
        name = path.rsplit("/", 1)[-1]
        if name in LEFT_BY_STEPS:
            files.append((name, json.loads(store.read(path))))
        elif whole and name == TRIALS:
            trials += json.loads(store.read(path))
        elif whole and _REPORT.fullmatch(name) and is_page(page := store.read(path)):
            pages[_step(path)] = page
    files += [(ERROR, json.loads(store.read(path))) for path in _last_errors(paths)]
    return StepOutputs(tuple(files), pages, tuple(trials))


def is_page(content: bytes) -> bool:
    """Whether an output is one of our pages, of which the beginning is enough: KFP gives it no
    suffix."""
    return content.startswith(_OPENING)


def _paths(store: Store) -> Iterator[str]:
    """Every object, but those that a killed step left half written."""
    for path in sorted(info.name for info in store.list()):
        if "/." not in f"/{path}":
            yield path


def _last_errors(paths: Sequence[str]) -> list[str]:
    """Of each step that failed in object storage, what its last try left. One that has outputs,
    which KFP uploads of a good end only, succeeded when it was tried again."""
    tries: dict[str, tuple[int, str]] = {}
    outputs = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        if number := try_of(name):
            tries[folder] = max(tries.get(folder, (0, "")), (number, path))
        elif not name.startswith(_LOGS):
            outputs.append(path)
    return [
        path
        for folder, (_, path) in sorted(tries.items())
        if not any(output.startswith(f"{folder}/") for output in outputs)
    ]


def _step(path: str) -> str:
    """The step of an output: `evaluate/evaluation_report`, and
    `evaluate/<uuid>/evaluation_report` on a cluster."""
    return "-".join(part for part in path.split("/")[:-1] if not _UUID.fullmatch(part))
