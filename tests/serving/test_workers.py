"""Several workers behind one port: what they count is one figure, and none is missed."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.multiprocess import MultiProcessCollector

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.runtimes.local import LocalServer
from tests.serving.load import Load
from tests.serving.test_endpoint import RECORD
from tests.serving.test_process import HANGS, V1, eventually, model, post, serve

__all__ = ["model"]
REQUESTS, MOST = 100, 5000


def workers(server: LocalServer) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children()


def counted(server: LocalServer, code: int = 200) -> float:
    """What `/metrics` says of answered requests, whoever is asked."""
    found = re.findall(
        rf'^kfp_suite_requests_total{{code="{code}",model_name="wings",model_version="1"}} (.+)$',
        httpx.get(f"{server.base}/metrics").text,
        re.MULTILINE,
    )
    return float(found[0]) if found else 0.0


def counted_by(worker: psutil.Process) -> float:
    file = Path(worker.environ()["PROMETHEUS_MULTIPROC_DIR"]) / f"counter_{worker.pid}.db"
    if not file.exists():
        return 0
    metrics = MultiProcessCollector.merge([str(file)])  # type: ignore[no-untyped-call]
    samples = [sample for metric in metrics for sample in metric.samples]
    return float(sum(one.value for one in samples if one.name == "kfp_suite_requests_total"))


def test_two_workers_count_together_and_replace_each_other(model: Path) -> None:
    with serve(model, "--workers=2", "--predict-timeout=2") as server:
        asked = 0
        with ThreadPoolExecutor(8) as pool:
            # The second may come later than the first.
            while not all(counted_by(worker) > 0 for worker in workers(server)):
                answers = list(pool.map(lambda _: post(server, 1).status_code, range(REQUESTS)))
                assert answers == [200] * REQUESTS
                asked += REQUESTS
                assert asked < MOST
        assert len(workers(server)) == 2
        assert {counted(server) for _ in range(10)} == {asked}
        assert sum(map(counted_by, workers(server))) == asked
        labels = 'model_name="wings",model_version="1"'
        text = httpx.get(f"{server.base}/metrics").text
        assert f"kfp_suite_request_seconds_count{{{labels}}} {asked}.0" in text
        # One that is gone leaves what it counted, and the other answers meanwhile.
        first = workers(server)[0]
        first.kill()
        assert post(server, 1).status_code == 200
        eventually(lambda: len({one.pid for one in workers(server)} - {first.pid}) == 2)
        assert counted(server) == asked + 1
        # One that hangs ends itself: probes would find the other alive.
        before = {one.pid for one in workers(server)}
        assert post(server, HANGS).status_code == 504
        eventually(lambda: len({one.pid for one in workers(server)} - before) == 1)
        for _ in range(REQUESTS):
            assert post(server, 1).status_code == 200


def test_a_prediction_that_hangs_takes_no_other_with_it(model: Path) -> None:
    with serve(model, "--workers=2", "--predict-timeout=10") as server:
        before = {one.pid for one in workers(server)}
        with Load(server.base + V1, {"instances": [RECORD]}, clients=4, pause=0.1) as load:
            eventually(lambda: load.versions["1"] > 10)
            assert post(server, HANGS).status_code == 504
            eventually(lambda: len({one.pid for one in workers(server)} - before) == 1)
        assert load.failed == []


def test_a_worker_that_is_told_to_end_leaves_the_port_to_the_others(model: Path) -> None:
    with serve(model, "--workers=2") as server:
        for _ in range(2):
            both = {one.pid for one in workers(server)}
            first = workers(server)[0]
            first.terminate()
            psutil.wait_procs([first], timeout=60)
            for _ in range(REQUESTS):
                assert post(server, 1).status_code == 200
            eventually(lambda both=both: len({one.pid for one in workers(server)} - both) == 1)  # type: ignore[misc]
            assert server.process.poll() is None


def test_sigterm_ends_both_when_they_have_finished(model: Path) -> None:
    with serve(model, "--workers=2") as server:
        both = workers(server)
        with Load(server.base + V1, {"instances": [RECORD]}) as load:
            eventually(lambda: load.versions["1"] > 50)
            server.process.terminate()
            assert server.process.wait(240) == 0
        assert psutil.wait_procs(both, timeout=60)[1] == []
    assert load.failed
    assert [one for one in load.failed if "ConnectError" not in one] == []


def test_a_worker_that_cannot_load_the_model_ends_the_server(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match=r"model\.json: no such file"):
        serve(tmp_path, "--workers=2")
