"""infra_validate in the very server of the endpoint, where its program is on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kfp_suite.components.infra_validate.executor import InfraParameters, infra_validate
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.servers.conftest import use
from tests.serving.conftest import publish


@pytest.mark.parametrize("runtime", ["mlserver", "triton"])
def test_a_candidate_is_tried_in_its_own_server(
    models: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    use(runtime, monkeypatch)
    candidate = tmp_path / "model"
    models.fetch("wings", 1, candidate)
    sample = json.loads((candidate / "sample_request.json").read_text())
    requests = tmp_path / "requests.jsonl"
    requests.write_text(json.dumps(sample))
    options = {"triton": {"backend": "python"}}.get(runtime, {})
    parameters = InfraParameters(
        name="wings",
        runtime=runtime,
        runtime_options=options,
        limits={"memory_mb": 8000, "start_seconds": 120},
    )
    found = infra_validate(parameters, candidate, None, tmp_path / "out", requests=requests)
    assert found.blessed, found.reasons
    assert (found.runtime, found.place, found.note) == (runtime, "process", "")
    assert found.figures is not None
    assert found.figures["memory_mb"] > 50


def test_rows_that_a_server_has_no_word_for_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trees take a missing number as it is, and V2's JSON has none."""
    use("mlserver", monkeypatch)
    models = ModelStore(FolderStore(tmp_path / "store"))
    features = {"features": [{"column": name, "keep_missing": True} for name in ("span", "weight")]}
    publish(models, "wings", tmp_path / "made", "hist_gradient_boosting", features=features)
    models.fetch("wings", 1, tmp_path / "model")
    (record, *_) = json.loads((tmp_path / "model" / "sample_request.json").read_text())["instances"]
    requests = tmp_path / "requests.jsonl"
    lines = [{**record, "weight": weight} for weight in (1.5, None, 2.5, None, None)]
    requests.write_text("\n".join(map(json.dumps, lines)))
    parameters = InfraParameters(name="wings", runtime="mlserver")
    found = infra_validate(
        parameters, tmp_path / "model", None, tmp_path / "out", requests=requests
    )
    assert found.blessed, found.reasons
    assert found.figures is not None
    assert (found.figures["requests"], found.figures["left_out"]) == (2, 3)
    page = (tmp_path / "out" / "infra_validation.md").read_text()
    assert "3 rows with a missing number were not asked for" in page
