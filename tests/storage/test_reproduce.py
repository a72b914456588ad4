"""A version in an object store is made again from the store alone: the real command, on S3."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result

from kfp_suite.cli.main import cli
from kfp_suite.components.evaluate.executor import EvaluateParameters, evaluate
from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.components.push.executor import PushParameters, push
from kfp_suite.components.resolve.executor import resolve
from kfp_suite.components.train.executor import TrainParameters, train
from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.contracts.environment import IMAGE_DIGEST_VARIABLE
from kfp_suite.stores.files import pin_from_json
from kfp_suite.stores.sources import sources_from_json
from tests.steps import write_source

IMAGE = "sha256:" + "ab" * 32
MODULE = """
from sklearn.linear_model import LogisticRegression


def fit(training):
    return LogisticRegression(C=0.5).fit(training.train.matrix, training.train.target)
"""


@pytest.fixture
def bucket(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket with rows and a module in it."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    write_source(tmp_path)
    client.upload_file(str(tmp_path / "rows.csv"), name, "data/rows.csv")
    client.put_object(Bucket=name, Key="code/module.py", Body=MODULE.encode())
    (tmp_path / "rows.csv").unlink()
    return name


def publish(bucket: str, folder: Path) -> None:
    """Version 1, as the steps of a pipeline make it."""
    store = f"s3://{bucket}/models"
    sources = {"rows": f"s3://{bucket}/data/rows.csv"}
    pinned = resolve(sources, f"s3://{bucket}/code/module.py", store, "rows", folder / "pins")
    dataset, fitted, model = (folder / name for name in ("dataset", "transform", "model"))
    split = {"by": "hash", "key": ["id"], "eval": 0.2, "test": 0.2}
    ingest(IngestParameters(split=split), sources_from_json(pinned.sources), dataset, folder / "p")
    transform(TransformParameters(label="late"), dataset, fitted, folder / "features")
    module = pin_from_json(pinned.module, "module")
    train(TrainParameters(label="late"), module, dataset, fitted, model)
    evaluate(EvaluateParameters(resamples=0), dataset, model, folder / "evaluation", folder / "r")
    push(PushParameters(store, "rows"), model, folder / "evaluation", folder / "pushed")


def reproduced(bucket: str, *more: str) -> Result:
    return CliRunner().invoke(cli, ["reproduce", f"s3://{bucket}/models/rows/1", *more])


def test_rows_module_and_version_in_s3_are_enough(bucket: str, tmp_path: Path) -> None:
    publish(bucket, tmp_path)
    # The user's own copy of the module may be gone: the version has it.
    boto3.client("s3").delete_object(Bucket=bucket, Key="code/module.py")
    done = reproduced(bucket)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("identical: rows version 1, sha256:")
    assert len(done.stdout.splitlines()) == 1


def test_made_in_an_image_it_is_identical_outside_and_says_so(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(IMAGE_DIGEST_VARIABLE, IMAGE)
    publish(bucket, tmp_path)
    monkeypatch.delenv(IMAGE_DIGEST_VARIABLE)
    done = reproduced(bucket)
    assert done.exit_code == 0, done.output
    first, *rest = done.stdout.splitlines()
    assert first.startswith("identical: rows version 1, sha256:")
    assert rest == [f"  although image of the step: was {IMAGE}, is none"]


def test_rows_that_changed_there_are_named(bucket: str, tmp_path: Path) -> None:
    publish(bucket, tmp_path)
    client: Any = boto3.client("s3")
    content = client.get_object(Bucket=bucket, Key="data/rows.csv")["Body"].read()
    client.put_object(Bucket=bucket, Key="data/rows.csv", Body=content.replace(b"\n7,", b"\n9007,"))
    done = reproduced(bucket)
    assert done.exit_code == 1
    kinds = [line.split()[0] for line in done.stdout.splitlines()]
    assert kinds == ["different:", "data", "dataset", *kinds[3:]]
