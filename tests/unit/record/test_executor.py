"""The run record is joined from what the steps left."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.components.record.executor import RecordParameters, record, run_root
from kfp_suite.components.record.message import message_of
from kfp_suite.contracts.errors import ContractError
from kfp_suite.contracts.run_record import RunRecord, read_record

RUN = "p-2026-01-02-03-04-05-000001"
PARAMETERS = RecordParameters(run=RUN, run_id="17", pipeline="p", status="SUCCEEDED")


def leave(root: Path, name: str, content: object) -> None:
    file = root / RUN / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def join(root: Path) -> RunRecord:
    output = root / RUN / "record" / "run_record"
    joined = record(PARAMETERS, str(output), output)
    assert read_record(output / "run_record.json") == joined
    return joined


def test_a_run_that_published(tmp_path: Path) -> None:
    leave(tmp_path, "validate/anomalies/validation.json", {"valid": True, "reasons": []})
    leave(tmp_path, "evaluate/evaluation/evaluation.json", {"blessed": True, "reasons": []})
    leave(tmp_path, "push/version/pushed.json", {"model": "m", "version": 3})
    leave(tmp_path, "deploy/endpoint/endpoint.json", {"name": "m"})
    leave(tmp_path, "ingest/dataset/dataset.json", {"not": "ours to join"})
    joined = join(tmp_path)
    assert joined.version == {"model": "m", "version": 3}
    assert joined.endpoint == {"name": "m"}
    assert joined.reasons == []


def test_a_model_that_was_not_blessed(tmp_path: Path) -> None:
    leave(tmp_path, "validate/anomalies/validation.json", {"valid": True, "reasons": []})
    leave(tmp_path, "evaluate/evaluation/evaluation.json", {"blessed": False, "reasons": ["bad"]})
    joined = join(tmp_path)
    assert joined.version is None
    assert joined.reasons == ["bad"]


def test_data_that_did_not_validate(tmp_path: Path) -> None:
    leave(tmp_path, "validate/anomalies/validation.json", {"valid": False, "reasons": ["nulls"]})
    assert join(tmp_path).reasons == ["nulls"]


def test_a_step_that_failed(tmp_path: Path) -> None:
    leave(tmp_path, "train/error.json", {"step": "train", "message": "no label"})
    joined = join(tmp_path)
    assert joined.errors == ({"step": "train", "message": "no label"},)
    assert joined.reasons == ["train: no label"]


def test_what_a_killed_step_left_half_written_does_not_count(tmp_path: Path) -> None:
    leave(tmp_path, "push/.version.partial/pushed.json", {"model": "m", "version": 3})
    assert join(tmp_path).version is None


def test_the_root_is_cut_at_the_name_on_a_laptop_and_the_id_on_a_cluster() -> None:
    assert run_root(f"/r/{RUN}/record/out", RUN, "17") == f"/r/{RUN}"
    assert run_root("gs://b/p/17/record/x/out", "other", "17") == "gs://b/p/17"
    with pytest.raises(ContractError, match="the output is not below the run's folder"):
        run_root("/r/else/out", RUN, "17")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("SUCCEEDED", "SUCCEEDED"),
        ("COMPLETE", "SUCCEEDED"),
        ("CACHED", "SUCCEEDED"),
        ("FAILED", "FAILED"),
        ("CANCELED", "CANCELLED"),
        ("RUNNING", "FAILED"),
        ("UNKNOWN", "FAILED"),
    ],
)
def test_the_words_of_every_kfp_are_understood(tmp_path: Path, said: str, status: str) -> None:
    output = tmp_path / RUN / "record" / "run_record"
    assert record(replace(PARAMETERS, status=said), str(output), output).status == status


def test_a_rollback_is_a_reason(tmp_path: Path) -> None:
    endpoint = {"promoted": False, "why": "version 2 rolled back: worse by errors"}
    leave(tmp_path, "rollout/endpoint/endpoint.json", endpoint)
    assert join(tmp_path).reasons == ["version 2 rolled back: worse by errors"]
    leave(tmp_path, "rollout/endpoint/endpoint.json", {**endpoint, "promoted": True})
    assert join(tmp_path).reasons == []


@pytest.mark.parametrize(
    ("endpoint", "reasons", "outcome"),
    [
        ({"promoted": True, "why": "not worse"}, (), "succeeded"),  # of an older suite
        ({"promoted": True, "measured": True, "why": "not worse"}, (), "succeeded"),
        ({"promoted": True, "measured": False, "why": "first"}, ("first",), "succeeded"),
        ({"promoted": False, "measured": False, "why": "it serves"}, ("it serves",), "refused"),
    ],
)
def test_a_rollout_that_measured_nothing_says_so(
    endpoint: dict[str, Any], reasons: tuple[str, ...], outcome: str
) -> None:
    ended = RunRecord("p-1", "1", "progressive_delivery", "SUCCEEDED", endpoint=endpoint)
    told = message_of(ended, "")
    assert (told.reasons, told.outcome) == (reasons, outcome)
