"""Transform: fitted on train alone, whole or not there, with a report."""

from __future__ import annotations

import cProfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.contracts.dataset import Dataset, write_dataset_manifest
from kfp_suite.contracts.errors import KfpSuiteError, ParameterError
from kfp_suite.features.fitted_transform import FittedTransform
from tests.unit.features.tables import dataset_of

TABLE = pa.table({"x": [1.0, 2.0, 3.0], "w": [1.0, 1.0, 2.0], "late": [True, False, True]})


def run(table: pa.Table, folder: Path, **parameters: object) -> FittedTransform:
    with dataset_of(table) as data:
        write_dataset_manifest(data.path, data.manifest)
        given = TransformParameters(**({"label": "late"} | parameters))  # type: ignore[arg-type]
        return transform(given, data.path, folder / "transform", folder / "report")


def test_a_transform_and_its_report(tmp_path: Path) -> None:
    fitted = run(TABLE, tmp_path, features={"features": [{"column": "x", "op": "scale"}]})
    assert FittedTransform.load(tmp_path / "transform").digest == fitted.digest
    page = (tmp_path / "report").read_text()
    assert page.startswith("<!doctype html>")
    assert "scale" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_other_splits_are_not_read(tmp_path: Path) -> None:
    def fit(eval_rows: pa.Table, folder: Path) -> str:
        with dataset_of(TABLE) as data:
            (data.path / "eval").mkdir()
            pq.write_table(eval_rows, data.path / "eval/part-00000.parquet")
            train = data.manifest.splits["train"]
            shard = replace(train.shards[0], path="eval/part-00000.parquet")
            splits = {"train": train, "eval": replace(train, shards=(shard,))}
            both = Dataset(data.path, replace(data.manifest, splits=splits))
            write_dataset_manifest(both.path, both.manifest)
            parameters = TransformParameters(label="late")
            return transform(parameters, data.path, folder / "t", folder / "r").digest

    other = pa.table({"x": [9e9], "w": [-5.0], "late": [False]})
    assert fit(TABLE, tmp_path / "a") == fit(other, tmp_path / "b")


def test_weights_and_excluded_columns_are_no_features(tmp_path: Path) -> None:
    fitted = run(TABLE, tmp_path, features={}, sample_weight="w")
    assert [field.name for field in fitted.inputs] == ["x"]
    with pytest.raises(ParameterError, match="column 'w' is excluded from the features"):
        run(TABLE, tmp_path, features={"features": ["w"]}, exclude=("w",))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"features": {"features": [{"column": "y"}]}}, "features[0]: unknown column 'y'"),
        ({"features": {"feature": []}}, "did you mean 'features'?"),
        ({"exclude": ("v",)}, "exclude: no column 'v'"),
        ({"label": "lat"}, "did you mean 'late'?"),
    ],
)
def test_a_bad_parameter_leaves_nothing(
    parameters: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(KfpSuiteError) as caught:
        run(TABLE, tmp_path, **parameters)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_work_grows_with_the_columns_and_not_with_their_square(tmp_path: Path) -> None:
    def calls(columns: int) -> int:
        table = pa.table({f"c{i}": [float(i), 1.0, -1.0] for i in range(columns)})
        profile = cProfile.Profile()
        folder = tmp_path / str(columns)
        profile.runcall(run, table, folder, label="", features="auto")
        return sum(entry.callcount for entry in profile.getstats())

    calls(10)  # what is loaded once
    fixed, few, many = calls(10), calls(70), calls(130)
    assert many - fixed < 2.2 * (few - fixed)


def test_too_many_outputs_in_all_are_refused_with_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfp_suite.features.fitting.MAX_OUTPUTS", 1_000)
    table = pa.table({f"c{i}": ["a", "b", "c"] for i in range(20)})
    features = [{"column": f"c{i}", "op": "hash", "buckets": 64 - i} for i in range(20)]
    with pytest.raises(ParameterError) as error:
        run(table, tmp_path, label="", features={"features": features})
    assert str(error.value) == (
        "features: the features give too many columns; got 1,090; features[0] alone gives 64; "
        "expected at most 1,000 in all; take fewer buckets or max_categories, or "
        "output: index for trees"
    )
    assert not (tmp_path / "transform").exists()
