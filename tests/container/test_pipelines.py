"""Whole pipelines in containers, from step to step in images of different families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kfp_suite.contracts.model import read_model
from kfp_suite.local.docker import run_container
from kfp_suite.models.loading import load_model
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.container.conftest import Image, Inside, kfp_suite, run

BAD = ["--param", "sql=SELECT spices FROM penguins"]
PENGUINS = """
model_name: penguin-species
sources:
  penguins: {uri: package://palmerpenguins/data/penguins.csv, null_values: [NA]}
split: {by: hash, eval: 0.2, test: 0.2}
label: species
hyperparameters: {epochs: 60, units: [16], batch_size: 32, learning_rate: 0.01}
features:
  features:
    - {columns: [bill_length_mm, bill_depth_mm, flipper_length_mm, body_mass_g],
       steps: [{op: impute, with: mean}, scale]}
    - {column: island, op: one_hot, oov: 1}
thresholds: {accuracy: {min: 0.9}}
"""


def test_every_exit_code_is_known(client: Any, image: Image) -> None:
    name = image("deploy")
    codes = [run_container(client, name, ["sh", "-c", f"exit {n % 3}"], {}) for n in range(15)]
    assert codes == [n % 3 for n in range(15)]
    assert client.containers.list(all=True, filters={"ancestor": name}) == []


def test_files_belong_to_who_ran_it(image: Image, inside: Inside, tmp_path: Path) -> None:
    volumes = {str(tmp_path): {"bind": str(tmp_path), "mode": "rw"}}
    assert inside(image("deploy"), f"open('{tmp_path}/x', 'w')", volumes) == 0
    assert (tmp_path / "x").stat().st_uid == tmp_path.stat().st_uid


def test_containers_make_the_model_that_the_laptop_makes(image: Image, tmp_path: Path) -> None:
    for family in ("sklearn", "deploy"):
        image(family)
    (tmp_path / "laptop").mkdir()
    contained = run(tmp_path / "containers", "docker", "train_and_deploy", "penguins")
    local = run(tmp_path / "laptop", "subprocess", "train_and_deploy", "penguins")
    assert contained["steps"].keys() == local["steps"].keys()
    assert contained["dataset_digest"] == local["dataset_digest"]
    assert contained["digest"] == local["digest"]
    recipe = ModelStore(FolderStore(tmp_path / "containers" / "models"))
    made_in = recipe.manifest("penguin-species", 1).recipe["environment"]["image"]
    assert made_in.startswith("sha256:")


def test_a_network_is_trained_in_containers(
    client: Any, image: Image, inside: Inside, tmp_path: Path
) -> None:
    for family in ("sklearn", "tensorflow", "deploy"):
        image(family)
    (tmp_path / "laptop").mkdir()
    made = run(tmp_path, "docker", "train_and_deploy_tensorflow", "digits")
    local = run(tmp_path / "laptop", "subprocess", "train_and_deploy_tensorflow", "digits")
    assert made["digest"] == local["digest"]
    assert (made["model"], made["version"], made["blessed"]) == ("digits", 1, True)
    assert made["metrics"]["accuracy"] > 0.95
    models = ModelStore(FolderStore(tmp_path / "models"))
    folder = Path(models.model_uri(models.manifest("digits", 1)))
    read_model(folder).verify()
    assert load_model(folder).manifest.framework == "tensorflow"
    # The image that trained it serves it: with no more than the version's folder.
    code = f"""
from pathlib import Path
from kfp_suite.server.model import ServedVersion
served = ServedVersion.load("1", Path("{folder}"))
"""
    volumes = {str(tmp_path): {"bind": str(tmp_path), "mode": "ro"}}
    assert inside(image("tensorflow"), code, volumes) == 0


def test_the_tfx_libraries_make_a_network_too(image: Image, tmp_path: Path) -> None:
    for family in ("sklearn", "tensorflow", "tfx", "deploy"):
        image(family)
    params = tmp_path / "penguins.yaml"
    params.write_text(PENGUINS)
    made = run(tmp_path / "runs", "docker", "train_and_deploy_tfx", str(params))
    assert (made["version"], made["blessed"]) == (1, True)
    assert list(made["steps"]) == [
        "resolve",
        "ingest",
        "validate-tfdv",
        "transform-tft",
        "train-tensorflow",
        "evaluate",
        "infra-validate",
        "push",
        "deploy",
        "record",
    ]
    again = run(tmp_path / "runs", "docker", "train_and_deploy_tfx", str(params), "--no-cache")
    assert (again["version"], again["digest"]) == (1, made["digest"])


def test_bad_input_in_a_container_is_one_line(image: Image, tmp_path: Path) -> None:
    for family in ("sklearn", "deploy"):
        image(family)
    done = kfp_suite(
        "run", "train_and_deploy", "--params", "penguins", "--no-serve",
        "--root", str(tmp_path), "--runner", "docker", *BAD,
    )  # fmt: skip
    assert done.returncode == 2
    last = [line for line in done.stderr.splitlines() if line.strip()][-1]
    assert last.startswith("error: ingest: sql: ")
