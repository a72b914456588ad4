"""What every component's body does around its executor.

A failed step leaves `error.json` beside its outputs, for the run record, and ends its log
with the one line that says what to do; a traceback only where KFP_SUITE_DEBUG is set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from kfp_suite.components.contracts.canonical import write_json
from kfp_suite.components.contracts.errors import DEBUG_VARIABLE, KfpSuiteError
from kfp_suite.components.contracts.run_record import ERROR


@contextmanager
def step(name: str, output_path: str) -> Iterator[None]:
    """Run a step's work; on a failure, leave `error.json` beside `output_path`.

    Args:
        name: The step, as the record shows it: `ingest`.
        output_path: The local path of any output artifact of the step.
    """
    if os.environ.get("_KFP_RUNTIME") == "true" and not os.environ.get(DEBUG_VARIABLE):
        sys.excepthook = _one_line
    error_file = Path(output_path).parent / ERROR
    error_file.unlink(missing_ok=True)  # of an earlier try
    try:
        yield
    except KfpSuiteError as error:
        write_json(error_file, {"step": name, **error.to_json()})
        raise
    except Exception as error:
        unexpected = KfpSuiteError(
            f"{type(error).__name__}: {error}",
            fix=f"a defect of kfp-suite or of your code: set {DEBUG_VARIABLE}=1 for a traceback",
        )
        write_json(error_file, {"step": name, **unexpected.to_json()})
        raise


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, KfpSuiteError):
        print(f"error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
