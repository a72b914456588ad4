"""infra_validate in the very server of the endpoint, where its program is on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kfp_suite.components.infra_validate.executor import InfraParameters, infra_validate
from kfp_suite.components.stores.versions import ModelStore
from tests.servers.conftest import use


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
