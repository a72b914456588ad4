"""Load while versions come and go: no failed request, and memory that stays.

KFP_SUITE_LOAD_SECONDS=600 pytest tests/serving/test_load.py
"""

from __future__ import annotations

import os
import time

import psutil
import pytest

from kfp_suite.local.serving import local_endpoint
from kfp_suite.stores.versions import CHAMPION, ModelStore
from tests.serving.load import Load
from tests.serving.test_endpoint import RECORD

SECONDS = float(os.environ.get("KFP_SUITE_LOAD_SECONDS", "20"))
_BETWEEN_VERSIONS = 3.0
_MAX_GROWTH = 16 * 1024 * 1024


@pytest.mark.timeout(SECONDS + 120)
def test_load_with_reloads_loses_no_request_and_no_memory(models: ModelStore) -> None:
    models.set_alias("wings", CHAMPION, 1, "load")
    with local_endpoint(f"{models.store.uri}/wings", "wings") as endpoint:
        server = psutil.Process(endpoint.process.pid)
        sizes = []
        with Load(endpoint.url, {"instances": [RECORD]}) as load:
            ends, version = time.monotonic() + SECONDS, 1
            while time.monotonic() < ends:
                version = 3 - version
                models.set_alias("wings", CHAMPION, version, "load")
                time.sleep(_BETWEEN_VERSIONS)
                sizes.append(server.memory_info().rss)
    settled = sizes[len(sizes) // 3]
    print(
        f"{sum(load.versions.values())} requests, {len(sizes)} switches, MB: {sizes[0] / 1e6:.0f}"
        f" {settled / 1e6:.0f} {sizes[-1] / 1e6:.0f}"
    )
    assert load.failed == []
    assert min(load.versions["1"], load.versions["2"]) > 0
    assert sizes[-1] - settled < _MAX_GROWTH
