"""The manifest that `kfp-suite serve` follows, and what it says beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_suite.components.rollout.targets import LocalTarget
from kfp_suite.contracts.digests import digest_bytes
from kfp_suite.contracts.errors import EndpointError, SupersededError

STABLE: dict[str, Any] = {
    "kind": "InferenceService",
    "metadata": {"name": "wings"},
    "spec": {"predictor": {"annotations": {}}},
}
BOTH = {**STABLE, "spec": {**STABLE["spec"], "canary": [{"predictor": {}, "trafficPercent": 10}]}}


def target(folder: Path, manifest: dict[str, Any], **status: Any) -> LocalTarget:
    path = folder / "wings.yaml"
    path.write_text(yaml.safe_dump(manifest))
    told = {
        "url": "http://localhost:1",
        "observed": digest_bytes(path.read_bytes()),
        "ready": True,
        "error": "",
        **status,
    }
    (folder / "wings.yaml.status.json").write_text(json.dumps(told))
    return LocalTarget(path, "wings", 0.2)


def test_a_candidate_that_cannot_be_started_again_ails(tmp_path: Path) -> None:
    two = [{"version": 1, "percent": 90}, {"version": 2, "percent": 10}]
    assert target(tmp_path, BOTH, versions=two).ailing() == ""
    fallen = target(tmp_path, BOTH, versions=two[:1], ready=False, error="version 2 ended")
    assert fallen.ailing() == "version 2 ended"
    # The stable one is no reason to stay with it.
    other = target(tmp_path, BOTH, versions=two, ready=False, error="version 1 ended")
    assert other.ailing() == ""


def test_a_candidate_that_somebody_took_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(SupersededError, match="took the candidate away"):
        target(tmp_path, STABLE, versions=[]).ailing()


def test_it_waits_for_this_very_manifest(tmp_path: Path) -> None:
    target(tmp_path, STABLE, versions=[]).wait()
    with pytest.raises(EndpointError, match="no gateway serves the manifest"):
        target(tmp_path, STABLE, versions=[], observed="sha256:0").wait()
    with pytest.raises(EndpointError, match=r"the version does not serve.*got it broke"):
        target(tmp_path, STABLE, versions=[], ready=False, error="it broke").wait()


def test_endpoints_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    here, there = target(tmp_path, STABLE), target(tmp_path / "a", STABLE)
    assert here.place() != there.place()
    assert here.place() == target(tmp_path, BOTH).place()
