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
from kfp_suite.components.contracts.errors import DEBUG_VARIABLE, KfpSuiteError, MissingError
from kfp_suite.components.contracts.run_record import ERROR

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
    except ModuleNotFoundError as error:
        missing = _missing_library(error)
        write_json(error_file, {"step": name, **missing.to_json()})
        raise missing from error
    except Exception as error:
        unexpected = KfpSuiteError(
            f"{type(error).__name__}: {error}",
            fix=f"a defect of kfp-suite or of your code: set {DEBUG_VARIABLE}=1 for a traceback",
        )
        write_json(error_file, {"step": name, **unexpected.to_json()})
        raise


def _missing_library(error: ModuleNotFoundError) -> MissingError:
    """A library of a step that is not installed where it runs."""
    library = (error.name or "").partition(".")[0]
    extra = next((extra for extra, names in _LIBRARIES.items() if library in names), "sklearn")
    return MissingError(
        f"no library '{library}' here",
        fix=f"pip install 'kfp-suite[{extra}]', or run it in its image: --runner docker",
    )


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, KfpSuiteError):
        print(f"error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
