"""Our metrics agree with TensorFlow Model Analysis's, on the whole and in slices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kfp_suite.components.evaluate.executor import EvaluateParameters, evaluate
from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.contracts.errors import KfpSuiteError
from tests.tfx.tables import write_dataset

pytest.importorskip("tensorflow_model_analysis", reason="needs the image tfx: images build tfx")

from kfp_suite.components.evaluate.tfma.executor import TfmaParameters, evaluate_tfma
from kfp_suite.components.train.keras.executor import KerasParameters, train_keras

# TFMA divides by zero at thresholds that nothing is above.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")

ROWS = 1500
# TFMA sums areas over 10,000 thresholds, and interpolates between precisions.
TOLERANCE = {"roc_auc": 1e-3, "average_precision": 5e-3, "log_loss": 1e-4}


def table(seed: int) -> pa.Table:
    r = np.random.default_rng(seed)
    a, b = r.normal(size=(2, ROWS))
    late = a + b + r.normal(size=ROWS) > 0.5
    return pa.table(
        {
            "a": a,
            "b": b,
            "place": r.choice(["x", "y", "z"], ROWS),
            "late": pa.array(late, mask=r.random(ROWS) < 0.05),
            "kind": np.array(["p", "q", "r"])[(a > 0).astype(int) + (b + r.normal(size=ROWS) > 0)],
            "delay": 30 * a - 10 * b + r.normal(size=ROWS),
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tfma")
    write_dataset(folder / "dataset", {"train": table(0), "eval": table(1), "test": table(2)})
    parameters = TransformParameters(features={"features": ["a", "b"]}, label="late")
    transform(parameters, folder / "dataset", folder / "transform", folder / "report")
    for label in ("late", "kind", "delay"):
        keras = KerasParameters(
            label=label,
            threshold=0.4,
            hyperparameters={"epochs": 9, "units": [8], "learning_rate": 0.01},
        )
        train_keras(
            keras, None, folder / "dataset", folder / "transform", folder / label, folder / "logs"
        )
    return folder


def judged(data: Path, folder: Path, label: str, **given: Any) -> dict[str, Any]:
    parameters = TfmaParameters(**given)
    evaluate_tfma(
        parameters, data / "dataset", data / label, folder / "theirs", folder / "report.html"
    )
    content: dict[str, Any] = json.loads((folder / "theirs" / "evaluation.json").read_text())
    return content


@pytest.mark.parametrize("label", ["late", "kind", "delay"])
def test_metrics_agree(data: Path, tmp_path: Path, label: str) -> None:
    theirs = judged(data, tmp_path, label, slices=("place",))
    ours = EvaluateParameters(slices=["place"], resamples=0)
    evaluate(ours, data / "dataset", data / label, tmp_path / "ours", tmp_path / "ours.html")
    expected = json.loads((tmp_path / "ours" / "evaluation.json").read_text())
    assert theirs["rows"] == expected["rows"]
    pairs = [(theirs, expected)]
    named = {s["slice"].replace(" ", ""): s for s in expected["slices"]}
    pairs += [(s, named[s["slice"].replace(" ", "")]) for s in theirs["slices"]]
    assert len(pairs) == 4
    compared = 0
    for got, wanted in pairs:
        assert got["rows"] == wanted["rows"]
        for name, found in got["metrics"].items():
            tolerance = TOLERANCE.get(name, 1e-5)
            value = wanted["metrics"][name]["value"]
            assert found["value"] == pytest.approx(value, rel=tolerance, abs=tolerance), name
            compared += 1
    assert compared == 4 * {"late": 12, "kind": 9, "delay": 3}[label]


def test_thresholds_bless_or_not(data: Path, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    good = judged(data, tmp_path / "good", "late", thresholds={"roc_auc": {"min": 0.6}})
    assert good["blessed"] is True
    limits = {"roc_auc": {"min": 0.6, "slices": {"min": 0.99}}}
    bad = judged(data, tmp_path, "late", thresholds=limits, slices=("place",))
    assert bad["blessed"] is False
    assert len(bad["reasons"]) == 3
    page = (tmp_path / "report.html").read_text()
    assert "Not blessed" in page and "place=x" in page


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"thresholds": {"calibration_error": {"max": 1}}}, "does not measure 'calibration_error'"),
        ({"split": "tset"}, "no split 'tset'; did you mean 'test'"),
        ({"slices": ("plaze",)}, "no column 'plaze'"),
    ],
)
def test_what_it_cannot_do_is_one_line(data: Path, tmp_path: Path, given: Any, said: str) -> None:
    with pytest.raises(KfpSuiteError, match=said):
        judged(data, tmp_path, "late", **given)
    assert list(tmp_path.iterdir()) == []
