"""The same inputs give the same model: whatever Python writes beside modules, and on any number
of CPUs, for `reproduce` on another machine too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from kfp_suite.cli.main import cli
from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.components.train.executor import TrainParameters, train
from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.contracts import environment as environments
from kfp_suite.contracts.errors import IntegrityError
from kfp_suite.contracts.model import ModelManifest, read_model
from kfp_suite.models.loading import load_model
from kfp_suite.stores.files import PinnedFile, pin_file
from kfp_suite.stores.sources import parse_sources, pin
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore

# A class of its own, so that loading the model imports the module.
MODULE = """
from sklearn.tree import DecisionTreeClassifier

class Ours(DecisionTreeClassifier):
    pass

def fit(training):
    return Ours(max_depth=3, random_state=0).fit(training.train.matrix, training.train.target)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and its transform; enough rows that sums depend on threads."""
    folder = tmp_path_factory.mktemp("same")
    generator = np.random.default_rng(0)
    values = generator.normal(size=(3_000, 4))
    late = values[:, 0] + values[:, 1] * values[:, 2] + generator.normal(size=3_000) > 0
    lines = ["id,a,b,c,d,late"]
    lines += [
        f"{i},{','.join(map(str, row))},{str(bool(label)).lower()}"
        for i, (row, label) in enumerate(zip(values, late, strict=True))
    ]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    pinned = {n: pin(n, s) for n, s in parse_sources({"t": str(folder / "rows.csv")}).items()}
    split = {"by": "hash", "key": ["id"], "eval": 0.1, "test": 0.1}
    ingest(IngestParameters(split=split), pinned, folder / "dataset", folder / "preview")
    features = {"features": ["a", "b", "c", "d"]}
    transform(
        TransformParameters(features=features, label="late"),
        folder / "dataset",
        folder / "transform",
        folder / "report",
    )
    return folder


@pytest.fixture
def module(tmp_path: Path) -> PinnedFile:
    (tmp_path / "ours.py").write_text(MODULE)
    return pin_file(str(tmp_path / "ours.py"))


@pytest.fixture
def bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python writes bytecode beside what it imports, as it does in a user's shell."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


def fit(
    data: Path, output: Path, module: PinnedFile | None = None, threads: int = 0
) -> ModelManifest:
    parameters = TrainParameters(label="late", hyperparameters={"max_iter": 20})
    return train(parameters, module, data / "dataset", data / "transform", output, threads)


def forget() -> None:
    """As in another process: the module is not imported yet."""
    for name in [name for name in sys.modules if name.startswith("kfp_suite_module_")]:
        del sys.modules[name]


def publish(models: ModelStore, folder: Path) -> int:
    return models.publish("late", folder, {}, {}, {}).version


@pytest.mark.usefixtures("bytecode")
def test_an_artifact_holds_only_what_the_suite_wrote(
    data: Path, module: PinnedFile, tmp_path: Path
) -> None:
    digests = set()
    for name in ("one", "two"):
        forget()
        digests.add(fit(data, tmp_path / name, module).digest)
        assert not list(tmp_path.rglob("__pycache__"))
    assert len(digests) == 1
    models = ModelStore(open_store(str(tmp_path / "store")))
    version = publish(models, tmp_path / "one")
    folder = Path(models.model_uri(models.manifest("late", version)))
    before = sorted(folder.rglob("*"))
    for _ in range(2):
        forget()
        load_model(folder)
        models.verify("late", version)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.usefixtures("bytecode")
def test_foreign_files_are_neither_digested_nor_published(
    data: Path, module: PinnedFile, tmp_path: Path
) -> None:
    plain = fit(data, tmp_path / "plain", module)
    foreign = data / "transform" / "__pycache__" / "module.pyc"
    foreign.parent.mkdir()
    foreign.write_bytes(b"bytecode")
    assert fit(data, tmp_path / "model", module).files == plain.files
    (tmp_path / "model" / ".DS_Store").write_bytes(b"notes")
    models = ModelStore(open_store(str(tmp_path / "store")))
    manifest = models.manifest("late", publish(models, tmp_path / "model"))
    assert sorted(manifest.files) == read_model(tmp_path / "model").names
    assert not (Path(models.model_uri(manifest)) / ".DS_Store").exists()
    (Path(models.model_uri(manifest)) / "model.joblib").write_bytes(b"added later")
    with pytest.raises(IntegrityError, match="not published with the version"):
        models.verify("late", manifest.version)


def test_bytecode_that_stands_beside_a_module_does_not_run(
    data: Path, module: PinnedFile, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fit(data, tmp_path / "model", module)
    source = tmp_path / "model" / "module.py"
    other = source.with_name("other.py")
    other.write_text("print('this ran')")
    script = "import sys, py_compile as c; c.compile(sys.argv[1], sys.argv[2], invalidation_mode="
    script += "c.PycInvalidationMode.UNCHECKED_HASH)"
    compiled = source.parent / "__pycache__" / f"module.{sys.implementation.cache_tag}.pyc"
    subprocess.run([sys.executable, "-c", script, str(other), str(compiled)], check=True)
    forget()
    load_model(tmp_path / "model")
    assert "this ran" not in capfd.readouterr().out


def command(*arguments: str, cpus: set[int], **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, on some CPUs, as in a shell that sets little."""
    unset = ("PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    env = {name: value for name, value in os.environ.items() if name not in unset}
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        return subprocess.run(
            [sys.executable, "-m", "kfp_suite.cli.main", *arguments],
            capture_output=True,
            text=True,
            env=env | variables,
            check=False,
        )
    finally:
        os.sched_setaffinity(0, own)


def test_threads_are_those_that_are_recorded(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = fit(data, tmp_path / "1", threads=1), fit(data, tmp_path / "2", threads=2)
    assert (one.recipe.environment.threads, two.recipe.environment.threads) == (1, 2)
    assert one.digest != two.digest  # these rows tell
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert fit(data, tmp_path / "again", threads=2).digest == two.digest
    assert os.environ["OMP_NUM_THREADS"] == "3"
    models = ModelStore(open_store(str(tmp_path / "store")))
    for folder in ("1", "2"):
        publish(models, tmp_path / folder)
    cpus = os.sched_getaffinity(0)
    limited = {min(cpus)}
    for version, given, variables in (
        (1, cpus, {"OMP_NUM_THREADS": "2"}),
        (2, limited, {}),
        (2, cpus, {"OMP_NUM_THREADS": "1"}),
    ):
        done = command("reproduce", f"{tmp_path}/store/late/{version}", cpus=given, **variables)
        assert done.returncode == 0, (version, variables, done.stdout, done.stderr)


def test_the_kernel_of_linear_algebra_is_named_as_a_cause(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = fit(data, tmp_path / "model")
    kernel = environments.blas_kernel()
    assert kernel
    assert manifest.recipe.environment.blas == kernel
    models = ModelStore(open_store(str(tmp_path / "store")))
    publish(models, tmp_path / "model")
    monkeypatch.setattr(environments, "blas_kernel", lambda: "openblas Other")
    done = CliRunner().invoke(cli, ["reproduce", f"{tmp_path}/store/late/1"])
    assert f"machine BLAS kernel: was {kernel}, is openblas Other" in done.stdout


def test_a_file_that_differs_is_named_before_the_model(data: Path, tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text(
        "import uuid\n"
        + MODULE.replace("random_state=0", "random_state=uuid.uuid4().int % 2**32").replace(
            "max_depth=3", "max_depth=3, max_features=1"
        )
    )
    module = pin_file(str(tmp_path / "ours.py"))
    fit(data, tmp_path / "model", module)
    models = ModelStore(open_store(str(tmp_path / "store")))
    publish(models, tmp_path / "model")
    done = CliRunner().invoke(cli, ["reproduce", f"{tmp_path}/store/late/1"])
    assert done.exit_code == 1
    found = [line.split(":")[0].strip() for line in done.stdout.splitlines()]
    assert found == ["different", "file estimator.skops", "model digest"]
