"""The steps that talk to a bucket, each in its own image, with the bucket."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from kfp_suite.components.ingest.component import ingest
from kfp_suite.components.push.component import push
from kfp_suite.components.record.component import record
from kfp_suite.components.resolve.component import resolve
from kfp_suite.contracts.run_record import ERROR, EVALUATION
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import CHALLENGER, ModelStore
from tests.container.conftest import Image
from tests.container.steps import Ended, run_step
from tests.steps import STEPS, write_source
from tests.storage.conftest import cloud_storage, s3

__all__ = ["cloud_storage", "s3"]
RUN = "0b9dd3ac-4b54-4e4c-8d35-e14e4d8e1d33"


@pytest.fixture(params=["s3", "minio", "gs"])
def scheme(request: pytest.FixtureRequest) -> str:
    """Of the store's URIs; KFP's own store is `minio`."""
    return str(request.param)


@pytest.fixture
def credentials(
    scheme: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """What a pod gets from a Secret; and an empty bucket."""
    if scheme == "gs":
        found = {"STORAGE_EMULATOR_HOST": request.getfixturevalue("cloud_storage")}
    else:
        found = {
            "AWS_ENDPOINT_URL": request.getfixturevalue("s3"),
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def bucket(scheme: str, credentials: dict[str, str]) -> str:
    """The URI of an empty bucket."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    if scheme == "gs":
        client = storage.Client(project="emulator", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        client.create_bucket(name)
    else:
        boto3.client("s3").create_bucket(Bucket=name)
    return f"{scheme}://{name}"


class Place:
    """A bucket, and the images.

    Attributes:
        bucket: Its URI.
        root: The folder of the run in it.
        store: Where versions live in it.
    """

    def __init__(self, client: Any, folder: Path, bucket: str, credentials: dict[str, str]) -> None:
        self._client, self._folder, self._environment = client, folder, credentials
        self.bucket = bucket
        self.root = f"{bucket}/v2/artifacts/train-and-deploy/{RUN}"
        self.store = f"{bucket}/models"
        self._steps = 0

    def run(
        self,
        component: Any,
        artifacts: Mapping[str, Path] = {},
        environment: Mapping[str, str] = {},
        **parameters: Any,
    ) -> Ended:
        self._steps += 1
        return run_step(
            self._client,
            component,
            self._folder / f"step-{self._steps}",
            parameters,
            artifacts,
            root=self.root,
            environment={**self._environment, **environment},
        )


@pytest.fixture
def place(
    client: Any, image: Image, tmp_path: Path, bucket: str, credentials: dict[str, str]
) -> Place:
    for family in ("sklearn", "deploy"):
        image(family)
    return Place(client, tmp_path, bucket, credentials)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the steps before push leave."""
    folder = tmp_path_factory.mktemp("made")
    write_source(folder)
    for name, run in STEPS.items():
        if name not in ("push", "deploy"):
            run(folder, folder)
    return folder


def test_resolve_and_ingest_read_a_bucket(place: Place, made: Path) -> None:
    open_store(place.bucket).create("data/rows.csv", made / "rows.csv")
    sources = {"rows": f"{place.bucket}/data/*.csv"}
    resolved = place.run(resolve, sources=sources, store=place.store, model_name="rows")
    assert resolved.code == 0, resolved.log
    assert resolved.outputs["champion"] == resolved.outputs["module"] == ""
    pins = json.loads((resolved.folder / "pins" / "pins.json").read_text())
    assert pins["sources"]["rows"]["objects"][0]["generation"]

    ingested = place.run(ingest, sources=resolved.outputs["sources"], split={"by": "hash"})
    assert ingested.code == 0, ingested.log
    assert (ingested.folder / "dataset" / "dataset.json").is_file()
    notes = open_store(f"{place.store}/_cached")
    noted = [json.loads(notes.read(note.name)) for note in notes.list()]
    (files,) = (
        one["files"]
        for one in noted
        if one["uri"] == f"{place.root}/ingest/{ingested.folder.name}/dataset"
    )
    assert files > 1


def test_a_source_that_is_not_there_is_left_in_the_bucket(place: Place) -> None:
    failed = place.run(resolve, sources={"rows": f"{place.bucket}/nowhere.csv"}, store=place.store)
    assert failed.code == 2
    assert "\nerror: sources.rows: no object matches" in failed.log
    assert json.loads((failed.folder / ERROR).read_text())["step"] == "resolve"
    (left,) = open_store(place.root).list()
    assert left.name == f"resolve/{failed.folder.name}/error-1.json"


def test_push_publishes_to_a_bucket(place: Place, made: Path) -> None:
    given = {"model": made / "model", "evaluation": made / "evaluation"}
    pushed = place.run(push, given, store=place.store, model_name="rows", run_id=RUN)
    assert pushed.code == 0, pushed.log
    told = json.loads((pushed.folder / "version" / "pushed.json").read_text())
    assert (told["store"], told["version"]) == (place.store, 1)
    models = ModelStore(open_store(place.store))
    assert models.alias("rows", CHALLENGER) == 1
    assert models.manifest("rows", 1).digest == told["digest"]


@pytest.mark.parametrize("scheme", ["s3"], indirect=True)
@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"])
def test_push_says_what_it_lacks(place: Place, made: Path, wrong: str) -> None:
    given = {"model": made / "model", "evaluation": made / "evaluation"}
    values = {"AWS_ACCESS_KEY_ID": "", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    failed = place.run(
        push,
        given,
        {wrong: values[wrong], "AWS_EC2_METADATA_DISABLED": "true"},
        store=place.store,
        model_name="rows",
    )
    assert failed.code == 1
    (error,) = (line for line in failed.log.splitlines() if line.startswith("error: "))
    assert error.startswith(f"error: {place.store}")
    assert wrong in error or values[wrong] in error
    assert "testing" not in failed.log


def test_record_joins_what_a_bucket_holds_and_tells(place: Place, made: Path) -> None:
    evaluation = f"evaluate/1/evaluation/{EVALUATION}"
    open_store(place.root).create(evaluation, made / "evaluation" / EVALUATION)
    with listener() as (url, heard):
        recorded = place.run(
            record,
            environment={"HOOK": url, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
            status={
                "state": "COMPLETE",
                "pipelineJobResourceName": f"train-and-deploy/{RUN}",
                "pipelineTaskName": "exit-handler-1",
            },
            run="train-and-deploy",
            run_id=RUN,
            pipeline="train_and_deploy",
            notify={"webhooks": [{"url_env": "HOOK"}]},
        )
    assert recorded.code == 0, recorded.log
    told = json.loads((recorded.folder / "run_record" / "run_record.json").read_text())
    assert told["status"] == "SUCCEEDED"
    assert told["incomplete"] == ""
    assert told["evaluation"]["blessed"] is True
    (message,) = heard
    assert message["run_id"] == RUN
    notices = json.loads((recorded.folder / "run_record" / "notices.json").read_text())
    assert {one["channel"]: one["sent"] for one in notices} == {"webhooks.0": True, "mlflow": False}
    assert "--extend" in notices[-1]["why"]


@contextmanager
def listener() -> Iterator[tuple[str, list[Any]]]:
    """Who is to be told: the address, and what was heard."""
    heard: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.1,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}/hook", heard
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
