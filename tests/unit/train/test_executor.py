"""Train: the same inputs give the same model; what cannot be learned is one line."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.components.train.executor import TrainParameters, train
from kfp_suite.components.train.fitting import Training
from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.contracts.errors import IntegrityError, KfpSuiteError
from kfp_suite.contracts.model import ModelManifest, read_model
from kfp_suite.models.estimators import ESTIMATORS
from kfp_suite.models.loading import load_model
from kfp_suite.stores.files import PinnedFile, pin_file
from kfp_suite.stores.sources import parse_sources, pin

LABELS = ("late", "kind", "delay", "constant", "empty", "endless", "count", "weight")

MODULE = """
from sklearn.linear_model import LogisticRegression

class Ours(LogisticRegression):
    pass

def fit(training):
    return Ours(**training.hyperparameters).fit(training.train.matrix, training.train.target)
"""


def _returns(value: str) -> str:
    """A module whose `fit` returns `value`; `Says` is an estimator that says one thing."""
    return f"""
import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression, LogisticRegression

class Says:
    def __init__(self, value):
        self.value = value

    def predict(self, matrix):
        return np.array([self.value] * len(matrix))

def fit(training):
    x, y = training.train.matrix, training.train.target
    return {value}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and the transform of its features `a` and `b`."""
    folder = tmp_path_factory.mktemp("train")
    generator = np.random.default_rng(0)
    lines = ["id,a,b,late,kind,delay,constant,empty,endless,count,weight"]
    for i in range(600):
        a, b = generator.normal(size=2).round(3)
        late = a + b > 0.3
        endless = "inf" if i % 50 == 5 else a
        lines.append(
            f"{i},{a},{b if i % 9 else ''},{str(late).lower()},{'xyz'[int(a > 0) + int(b > 0)]},"
            f"{2 * a - b:.4f},1,,{endless},{i % 5},{i % 3}"
        )
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    sources = {"t": {"uri": str(folder / "a.csv"), "types": {"endless": "float64"}}}
    pinned = {n: pin(n, s) for n, s in parse_sources(sources).items()}
    split = {"by": "hash", "key": ["id"], "eval": 0.2, "test": 0.2}
    ingest(IngestParameters(split=split), pinned, folder / "dataset", folder / "preview")
    features = {"features": [{"columns": ["a", "b"], "steps": [{"op": "impute", "with": "mean"}]}]}
    transform(
        TransformParameters(features=features, label="late"),
        folder / "dataset",
        folder / "transform",
        folder / "report",
    )
    return folder


def fit(
    data: Path, output: Path, module: PinnedFile | None = None, **parameters: Any
) -> ModelManifest:
    given = {"label": "late"} | parameters
    return train(TrainParameters(**given), module, data / "dataset", data / "transform", output)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *((name, "late") for name, kind in ESTIMATORS.items() if kind.classifier),
        *((name, "delay") for name, kind in ESTIMATORS.items() if kind.regressor),
    ],
)
def test_every_estimator_is_trained_saved_and_loaded(
    name: str, label: str, data: Path, tmp_path: Path
) -> None:
    small = {"n_estimators": 5} if "forest" in name or "trees" in name else {}
    more = {"max_iter": 400} if name == "mlp" else small
    manifest = fit(data, tmp_path / "m", label=label, estimator=name, hyperparameters=more)
    table = read_dataset(data / "dataset").table("test")
    prediction = load_model(tmp_path / "m").predict(table)
    assert manifest.task == ("binary" if label == "late" else "regression")
    assert len(prediction.values) == len(table)
    if prediction.probabilities is not None:
        assert prediction.probabilities.shape == (len(table), 2)
    if name not in ("dummy", "gaussian_naive_bayes"):
        actual = table[label].to_numpy(zero_copy_only=False)
        if label == "late":
            assert (prediction.values == actual).mean() > 0.75
        elif name not in ("lasso", "elastic_net"):
            assert np.corrcoef(prediction.values, actual)[0, 1] > 0.8


@pytest.mark.parametrize("estimator", ["hist_gradient_boosting", "random_forest", "xgboost"])
def test_the_same_inputs_give_the_same_model(estimator: str, data: Path, tmp_path: Path) -> None:
    one = fit(data, tmp_path / "1", estimator=estimator, seed=3)
    two = fit(data, tmp_path / "2", estimator=estimator, seed=3)
    assert one == two
    assert read_model(tmp_path / "2").manifest == one


def test_the_graph_is_kept_where_it_is_proven_equal(data: Path, tmp_path: Path) -> None:
    manifest = fit(data, tmp_path / "m")
    assert manifest.notes["onnx"]["equal"] is True
    assert manifest.notes["onnx"]["rows"] > 400
    assert "estimator.onnx" in manifest.files
    assert "estimator.onnx" not in manifest.payload


def test_classes_keep_their_values_and_order(data: Path, tmp_path: Path) -> None:
    manifest = fit(data, tmp_path / "m", label="kind")
    assert (manifest.task, manifest.classes) == ("multiclass", ("x", "y", "z"))
    table = read_dataset(data / "dataset").table("test")
    prediction = load_model(tmp_path / "m").predict(table)
    best = prediction.probabilities.argmax(axis=1)
    assert prediction.values.tolist() == [manifest.classes[i] for i in best]


def test_a_threshold_is_served_with_the_model(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "m", threshold=0.9)
    table = read_dataset(data / "dataset").table("test")
    prediction = load_model(tmp_path / "m").predict(table)
    assert prediction.values.tolist() == (prediction.probabilities[:, 1] >= 0.9).tolist()


def test_the_sample_request_is_raw_records(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "m")
    request = json.loads((tmp_path / "m" / "sample_request.json").read_text())
    assert [set(record) for record in request["instances"]] == [{"a", "b"}, {"a", "b"}]
    assert "# Predicts `late`" in (tmp_path / "m" / "MODEL_CARD.md").read_text()


def test_no_word_of_the_card_is_wider_than_its_page(data: Path, tmp_path: Path) -> None:
    digest = fit(data, tmp_path / "m").digest
    card = (tmp_path / "m" / "MODEL_CARD.md").read_text()
    assert f"- Model: `sha256:{digest.removeprefix('sha256:')[:12]}…`" in card
    assert max(map(len, card.split())) < 40


def test_weights_and_early_stopping_change_the_model(data: Path, tmp_path: Path) -> None:
    given: tuple[dict[str, Any], ...] = (
        {},
        {"class_weight": {"true": 3}},
        {"class_weight": {"balanced": True}},
        {"sample_weight": "weight"},
        {"early_stopping": 2},
    )
    digests = {
        fit(data, tmp_path / str(i), **parameters).digest for i, parameters in enumerate(given)
    }
    assert len(digests) == 5


@pytest.mark.parametrize(
    ("estimator", "hyperparameters"),
    [
        ("xgboost", {"eta": 0.3, "max_depth": 3}),
        ("xgboost", {"num_parallel_tree": 2, "n_estimators": 5}),
        ("lightgbm", {"eta": 0.3, "bagging_fraction": 0.5, "bagging_freq": 1, "num_leaves": 5}),
    ],
)
def test_other_names_of_the_library_are_taken(
    estimator: str, hyperparameters: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    fit(data, tmp_path / "m", estimator=estimator, hyperparameters=hyperparameters)


def test_a_module_travels_with_its_model(data: Path, tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text(MODULE)
    pinned = pin_file(str(tmp_path / "ours.py"))
    manifest = fit(data, tmp_path / "m", pinned, hyperparameters={"C": 0.5})
    assert manifest.recipe.module_digest == pinned.digest
    (tmp_path / "ours.py").unlink()
    assert len(
        load_model(tmp_path / "m").predict(read_dataset(data / "dataset").table("test")).values
    )


def test_a_changed_byte_is_not_loaded(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "m")
    file = tmp_path / "m" / "estimator.skops"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError, match="the bytes do not match the recorded digest"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"label": "lat"}, "DATA/dataset: no label column 'lat'; did you mean 'late'?"),
        ({"label": "constant"}, "label 'constant': the label is constant; got 1; expected"),
        ({"label": "empty"}, "label 'empty': every label is null"),
        ({"label": "endless"}, "label 'endless': the label is infinite in some rows"),
        ({"label": "count"}, "label 'count': integers may be classes or numbers; got 5 values"),
        ({"task": "binry"}, "task: not allowed; got binry; expected auto or binary or"),
        ({"label": "kind", "task": "binary"}, "label 'kind': not a binary label; got 3 values"),
        ({"estimator": "xgbost"}, "estimator: unknown estimator 'xgbost'; did you mean 'xgboost'?"),
        ({"estimator": "lasso"}, "estimator: lasso does not do binary; use one of ada_boost"),
        (
            {"hyperparameters": {"max_iters": 3}},
            "hyperparameters: unknown hyperparameter 'max_iters' of hist_gradient_boosting; "
            "did you mean 'max_iter'?",
        ),
        ({"hyperparameters": {"max_iter": -1}}, "hist_gradient_boosting could not be fitted"),
        (
            {"estimator": "xgboost", "hyperparameters": {"learning_rat": 0.9}},
            "unknown hyperparameter 'learning_rat' of xgboost; did you mean 'learning_rate'?",
        ),
        (
            {"estimator": "lightgbm", "hyperparameters": {"num_leafs": 5}},
            "unknown hyperparameter 'num_leafs' of lightgbm; did you mean 'num_leaf'?",
        ),
        (
            {
                "estimator": "random_forest",
                "hyperparameters": {"class_weight": {"false": 1, "true": 5}},
            },
            "give it as the parameter class_weight, not as a hyperparameter",
        ),
        ({"estimator": "."}, "estimator: cannot import '.'; got ValueError"),
        ({"estimator": "sklearn."}, "estimator: cannot import 'sklearn.'; got"),
        (
            {"estimator": "sklearn.ensemble.RandomForestRegressor"},
            "estimator: it is an estimator of another task; got RandomForestRegressor; "
            "expected a classifier",
        ),
        ({"class_weight": {"yes": 2}}, "class_weight: unknown class 'yes'; known: false, true"),
        ({"class_weight": {"true": -1}}, "class_weight.true: not a weight; got -1"),
        ({"sample_weight": "weigth"}, "no column 'weigth'; did you mean 'weight'?"),
        ({"threshold": 1.0}, "threshold: out of range; got 1.0; expected between 0 and 1"),
        ({"seed": -1}, "seed: out of range; got -1; expected 0 to 2^32-1"),
        (
            {"estimator": "random_forest", "early_stopping": 3},
            "early_stopping: random_forest has no early stopping on a split of its own; got 3",
        ),
        ({"label": "a"}, "the transform reads the label 'a'"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    parameters: dict[str, Any], message: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(KfpSuiteError) as caught:
        fit(data, tmp_path / "m", **parameters)
    text = str(caught.value).replace(str(data), "DATA")
    assert message in text
    assert "\n" not in text
    assert list(tmp_path.iterdir()) == []


def test_the_module_of_the_documentation(data: Path, tmp_path: Path) -> None:
    """It trains, and its table has each attribute that `fit` is given."""
    page = (Path(__file__).parents[3] / "docs" / "running.md").read_text()
    (code,) = re.findall(r"```python\n(.*?def fit\(training\).*?)```", page, re.DOTALL)
    (tmp_path / "ours.py").write_text(code)
    manifest = fit(data, tmp_path / "m", pin_file(str(tmp_path / "ours.py")))
    assert manifest.task == "binary"
    table = page.split("| `training.` |")[1]
    for field in fields(Training):
        assert f"`{field.name}`" in table


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nowhere", "module.py: the module cannot be imported; got ModuleNotFoundError"),
        ("from helpers import depth", "one file is pinned: code of a file beside it goes into it"),
        (
            "def fit(training):\n    from helpers import depth",
            "got ModuleNotFoundError: No module named 'helpers', at line 2 of the module; one file",
        ),
        ("def fitt(training): ...", "module_file: no function 'fit(training)'; did you mean"),
        (
            "def fit(training):\n    half(0)\n\ndef half(x):\n    1 / x",
            "module_file: fit(training) failed; got ZeroDivisionError: division by zero, at line 5 "
            "of the module; mend it there; docs/running.md",
        ),
        ("def fit(training): return 3", "fit(training) returned no fitted estimator; got int"),
        ("import sys\nsys.exit(0)", "the module cannot be imported; got SystemExit: 0"),
        ("import sys\ndef fit(training): sys.exit(0)", "fit(training) failed; got SystemExit: 0"),
        (_returns("LogisticRegression"), "no fitted estimator; got the class LogisticRegression"),
        (
            _returns("LogisticRegression()"),
            "module_file: fit(training) returned an estimator that does not predict; got "
            "LogisticRegression: NotFittedError",
        ),
        (_returns("LinearRegression().fit(x, y)"), "an estimator of another task; got LinearReg"),
        (
            _returns("LogisticRegression().fit(x, 6 - y)"),
            "returned an estimator of other classes; got classes_ 5, 6; expected 0, 1; fit on",
        ),
        (
            _returns("IsolationForest(n_estimators=3).fit(x)"),
            "an estimator that predicts an unknown class; got -1; expected 0 to 1",
        ),
        (_returns("Says(np.nan)"), "predicts a value that is not a finite number; got nan"),
        (_returns("Says('late')"), "a value that is not a finite number; got np.str_('late')"),
        (_returns("Says(2)"), "predicts an unknown class; got 2; expected 0 to 1"),
        (
            _returns("Says([1, 0, 0])"),
            "an estimator that predicts another shape; got (256, 3); expected (256,) or (256, 2)",
        ),
        (_returns("Says([7, -7])"), "a value that is not a probability; got -7.0; expected 0 to 1"),
    ],
)
def test_a_module_that_does_not_work_is_one_line(
    code: str, message: str, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "ours.py").write_text(code)
    with pytest.raises(KfpSuiteError) as caught:
        fit(data, tmp_path / "m", pin_file(str(tmp_path / "ours.py")))
    assert message in str(caught.value)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("method", ["isotonic", "sigmoid"])
def test_a_calibrated_model_serves_what_it_was_corrected_to(
    method: str, data: Path, tmp_path: Path
) -> None:
    plain = fit(data, tmp_path / "plain", estimator="random_forest", threshold=0.4)
    manifest = fit(
        data, tmp_path / "m", estimator="random_forest", threshold=0.4, calibration=method
    )
    assert "calibration.json" in manifest.payload
    assert manifest.digest != plain.digest
    table = read_dataset(data / "dataset").table("test")
    found, raw = (load_model(tmp_path / name).predict(table) for name in ("m", "plain"))
    assert not np.allclose(found.probabilities, raw.probabilities)
    assert (found.values == (found.probabilities[:, 1] >= 0.4)).all()
    assert f"- Calibrated: {method}, on eval" in (tmp_path / "m" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"calibration": "magic"}, "calibration: not allowed; got magic; expected isotonic, sigm"),
        ({"calibration": "sigmoid", "label": "delay"}, "the estimator has no probabilities"),
        ({"calibration": "sigmoid", "estimator": "ridge"}, "the estimator has no probabilities"),
    ],
)
def test_a_calibration_that_cannot_be_is_one_line(
    parameters: dict[str, Any], message: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(KfpSuiteError) as caught:
        fit(data, tmp_path / "m", **parameters)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []
