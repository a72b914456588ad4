"""A candidate that hangs, crashes, answers wrongly or costs too much is not blessed, with the
figures; and no step is stuck, no server left behind."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from kfp_suite.components.infra_validate.executor import (
    InfraBlessing,
    InfraParameters,
    infra_validate,
)
from kfp_suite.contracts.errors import (
    DataError,
    EndpointError,
    IntegrityError,
    MissingError,
    ParameterError,
)
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.answers import answered_once
from tests.serving.conftest import publish

# It behaves in the server alone: what the model itself says stays right.
_MOODY = """
import os
import sys
import time

import numpy as np
from sklearn.linear_model import LogisticRegression

MOOD = os.environ.get("WINGS_MOOD") if "kfp_suite.server" in sys.orig_argv else ""

if MOOD == "hangs at the start":
    time.sleep(600)
if MOOD == "crashes at the start":
    raise RuntimeError("out of order")


class Moody(LogisticRegression):
    calls = 0

    def predict_proba(self, X):
        found = super().predict_proba(X)
        Moody.calls += 1
        if Moody.calls <= 10:  # the server's own warm-up
            return found
        if MOOD == "hangs":
            time.sleep(600)
        if MOOD == "crashes":
            os._exit(3)
        if MOOD == "raises":
            raise RuntimeError("out of order")
        if MOOD == "answers nan":
            return np.full_like(found, np.nan)
        if MOOD == "answers wrongly":
            return 1 - found
        if MOOD == "is slow":
            time.sleep(0.2)
        if MOOD == "takes memory":
            self.kept = np.ones(80_000_000)
        return found


def fit(training):
    return Moody().fit(training.train.matrix, training.train.target)
"""


@pytest.fixture(scope="module", autouse=True)
def asked_once() -> Iterator[None]:
    """Of the candidate, which all tests share."""
    with answered_once():
        yield


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Model artifact."""
    folder = tmp_path_factory.mktemp("moody")
    models = ModelStore(FolderStore(folder / "store"))
    publish(models, "wings", folder / "made", "logistic_regression", _MOODY)
    models.fetch("wings", 1, folder / "model")
    return folder / "model"


def requests(candidate: Path, folder: Path) -> Path:
    sample = json.loads((candidate / "sample_request.json").read_text())
    found = folder / "requests.jsonl"
    found.write_text("\n".join(json.dumps(one) for one in sample["instances"] * 4))
    return found


def validate(candidate: Path, folder: Path, **limits: float) -> InfraBlessing:
    parameters = InfraParameters(name="wings", limits={"start_seconds": 40, **limits})
    recorded = requests(candidate, folder)
    return infra_validate(parameters, candidate, None, folder / "out", requests=recorded)


