"""Requests a second and latency of our endpoint, against a plain `kserve.Model`.

Both serve flights with the same features and the same gradient boosting, each in a process
of its own on the same machine, asked by `wrk`. The plain one is what one writes without a
suite: a scikit-learn pipeline on a pandas frame of the request's instances or tensors.
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
from typing import Any

import psutil

from kfp_suite.components.train.executor import TrainParameters, train
from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.contracts.errors import MissingError
from kfp_suite.local.serving import Endpoint, local_endpoint
from kfp_suite.runtimes.local import LOOPBACK, Launch, LocalServer, free_port
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.benchmarks.flights import flights_dataset, flights_parameters
from tests.benchmarks.table import Row

MODEL = "flights"
SECONDS = 10
RECORD, TENSORS, MANY = "1 record", "1 row as V2 tensors", "100 records"
# (what is asked for, connections)
LOADS = (*((what, at_once) for what in (RECORD, TENSORS) for at_once in (1, 8, 64)), (MANY, 8))
ROUNDS = 3
_STARTS = 3
_BOOSTING = {"learning_rate": 0.1, "max_iter": 100}

_POST = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = io.open({body!r}):read("*a")
"""


@dataclass(frozen=True)
class Load:
    """What `wrk` saw: requests a second, latencies in milliseconds."""

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
        with _plain(dataset, folder):
            pass  # it fits its model once
        rows.append(_starts(reference, dataset, folder))
        with local_endpoint(reference, MODEL) as ours, _plain(dataset, folder) as theirs_too:
            for what, connections in LOADS:
                urls = [
                    f"{one.base}/v2/models/{one.name}/infer" if what == TENSORS else one.url
                    for one in (ours, theirs_too)
                ]
                best: dict[str, Load] = {}
                for _ in range(ROUNDS):
                    for url in urls:
                        found = _load(url, bodies[what], connections)
                        if url not in best or found.rate > best[url].rate:
                            best[url] = found
                mine, theirs = (best[url] for url in urls)
                name = f"endpoint, {what} a request, {connections} at once"
                rows += [
                    Row(
                        f"{name}: requests/s",
                        str(mine),
                        str(theirs),
                        mine.rate / theirs.rate,
                        "at least 3",
                    ),
                    Row(
                        f"{name}: p99", str(mine), str(theirs), mine.p99 / theirs.p99, "at most 0.5"
                    ),
                ]
            held = [
                psutil.Process(one.process.pid).memory_info().rss / 2**20
                for one in (ours, theirs_too)
            ]
        mib, theirs_mib = (f"{size:,.0f} MiB" for size in held)
        rows.append(Row("endpoint, memory after that", mib, theirs_mib, held[0] / held[1], ""))
        rows += _two_workers(bodies[RECORD], dataset, folder)
    return rows


def _two_workers(body: Path, dataset: Path, folder: Path) -> list[Row]:
    """Both servers with two workers each."""
    with _our_workers(folder / "model") as ours, _plain(dataset, folder, workers=2) as plain:
        urls = (f"{ours.base}/v1/models/{MODEL}:predict", plain.url)
        best: dict[str, Load] = {}
        for _ in range(ROUNDS):
            for url in urls:
                found = _load(url, body, 8)
                if url not in best or found.rate > best[url].rate:
                    best[url] = found
    mine, theirs = (best[url] for url in urls)
    name = "endpoint, 1 record a request, 8 at once, two workers each"
    figures = (str(mine), str(theirs))
    return [
        Row(f"{name}: requests/s", *figures, mine.rate / theirs.rate, "at least 3"),
        Row(f"{name}: p99", *figures, mine.p99 / theirs.p99, "at most 0.5"),
    ]


@contextmanager
def _our_workers(model: Path) -> Iterator[LocalServer]:
    port = free_port()
    command = [sys.executable, "-m", "kfp_suite.server", "--workers=2", "--grpc_port=0"]
    command += [f"--model_name={MODEL}", f"--model_dir={model}", "--model_version=1"]
    command += [f"--host={LOOPBACK}", f"--http_port={port}"]
    with LocalServer(Launch(tuple(command), f"/v2/models/{MODEL}/ready"), port) as server:
        server.wait(120)
        yield server


def _starts(reference: str, dataset: Path, folder: Path) -> Row:
    """Seconds from the start of the process until the model answers, the best of a few."""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(_STARTS):
        for name, taken in seconds.items():
            started = monotonic()
            with local_endpoint(reference, MODEL) if name == "ours" else _plain(dataset, folder):
                taken.append(monotonic() - started)
    mine, theirs = min(seconds["ours"]), min(seconds["plain"])
    return Row("endpoint, start to ready", f"{mine:.1f} s", f"{theirs:.1f} s", mine / theirs, "")


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


def _bodies(dataset: Path, folder: Path) -> dict[str, Path]:
    test = read_dataset(dataset).table("test").drop_columns(["late"])
    bodies = {}
    for what, count in ((RECORD, 1), (MANY, 100), (TENSORS, 1)):
        bodies[what] = folder / f"{what}.json"
        instances = test.slice(0, count).to_pylist()
        for instance in instances:
            instance["scheduled_departure"] = instance["scheduled_departure"].isoformat()
        body = {"inputs": _tensors(instances[0])} if what == TENSORS else {"instances": instances}
        bodies[what].write_text(json.dumps(body))
    return bodies


def _tensors(record: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = {int: "INT64", float: "FP64", bool: "BOOL"}
    return [
        {"name": name, "shape": [1], "datatype": kinds.get(type(v), "BYTES"), "data": [v]}
        for name, v in record.items()
        if v is not None
    ]


@contextmanager
def _plain(dataset: Path, folder: Path, workers: int = 1) -> Iterator[Endpoint]:
    port, module = free_port(), "tests.benchmarks.plain_server"
    given = [dataset, port, folder / "plain.joblib", workers]
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, given)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endpoint = Endpoint("plain", port, process)  # type: ignore[arg-type]
    try:
        deadline = monotonic() + 120
        while not endpoint.ready():
            if process.poll() is not None or monotonic() > deadline:
                raise RuntimeError("the plain server did not start")
            sleep(0.1)
        yield endpoint
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
