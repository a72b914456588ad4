"""Requests a second and latency of our endpoint, against a plain `kserve.Model`.

Both serve flights with the same features and the same gradient boosting, each in a process
of its own on the same machine, asked by `wrk`. The plain one is what one writes without a
suite: a scikit-learn pipeline on a pandas frame of the request's instances.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from kfp_suite.components.contracts.dataset import read_dataset
from kfp_suite.components.contracts.errors import MissingError
from kfp_suite.components.runtimes.local import free_port
from kfp_suite.components.stores.folder import FolderStore
from kfp_suite.components.stores.versions import ModelStore
from kfp_suite.components.train.executor import TrainParameters, train
from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.pipelines.runs.serving import Endpoint, local_endpoint
from tests.benchmarks.flights import flights_dataset, flights_parameters
from tests.benchmarks.table import Row

MODEL = "flights"
SECONDS = 10
# (records a request, connections)
LOADS = ((1, 1), (1, 16), (100, 4))
ROUNDS = 3
_BOOSTING = {"learning_rate": 0.1, "max_iter": 100}

_POST = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = io.open({body!r}):read("*a")
"""


@dataclass(frozen=True)
class Load:
    """What `wrk` saw: requests a second, latencies in milliseconds ."""

    rate: float
    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{self.rate:,.0f}/s, p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms"


def run() -> list[Row]:
    """Requests a second and p99 for a few kinds of load, the best of alternating rounds."""
    if shutil.which("wrk") is None:
        raise MissingError("wrk is not installed", where="PATH", fix="apt-get install wrk")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        dataset = flights_dataset(folder)
        reference = _publish(dataset, folder)
        bodies = _bodies(dataset, folder)
        rows = []
        with local_endpoint(reference, MODEL) as ours, _plain(dataset) as plain:
            for records, connections in LOADS:
                urls = (ours.url, plain)
                best: dict[str, Load] = {}
                for _ in range(ROUNDS):
                    for url in urls:
                        found = _load(url, bodies[records], connections)
                        if url not in best or found.rate > best[url].rate:
                            best[url] = found
                mine, theirs = (best[url] for url in urls)
                what = f"endpoint, {records} a request, {connections} at once"
                rows += [
                    Row(
                        f"{what}: requests/s",
                        str(mine),
                        str(theirs),
                        mine.rate / theirs.rate,
                        "at least 3",
                    ),
                    Row(
                        f"{what}: p99", str(mine), str(theirs), mine.p99 / theirs.p99, "at most 0.5"
                    ),
                ]
    return rows


def _publish(dataset: Path, folder: Path) -> str:
    given = flights_parameters()
    transform(
        TransformParameters(features=given["features"], label=given["label"]),
        dataset,
        folder / "transform",
        folder / "report",
    )
    train(
        TrainParameters(
            label=given["label"], estimator=given["estimator"], hyperparameters=_BOOSTING
        ),
        None,
        dataset,
        folder / "transform",
        folder / "model",
    )
    store = FolderStore(folder / "store")
    ModelStore(store).publish(MODEL, folder / "model", evaluation={}, run={}, parameters={})
    return f"{store.uri}/{MODEL}/1"


def _bodies(dataset: Path, folder: Path) -> dict[int, Path]:
    test = read_dataset(dataset).table("test").drop_columns(["late"])
    bodies = {}
    for records in {records for records, _ in LOADS}:
        bodies[records] = folder / f"{records}.json"
        instances = test.slice(0, records).to_pylist()
        for instance in instances:
            instance["scheduled_departure"] = instance["scheduled_departure"].isoformat()
        bodies[records].write_text(json.dumps({"instances": instances}))
    return bodies


@contextmanager
def _plain(dataset: Path) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.plain_server", str(dataset), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endpoint = Endpoint("plain", port, process)  # type: ignore[arg-type]
    try:
        deadline = monotonic() + 120
        while not endpoint.ready():
            if process.poll() is not None or monotonic() > deadline:
                raise RuntimeError("the plain server did not start")
            sleep(0.5)
        yield endpoint.url
    finally:
        process.terminate()
        process.wait()


def _load(url: str, body: Path, connections: int) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_POST.format(body=str(body)))
        script.flush()
        done = subprocess.run(
            [
                "wrk",
                "-t1",
                f"-c{connections}",
                f"-d{SECONDS}s",
                "--latency",
                "-s",
                script.name,
                url,
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    out = done.stdout
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    if failed:
        raise RuntimeError(f"{url} refused {failed[1]} requests")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    latencies = dict(re.findall(r"(50|99)%\s+([\d.]+(?:us|ms|s))", out))
    assert rate is not None
    return Load(float(rate[1]), _milliseconds(latencies["50"]), _milliseconds(latencies["99"]))


def _milliseconds(text: str) -> float:
    for unit, factor in (("us", 1e-3), ("ms", 1.0), ("s", 1e3)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)
