"""The run record of a run on a cluster: KFP uploads the outputs of steps that ended well, and
nothing of the others; what those say of themselves, they leave in the store."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from kfp_suite.components.record.executor import RecordParameters, record
from kfp_suite.components.record.message import message_of
from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.run_record import EVALUATION, PUSHED, RunRecord
from kfp_suite.stores.step import Output, step
from kfp_suite.stores.store import Store

UUID = "0f8e6b9c-1c9d-4ed5-8a5c-9b1d4a3a2f10"


def output(store: Store, folder: Path, name: str) -> Output:
    """Of one try of a step; on a cluster, in a pod of its own."""
    uri = f"{store.uri}/17/{name}/{UUID}/out"
    path = folder / "out" if "://" in uri else Path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(path=str(path), uri=uri)


def fail(store: Store, folder: Path, name: str, why: str) -> None:
    with pytest.raises(DataError), step(name, output(store, folder, name)):
        raise DataError(why)


def leave(store: Store, name: str, **content: object) -> None:
    store.create(f"17/{name}", json.dumps(content).encode())


def recorded(store: Store, folder: Path, state: str, run: str = "p-1") -> RunRecord:
    parameters = RecordParameters(run=run, run_id="17", pipeline="p", status=state)
    return record(parameters, f"{store.uri}/17/record/{UUID}/run_record", folder / "record")


def test_the_last_try_of_a_step_says_why_it_failed(store: Store, tmp_path: Path) -> None:
    fail(store, tmp_path / "1", "train", "no rows")
    fail(store, tmp_path / "2", "train", "no label")
    leave(store, f"train/{UUID}/executor-logs-1")
    joined = recorded(store, tmp_path, "FAILED")
    assert joined.errors[0]["step"] == "train"
    assert (joined.status, joined.reasons) == ("FAILED", ["train: no label"])


def test_a_step_that_succeeded_when_it_was_tried_again_did_not_fail(
    store: Store, tmp_path: Path
) -> None:
    fail(store, tmp_path / "1", "train", "the store does not answer")
    with step("train", output(store, tmp_path / "2", "train")):
        leave(store, f"train/{UUID}/out/model/deep/model.json")
    leave(store, f"deploy/{UUID}/endpoint/endpoint.json", url="http://e")
    joined = recorded(store, tmp_path, "COMPLETE")
    assert (joined.status, joined.errors, joined.reasons) == ("SUCCEEDED", (), [])
    assert message_of(joined, "").outcome == "succeeded"


def test_a_run_that_a_verdict_ended_is_over_though_kfp_says_that_it_runs(
    store: Store, tmp_path: Path
) -> None:
    leave(store, f"evaluate/{UUID}/evaluation/{EVALUATION}", blessed=False, reasons=["bad"])
    joined = recorded(store, tmp_path, "RUNNING")
    assert (joined.status, joined.reasons) == ("SUCCEEDED", ["bad"])
    assert message_of(joined, "").outcome == "refused"


def test_a_run_that_lost_a_pod_failed_though_kfp_says_that_it_runs(
    store: Store, tmp_path: Path
) -> None:
    leave(store, f"evaluate/{UUID}/evaluation/{EVALUATION}", blessed=True, reasons=[])
    leave(store, f"push/{UUID}/version/{PUSHED}", model="m", version=3)
    joined = recorded(store, tmp_path, "RUNNING")
    assert joined.status == "FAILED"
    assert joined.reasons[0].startswith("a step ended without a word")
    assert message_of(joined, "").title == "p failed: m version 3"


def test_a_run_that_is_called_like_a_folder_above_it_is_recorded_alone(
    store: Store, tmp_path: Path
) -> None:
    store.create("16/push/u/version/pushed.json", b'{"model": "m", "version": 9}')
    leave(store, f"push/{UUID}/version/{PUSHED}", model="m", version=3)
    above = store.uri.rsplit("/", 1)[-1]
    joined = recorded(store, tmp_path, "COMPLETE", run=above)
    assert joined.versions == ({"model": "m", "version": 3},)
