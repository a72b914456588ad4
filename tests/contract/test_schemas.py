"""The doubles check requests and objects against upstream's schemas, or a skip says they do not."""

from __future__ import annotations

import pytest

from tests import schemas


@pytest.mark.skipif(schemas.CRDS is None, reason=schemas.MISSING)
def test_kserve_objects_are_checked_against_its_definitions() -> None:
    assert schemas.CRDS is not None
    assert {"inferenceservices.yaml", "inferencegraphs.yaml"} <= {
        file.name for file in schemas.CRDS.iterdir()
    }


@pytest.mark.skipif(schemas.KFP_API is None, reason=schemas.MISSING)
def test_kfp_requests_are_checked_against_its_definition() -> None:
    assert schemas.KFP_API is not None
    assert b'"swagger"' in schemas.KFP_API.read_bytes()[:1_000]
