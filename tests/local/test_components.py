"""Each component by itself, as a user tests one: importers give it what it reads."""

# Annotations are not postponed: kfp reads them.

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl, local

from kfp_suite.components.deploy.component import deploy
from kfp_suite.components.deploy.graph.component import deploy_graph
from kfp_suite.components.evaluate.component import evaluate
from kfp_suite.components.ingest.component import ingest
from kfp_suite.components.push.component import push
from kfp_suite.components.resolve.changed.component import changed
from kfp_suite.components.resolve.component import resolve
from kfp_suite.components.train.component import train
from kfp_suite.components.transform.component import transform
from kfp_suite.components.validate.component import validate
from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.contracts.model import read_model
from kfp_suite.features.fitted_transform import FittedTransform
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.steps import STEPS, write_source

# kfp tells what it does not do locally; none of it is asked for here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each component reads, made by the executors before it."""
    folder = tmp_path_factory.mktemp("inputs")
    write_source(folder)
    for run in STEPS.values():
        run(folder, folder)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    local.init(
        local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path), raise_on_error=True
    )
    return tmp_path


def imported(path: Path, kind: type[dsl.Artifact] = dsl.Artifact) -> Any:
    return dsl.importer(artifact_uri=str(path), artifact_class=kind, reimport=True).output


def output(root: Path, name: str) -> Path:
    """The only output artifact of that name below the root."""
    (found,) = root.glob(f"*/*/{name}")
    return found


def test_resolve(root: Path, inputs: Path) -> None:
    found = resolve(sources={"rows": str(inputs / "rows.csv")})
    assert json.loads(found.outputs["sources"])["rows"]["format"] == "csv"
    assert found.outputs["champion"] == ""
    assert found.outputs["sources"] == (inputs / "sources.json").read_text()


def test_changed(root: Path, inputs: Path) -> None:
    given = {"sources": {"rows": str(inputs / "rows.csv")}, "label": "late", "model_name": "rows"}
    found = changed(**given, store=str(root / "models"))
    assert found.outputs["Output"] is True
    assert found.outputs["sources"] == (inputs / "sources.json").read_text()
    reasons = json.loads((output(root, "changes") / "changes.json").read_text())["reasons"]
    assert reasons == ["there is no champion yet"]
    assert (output(root, "pins") / "pins.json").is_file()


def test_ingest(root: Path, inputs: Path) -> None:
    split = {"by": "hash", "key": ["id"]}
    ingest(sources=(inputs / "sources.json").read_text(), split=split)
    dataset = read_dataset(output(root, "dataset"))
    dataset.verify()
    assert dataset.manifest.digest == read_dataset(inputs / "dataset").manifest.digest
    assert output(root, "data_preview").read_text().startswith("<!doctype html>")


def test_validate(root: Path, inputs: Path) -> None:
    @dsl.pipeline(name="validate-alone")
    def pipeline() -> bool:
        data = imported(inputs / "dataset", dsl.Dataset)
        return validate(dataset=data, label="late").outputs["Output"]  # type: ignore[no-any-return]

    assert pipeline().output is True
    assert json.loads((output(root, "anomalies") / "validation.json").read_text())["valid"] is True
    assert (output(root, "enforced_schema") / "schema.pbtxt").is_file()


def test_a_dataset_with_anomalies_is_a_no_and_not_a_failure(root: Path, inputs: Path) -> None:
    @dsl.pipeline(name="validate-no")
    def pipeline() -> bool:
        data = imported(inputs / "dataset", dsl.Dataset)
        schema = {"columns": {"size": {"domain": {"max": 1}}}}
        return validate(dataset=data, schema=schema).outputs["Output"]  # type: ignore[no-any-return]

    assert pipeline().output is False
    verdict = json.loads((output(root, "anomalies") / "validation.json").read_text())
    assert any("size" in reason for reason in verdict["reasons"])


def test_transform(root: Path, inputs: Path) -> None:
    @dsl.pipeline(name="transform-alone")
    def pipeline() -> None:
        transform(dataset=imported(inputs / "dataset", dsl.Dataset), label="late")

    pipeline()
    fitted = FittedTransform.load(output(root, "transform"))
    assert fitted.digest == FittedTransform.load(inputs / "transform").digest


def test_train(root: Path, inputs: Path) -> None:
    @dsl.pipeline(name="train-alone")
    def pipeline() -> None:
        train(
            dataset=imported(inputs / "dataset", dsl.Dataset),
            transform=imported(inputs / "transform"),
            label="late",
        )

    pipeline()
    model = read_model(output(root, "model"))
    model.verify()
    assert model.manifest.digest == read_model(inputs / "model").manifest.digest
    assert output(root, "model_card").read_text().startswith("# ")


def test_evaluate(root: Path, inputs: Path) -> None:
    @dsl.pipeline(name="evaluate-alone")
    def pipeline() -> bool:
        return evaluate(  # type: ignore[no-any-return]
            dataset=imported(inputs / "dataset", dsl.Dataset),
            model=imported(inputs / "model", dsl.Model),
            resamples=20,
            slices=["kind"],
        ).outputs["Output"]

    assert pipeline().output is True
    found = json.loads((output(root, "evaluation") / "evaluation.json").read_text())
    assert found["model_digest"] == read_model(inputs / "model").manifest.digest


def test_push_and_push_again(root: Path, inputs: Path) -> None:
    store = root / "store"

    @dsl.pipeline(name="push-alone")
    def pipeline() -> None:
        push(
            model=imported(inputs / "model", dsl.Model),
            evaluation=imported(inputs / "evaluation"),
            store=str(store),
            model_name="rows",
        )

    pipeline()
    pushed = output(root, "version") / "pushed.json"
    first = json.loads(pushed.read_text())
    shutil.rmtree(pushed.parents[2])
    pipeline()
    assert json.loads((output(root, "version") / "pushed.json").read_text()) == first
    assert ModelStore(FolderStore(store)).versions("rows") == [1]


def test_deploy_graph(root: Path) -> None:
    """kfp makes 80 the number 80.0, which KServe would not take."""
    steps = [{"serviceName": "old", "weight": 80}, {"serviceName": "new", "weight": 20}]
    deploy_graph(name="both", nodes={"root": {"routerType": "Splitter", "steps": steps}})
    written = yaml.safe_load((output(root, "graph") / "inferencegraph.yaml").read_text())
    assert written["spec"]["nodes"]["root"]["steps"] == steps
    assert isinstance(written["spec"]["nodes"]["root"]["steps"][0]["weight"], int)


def test_deploy(root: Path, inputs: Path) -> None:
    @dsl.pipeline(name="deploy-alone")
    def pipeline() -> None:
        deploy(version=imported(inputs / "pushed"))

    pipeline()
    manifest = yaml.safe_load((output(root, "endpoint") / "inferenceservice.yaml").read_text())
    assert manifest["kind"] == "InferenceService"
    assert manifest["metadata"]["name"] == "rows"
