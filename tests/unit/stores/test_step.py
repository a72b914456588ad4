"""A failed step leaves error.json and ends with one line."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from kfp_suite.contracts.errors import DataError, MissingError, RunError
from kfp_suite.stores.step import Output, step

FAILING = """
import sys
from types import SimpleNamespace
from kfp_suite.contracts.errors import DataError
from kfp_suite.stores.step import step
with step("ingest", SimpleNamespace(path=sys.argv[1], uri=sys.argv[1])):
    raise DataError("no rows", where="x.csv", fix="add rows")
"""


def output(folder: Path, name: str, uri: str = "") -> Output:
    """As KFP gives one: on a laptop its URI is its path."""
    return SimpleNamespace(path=str(folder / name), uri=uri or str(folder / name))


def run_failing(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FAILING, str(tmp_path / "dataset")],
        capture_output=True,
        text=True,
        check=False,
        env={"_KFP_RUNTIME": "true", **environment},
    )


def test_a_failed_step_ends_with_one_line(tmp_path: Path) -> None:
    done = run_failing(tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: x.csv: no rows; add rows\n"


def test_a_failed_step_shows_its_traceback_when_asked(tmp_path: Path) -> None:
    done = run_failing(tmp_path, KFP_SUITE_DEBUG="1")
    assert "Traceback" in done.stderr


def test_the_error_is_left_for_the_record(tmp_path: Path) -> None:
    with pytest.raises(DataError), step("ingest", output(tmp_path, "dataset")):
        raise DataError("no rows", where="x.csv")
    left = json.loads((tmp_path / "error.json").read_text())
    assert left["step"] == "ingest"
    assert left["message"] == "x.csv: no rows"
    assert left["exit_code"] == 2


def test_an_unexpected_error_is_left_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), step("train", output(tmp_path, "model")):
        _ = 1 / 0
    left = json.loads((tmp_path / "error.json").read_text())
    assert left["message"].startswith("ZeroDivisionError: division by zero; a defect")
    assert left["exit_code"] == 1


@pytest.mark.parametrize("code", [0, None, "done"])
def test_code_that_calls_exit_is_a_failure(tmp_path: Path, code: object) -> None:
    message = r"the step's code called exit\(\)"
    with pytest.raises(RunError, match=message), step("train", output(tmp_path, "model")):
        raise SystemExit(code)
    left = json.loads((tmp_path / "error.json").read_text())
    assert (left["step"], left["exit_code"]) == ("train", 1)


def test_a_try_that_succeeds_clears_the_error_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "error.json").write_text("{}")
    with step("ingest", output(tmp_path, "dataset")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_refuses_the_error_does_not_hide_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output_ = output(tmp_path, "dataset", uri="ftp://b/p/17/ingest/u/dataset")
    with pytest.raises(DataError, match="no rows"), step("ingest", output_):
        raise DataError("no rows")
    assert "the run record will not say why: " in caplog.text


@pytest.mark.parametrize(
    ("library", "extra"), [("keras.layers", "tensorflow"), ("apache_beam", "tfx"), ("q", "sklearn")]
)
def test_a_library_that_is_not_installed_is_named(tmp_path: Path, library: str, extra: str) -> None:
    with pytest.raises(MissingError) as caught, step("train", output(tmp_path, "model")):
        raise ModuleNotFoundError(f"No module named '{library}'", name=library)
    top = library.partition(".")[0]
    assert str(caught.value).startswith(
        f"no library '{top}' here; pip install 'kfp-suite[{extra}]'"
    )
    assert json.loads((tmp_path / "error.json").read_text())["step"] == "train"


def test_an_artifact_that_was_deleted_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(MissingError, match=r"KFP took from its cache was deleted.*run the pipeline"),
        step("validate", output(tmp_path, "statistics")),
    ):
        raise MissingError("no such file", where="/s3/bucket/artifacts/1/dataset/dataset.json")
    left = json.loads((tmp_path / "error.json").read_text())
    assert "deleted" in left["fix"]


def test_a_users_file_that_is_missing_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(MissingError), step("ingest", output(tmp_path, "dataset")):
        raise MissingError("no such file", where="rows.csv", fix="check the path")
    assert json.loads((tmp_path / "error.json").read_text())["fix"] == "check the path"


def test_a_note_that_cannot_be_left_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with step("ingest", output(tmp_path, "dataset"), noted_in="nowhere://bucket/_cached/1"):
        pass
    assert "KFP's cache still has this output" in caplog.text