def test_a_server_that_is_not_here_is_told_and_ours_tries_it(
    models: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = tmp_path / "model"
    models.fetch("wings", 1, candidate)
    monkeypatch.setenv("KFP_SUITE_MLSERVER", str(tmp_path / "nowhere"))
    recorded = requests(candidate, tmp_path)
    given: dict[str, Any] = {
        "name": "wings",
        "runtime": "mlserver",
        "limits": {"start_seconds": 40},
    }
    found = infra_validate(
        InfraParameters(**given), candidate, None, tmp_path / "out", requests=recorded
    )
    assert found.blessed, found.reasons
    assert (found.runtime, found.place) == ("kfp-suite", "process")
    page = (tmp_path / "out" / "infra_validation.md").read_text()
    assert "- not tried in mlserver, which is not on this machine, but in kfp-suite" in page
    with pytest.raises(EndpointError, match="no program 'mlserver' here"):
        infra_validate(
            InfraParameters(**given, place="process"),
            candidate,
            None,
            tmp_path / "other",
            requests=recorded,
        )
    assert not (tmp_path / "other").exists()


def test_a_good_one_is_blessed_with_its_figures(candidate: Path, tmp_path: Path) -> None:
    found = validate(candidate, tmp_path, p50_ms=5000, p99_ms=5000, memory_mb=8000)
    assert found.blessed, found.reasons
    assert found.figures is not None
    assert found.figures["requests"] == 8
    assert found.figures["difference"] < 1e-6
    assert 0 < found.figures["p50_ms"] <= found.figures["p99_ms"]
    assert found.figures["memory_mb"] > 50
    written = json.loads((tmp_path / "out" / "infra_blessing.json").read_text())
    assert written["blessed"] is True
    page = (tmp_path / "out" / "infra_validation.md").read_text()
    assert page.startswith("# Blessed: served by kfp-suite")
    assert "| p50_ms |" in page


@pytest.mark.parametrize(
    ("mood", "limits", "why"),
    [
        ("hangs at the start", {"start_seconds": 8}, "8 s"),
        ("crashes at the start", {}, "out of order"),
        ("hangs", {"request_seconds": 1}, "timed out"),
        ("crashes", {}, "the model server crashed"),
        ("raises", {}, "500"),
        ("answers nan", {}, "not a number"),
        ("answers wrongly", {}, "another class"),
        ("is slow", {"p50_ms": 100, "p99_ms": 100}, "at most 100.0 ms; the 99th percentile"),
        ("takes memory", {"memory_mb": 600}, "MB; at most 600.0 MB"),
    ],
)
def test_one_that_is_not_fit_is_not_blessed(
    candidate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mood: str,
    limits: dict[str, Any],
    why: str,
) -> None:
    monkeypatch.setenv("WINGS_MOOD", mood)
    started = time.monotonic()
    found = validate(candidate, tmp_path, **limits)
    assert not found.blessed
    assert why in "; ".join(found.reasons)
    assert time.monotonic() - started < 60
    assert servers() == []
    assert json.loads((tmp_path / "out" / "infra_blessing.json").read_text())["reasons"]


def servers() -> list[list[str]]:
    """Model servers that this process started and left."""
    lines = [child.cmdline() for child in psutil.Process().children(recursive=True)]
    return [line for line in lines if "kfp_suite.server" in line]


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("start_seconds", "the model server does not answer in time"),
        ("expected_seconds", "the model does not answer in time"),
    ],
)
def test_what_takes_too_long_is_told_with_its_own_limit(
    candidate: Path, tmp_path: Path, limit: str, told: str
) -> None:
    found = validate(candidate, tmp_path, **{limit: 0.5})
    assert not found.blessed
    assert told in found.reasons[0]
    assert "0.5 s" in found.reasons[0]


@pytest.mark.parametrize(
    ("recorded", "told"),
    [
        ("", "instances: no records"),
        ("\n{", "requests, line 2: not JSON; got {"),
        ('{"instances": 3}', "requests, line 1, instances: not a list; got 3"),
        ('{"spam": 3}', "instances[0]: unknown field 'spam'"),
        ("3", "instances[0]: not a record"),
    ],
)
def test_requests_that_are_none_raise_and_judge_nobody(
    candidate: Path, tmp_path: Path, recorded: str, told: str
) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text(recorded)
    with pytest.raises(DataError) as caught:
        infra_validate(
            InfraParameters(name="wings"), candidate, None, tmp_path / "out", requests=file
        )
    assert told in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_split_or_a_dataset_that_is_not_there_raises(candidate: Path, tmp_path: Path) -> None:
    dataset = candidate.parent / "made" / "dataset"
    with pytest.raises(MissingError, match="no split 'tset'; did you mean 'test'"):
        infra_validate(
            InfraParameters(name="wings", split="tset"), candidate, dataset, tmp_path / "out"
        )
    with pytest.raises(MissingError, match=r"dataset\.json"):
        infra_validate(InfraParameters(name="wings"), candidate, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"p50_ms": -1}, "limits.p50_ms: out of range"),
        ({"start_seconds": 0}, "limits.start_seconds: out of range"),
        ({"p95_ms": 3}, "limits: unknown key 'p95_ms'; did you mean 'p99_ms'?"),
    ],
)
def test_bad_limits_are_refused(limits: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError) as caught:
        InfraParameters(name="wings", limits=limits)
    assert told in str(caught.value)


def test_what_is_no_model_raises(candidate: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match=r"model\.json"):
        infra_validate(InfraParameters(name="wings"), tmp_path / "empty", None, tmp_path / "out")
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in candidate.iterdir():
        if file.is_file():
            (broken / file.name).write_bytes(file.read_bytes())
    payload = next(file for file in broken.iterdir() if file.suffix in (".skops", ".onnx"))
    payload.write_bytes(payload.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError):
        infra_validate(InfraParameters(name="wings"), broken, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()
