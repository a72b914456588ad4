"""Labels and features that are close together for their size are learned, judged and served
with the estimator's own quality, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import RandomForestRegressor

from kfp_suite.components.evaluate.executor import EvaluateParameters, evaluate
from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.components.train.executor import TrainParameters, train
from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.contracts.errors import DataError
from kfp_suite.contracts.model import ESTIMATOR_ONNX
from kfp_suite.models.equivalence import largest_difference
from kfp_suite.models.loading import load_model
from kfp_suite.models.persistence import load_estimator
from kfp_suite.stores.sources import parse_sources, pin

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=4_000)
NOISE = GENERATOR.normal(size=4_000)
COLUMNS: dict[str, Any] = {
    "id": np.arange(4_000),
    "x": X,
    "meter": np.round(2.5e8 + 50 * X + 2.5 * NOISE),
    "epoch": 1.7e12 + 50 * X + 2.5 * NOISE,
    "plain": 3 * X + 0.1 * NOISE,
    "seconds": 1_700_000_000 + np.arange(4_000) % 97,
    "late": np.arange(4_000) % 97 > 48,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and the transform of `x`."""
    folder = tmp_path_factory.mktemp("precision")
    pq.write_table(pa.table(COLUMNS), folder / "rows.parquet")
    sources = parse_sources({"t": str(folder / "rows.parquet")})
    split = {"by": "hash", "key": ["id"], "eval": 0.1, "test": 0.2}
    ingest(
        IngestParameters(split=split),
        {name: pin(name, source) for name, source in sources.items()},
        folder / "dataset",
        folder / "preview",
    )
    fit_features(folder, ["x"], folder / "transform")
    return folder


def fit_features(data: Path, features: list[Any], output: Path) -> None:
    parameters = TransformParameters(features={"features": features})
    transform(parameters, data / "dataset", output, output.with_name("report.html"))


def fit(data: Path, output: Path, **parameters: Any) -> Any:
    return train(TrainParameters(**parameters), None, data / "dataset", data / "transform", output)


@pytest.mark.parametrize("label", ["meter", "epoch", "plain"])
@pytest.mark.parametrize(
    "estimator", ["random_forest", "hist_gradient_boosting", "linear_regression", "ridge"]
)
def test_a_regression_is_judged_and_served_as_the_estimator_is(
    estimator: str, label: str, data: Path, tmp_path: Path
) -> None:
    hyper = {"n_estimators": 20, "min_samples_leaf": 10} if estimator == "random_forest" else {}
    fit(data, tmp_path / "model", label=label, estimator=estimator, hyperparameters=hyper)
    verdict = evaluate(
        EvaluateParameters(resamples=0),
        data / "dataset",
        tmp_path / "model",
        tmp_path / "evaluation",
        tmp_path / "report.html",
    )
    # A forest's own sums of squares, in 64 bits, do not hold what labels of 1.7e12 differ by.
    assert verdict.metrics["r2"] > (0.98 if (estimator, label) != ("random_forest", "epoch") else 0)
    table = read_dataset(data / "dataset").table("test")
    model = load_model(tmp_path / "model")
    said = model.predict(table).values
    own = load_estimator(tmp_path / "model", model.manifest.notes["trusted_types"])
    spread = np.std(table[label].to_numpy())
    assert said == pytest.approx(own.predict(model.features(table)), rel=0, abs=1e-4 * spread)
    residuals = said - table[label].to_numpy()
    assert verdict.metrics["rmse"] == pytest.approx(np.sqrt(np.mean(residuals**2)))
    # The graph is of 32-bit floats, which hold labels around 0 and not around 1.7e12.
    kept = (tmp_path / "model" / ESTIMATOR_ONNX).exists()
    assert kept == (label == "plain")


@pytest.mark.parametrize("estimator", ["xgboost", "lightgbm"])
def test_an_estimator_that_learns_in_32_bits_refuses_what_they_lose(
    estimator: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="too close together for 32-bit floats, in which"):
        fit(data, tmp_path / "model", label="meter", estimator=estimator)
    assert not (tmp_path / "model").exists()


def test_a_feature_that_32_bits_blur_is_refused_and_scaled_is_not(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="feature 'seconds': the values are too close together"):
        fit_features(data, ["seconds"], tmp_path / "transform")
    assert not (tmp_path / "transform").exists()
    scaled = {"columns": ["seconds"], "steps": [{"op": "scale"}]}
    fit_features(data, [scaled, "id", "plain"], tmp_path / "transform")


def test_sorted_rows_whose_first_are_alike_are_not_refused(tmp_path: Path) -> None:
    # Over a year, 64 seconds are nothing; in the first rows they are much.
    seconds = 1_700_000_000 + np.arange(40_000) * 800
    columns = {"seconds": seconds, "y": seconds % 3 == 0}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    sources = parse_sources({"t": str(tmp_path / "rows.parquet")})
    ingest(
        IngestParameters(split={"by": "hash", "key": ["seconds"], "eval": 0.0, "test": 0.1}),
        {name: pin(name, source) for name, source in sources.items()},
        tmp_path / "dataset",
        tmp_path / "preview",
    )
    fit_features(tmp_path, ["seconds"], tmp_path / "transform")


def test_a_difference_is_measured_by_what_predictions_differ_by() -> None:
    expected = 2.5e8 + 50 * X
    assert largest_difference(expected + 100, expected, "regression") > 0.5
    assert largest_difference(expected + 1e-4, expected, "regression") < 1e-5
    # One prediction far away does not excuse the others.
    outlier = np.append(X, 1e9)
    assert largest_difference(outlier + 1, outlier, "regression") > 0.1
    assert largest_difference(np.full(3, 7.0), np.full(3, 7.0), "regression") == 0
    assert largest_difference(np.full(3, 8.0), np.full(3, 7.0), "regression") == np.inf
    assert largest_difference(np.full(3, 0.5), np.full(3, 0.25), "binary") == 0.25
    # An estimator that predicts in 32 bits is off by its own rounding.
    rounded = expected.astype(np.float32)
    assert largest_difference(np.nextafter(rounded, np.float32(0)), rounded, "regression") == 0


def test_a_forest_of_sklearn_is_what_the_graph_was_measured_against() -> None:
    """The premise: on a 32-bit matrix the estimator itself has these labels right."""
    matrix = X[:, None].astype(np.float32)
    forest = RandomForestRegressor(20, min_samples_leaf=10, random_state=0)
    forest.fit(matrix, COLUMNS["meter"])
    assert forest.score(matrix, COLUMNS["meter"]) > 0.99
