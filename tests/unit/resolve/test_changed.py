"""Whether anything is new is read from digests and parameters, not from data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kfp_suite.components.resolve.changed.component import changed as changed_component
from kfp_suite.components.resolve.changed.executor import ChangedParameters, Changes, changed
from kfp_suite.components.resolve.component import resolve as resolve_component
from kfp_suite.components.resolve.executor import resolve
from kfp_suite.contracts.errors import MissingError, ParameterError
from kfp_suite.contracts.run_record import join_record
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import CHAMPION, ModelStore
from tests.steps import STEPS, write_source

# As KFP gives them: whole numbers may be floats.
SAME: dict[str, dict[str, Any]] = {
    "ingest": {"sql": "", "split": {"by": "hash", "key": ["id"]}},
    "train": {
        "label": "late",
        "task": "auto",
        "estimator": "hist_gradient_boosting",
        "hyperparameters": {},
        "class_weight": {},
        "sample_weight": "",
        "early_stopping": 0.0,
        "threshold": 0.5,
        "calibration": "",
        "seed": 0.0,
    },
}
Compare = Callable[..., Changes]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_source(folder)
    for run in STEPS.values():
        run(folder, folder)
    ModelStore(FolderStore(folder / "store")).set_alias("rows", CHAMPION, 1, "test")
    return folder


@pytest.fixture
def compare(made: Path, tmp_path: Path) -> Compare:
    def run(rows: Path | None = None, module: str = "", **more: Any) -> Changes:
        source = rows or made / "rows.csv"
        pinned = resolve(
            {"rows": str(source)}, module, str(made / "store"), "rows", tmp_path / "pins"
        )
        parameters = ChangedParameters(
            sources=pinned.sources,
            module=pinned.module,
            champion=pinned.champion,
            ingest=SAME["ingest"],
            train=SAME["train"],
        )
        return changed(replace(parameters, **more), tmp_path / "changes")

    return run


def test_it_resolves_as_resolve_does(made: Path, tmp_path: Path) -> None:
    given = {
        "sources": {"rows": str(made / "rows.csv")},
        **{"store": str(made / "store"), "model_name": "rows"},
    }

    def output(name: str) -> SimpleNamespace:
        uri = f"s3://bucket/runs/1/{name}"
        return SimpleNamespace(path=str(tmp_path / name), uri=uri, metadata={})

    told = changed_component.python_func(
        **given, **SAME["ingest"], label="late", pins=output("pins"), changes=output("changes")
    )
    alone = resolve_component.python_func(**given, pins=output("pins"))
    assert told[1:] == tuple(alone)
    assert "_cached/" in told.sources  # where cached steps of this run note their outputs
    assert not told.Output
    assert (tmp_path / "pins" / "pins.json").is_file()


def test_nothing_is_new(compare: Compare, tmp_path: Path) -> None:
    found = compare()
    assert not found.changed
    said = "nothing is new since version 1, the champion: the same sources, module and parameters"
    assert found.reasons == (said,)
    left = json.loads((tmp_path / "changes" / "changes.json").read_text())
    record = join_record("r", "1", "retrain", "SUCCEEDED", [("changes.json", left)])
    assert record.reasons == [said]


def test_a_file_that_moved_is_not_new(compare: Compare, made: Path, tmp_path: Path) -> None:
    moved = tmp_path / "rows.csv"
    moved.write_bytes((made / "rows.csv").read_bytes())
    assert not compare(moved).changed


def test_new_rows_are(compare: Compare, made: Path, tmp_path: Path) -> None:
    grown = tmp_path / "rows.csv"
    grown.write_text((made / "rows.csv").read_text() + "400,1.0,a,false\n")
    assert compare(grown).reasons == ("source 'rows' has other rows",)


def test_a_module_is(compare: Compare, tmp_path: Path) -> None:
    module = tmp_path / "ours.py"
    module.write_text("def fit(training): ...\n")
    assert compare(module=str(module)).reasons == ("the module is another",)


def test_parameters_are(compare: Compare) -> None:
    train = {**SAME["train"], "estimator": "lightgbm", "hyperparameters": {"max_depth": 3.0}}
    ingest = {**SAME["ingest"], "sql": "SELECT *\nFROM rows"}
    assert compare(train=train, ingest=ingest).reasons == (
        "sql is SELECT * FROM rows, was empty",
        "estimator is lightgbm, was hist_gradient_boosting",
        "hyperparameters is {'max_depth': 3.0}, was {}",
    )


def test_features_count_where_they_are_given(compare: Compare, made: Path) -> None:
    recipe = ModelStore(FolderStore(made / "store")).manifest("rows", 1).recipe
    recorded = recipe["features"]["features"]
    assert not compare(features={"features": recorded}).changed
    assert not compare(features={"features": recorded[:1], "others": "auto"}).changed
    assert compare(features={"features": recorded[:1]}).reasons == ("the features are others",)


def test_what_is_asked_for_is_done(compare: Compare) -> None:
    assert compare(force=True).reasons == ("it was asked for: force",)


def test_without_a_champion_everything_is_new(compare: Compare) -> None:
    assert compare(champion="").reasons == ("there is no champion yet",)


def test_a_champion_that_is_gone(compare: Compare, made: Path) -> None:
    gone = json.dumps({"uri": f"{made / 'store'}/rows/7", "version": 7})
    with pytest.raises(MissingError, match="no version 7 of 'rows'"):
        compare(champion=gone)


def test_what_resolve_did_not_write(compare: Compare) -> None:
    with pytest.raises(ParameterError, match="pass resolve's output"):
        compare(sources="rows.csv")
