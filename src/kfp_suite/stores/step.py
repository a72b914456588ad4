"""What every component's body does around its executor.

A failed step leaves `error.json` beside its outputs, for the run record, and ends its log
with the one line that says what to do; a traceback only where KFP_SUITE_DEBUG is set.

KFP's launcher uploads nothing of a step that failed. So where outputs are in object storage the
step itself leaves there `error-1.json`, and its second try, where KFP gives it the same place,
`error-2.json`.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

from kfp_suite.contracts.canonical import pretty_json, write_json
from kfp_suite.contracts.errors import (
    DEBUG_VARIABLE,
    AlreadyExistsError,
    KfpSuiteError,
    MissingError,
    RunError,
)
from kfp_suite.contracts.run_record import ERROR, error_of_try
from kfp_suite.stores.cached_outputs import leave_note
from kfp_suite.stores.store import open_store

log = logging.getLogger(__name__)

# Where KFP's launcher puts artifacts.
_OF_KFP = ("/gcs/", "/s3/", "/minio/")
_DELETED = (
    "what KFP took from its cache was deleted, perhaps by a lifecycle rule: run the pipeline "
    "again, and the step that made it runs again"
)
# What the extras bring that the others do not.
_LIBRARIES = {
    "tensorflow": ("tensorflow", "keras", "tensorflow_serving"),
    "tfx": (
        "apache_beam",
        "tensorflow_data_validation",
        "tensorflow_model_analysis",
        "tensorflow_transform",
        "tfx_bsl",
    ),
}


class Output(Protocol):
    """An output artifact, as KFP gives it to a component."""

    path: str
    uri: str


@contextmanager
def step(name: str, output: Output, noted_in: str = "") -> Iterator[None]:
    """Run a step's work; on a failure, leave the error beside `output`.

    Args:
        name: The step, as the record shows it: `ingest`.
        output: Any output artifact of the step; of one that KFP may take from its cache, the
            one that later steps read.
        noted_in: The folder where `cached_outputs` notes the output; empty: nowhere.
    """
    if os.environ.get("_KFP_RUNTIME") == "true" and not os.environ.get(DEBUG_VARIABLE):
        sys.excepthook = _one_line
    (Path(output.path).parent / ERROR).unlink(missing_ok=True)  # of an earlier try
    try:
        yield
        leave_note(noted_in, output.uri, output.path)
    except KfpSuiteError as error:
        if isinstance(error, MissingError) and str(error.where).startswith(_OF_KFP):
            error.fix = _DELETED
        _leave(name, output, error)
        raise
    except ModuleNotFoundError as error:
        missing = _missing_library(error)
        _leave(name, output, missing)
        raise missing from error
    except SystemExit as error:
        ended = RunError(
            "the step's code called exit()",
            got=error.code,
            fix="let the code return: what it ran may be a script, not a module",
        )
        _leave(name, output, ended)
        raise ended from error
    except Exception as error:
        unexpected = KfpSuiteError(
            f"{type(error).__name__}: {error}",
            fix=f"a defect of kfp-suite or of your code: set {DEBUG_VARIABLE}=1 for a traceback",
        )
        _leave(name, output, unexpected)
        raise


def _leave(name: str, output: Output, error: KfpSuiteError) -> None:
    content = {"step": name, **error.to_json()}
    write_json(Path(output.path).parent / ERROR, content)
    if "://" not in output.uri:
        return
    folder = output.uri.rpartition("/")[0]
    try:
        store = open_store(folder)
        for number in itertools.count(1):
            with suppress(AlreadyExistsError):  # of an earlier try
                store.create(error_of_try(number), pretty_json(content))
                return
    except KfpSuiteError as refused:
        log.warning("the run record will not say why: %s", refused)


def _missing_library(error: ModuleNotFoundError) -> MissingError:
    """A library of a step that is not installed where it runs."""
    library = (error.name or "").partition(".")[0]
    extra = next((extra for extra, names in _LIBRARIES.items() if library in names), "")
    fix = f"pip install 'kfp-suite[{extra or 'sklearn'}]', or run it in its image: --runner docker"
    if not extra:
        fix += "; one file is pinned: code of a file beside your module goes into the module"
    return MissingError(f"no library '{library}' here", fix=fix)


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, KfpSuiteError):
        print(f"error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
