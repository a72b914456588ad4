"""Runs that recur: nothing new ends early, only what is better is served, and a backfill."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_suite.components.stores.folder import FolderStore
from kfp_suite.components.stores.versions import ModelStore
from tests.local.command import kfp_suite


def rows(path: Path, *, month: int = 1, late_above: bool = True, count: int = 600) -> None:
    """Rows of a month; whether the late ones are the large or the small is a parameter."""
    chance = random.Random(month)
    lines = ["id,day,size,late"]
    for number in range(count):
        size = chance.uniform(0, 10)
        late = (size + chance.gauss(0, 1) > 5) == late_above
        day = f"2026-{month:02}-{1 + number % 28:02}"
        lines.append(f"{number},{day},{size:.3f},{str(late).lower()}")
    path.write_text("\n".join(lines) + "\n")


def run(folder: Path, pipeline: str, **more: Any) -> dict[str, Any]:
    parameters = {
        "model_name": "rows",
        "sources": {"rows": "rows.csv"},
        "label": "late",
        "split": {"by": "hash", "key": ["id"], "eval": 0.2, "test": 0.3},
        "estimator": "logistic_regression",
    }
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(parameters | more))
    done = kfp_suite(
        "run", pipeline, "--params", str(file), "--root", str(folder / "runs"), "--json"
    )
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, answer["error"]
    return answer


@pytest.mark.serving
def test_only_what_is_new_is_trained_and_only_what_is_better_is_served(tmp_path: Path) -> None:
    models = ModelStore(FolderStore(tmp_path / "runs" / "models"))
    rows(tmp_path / "rows.csv")
    assert run(tmp_path, "retrain")["version"] == 1
    assert models.aliases("rows") == {"challenger": 1, "champion": 1}

    idle = run(tmp_path, "retrain")
    assert list(idle["steps"]) == ["resolve", "changed", "record"]
    assert idle["status"] == "SUCCEEDED"
    assert idle["reasons"] == [
        "nothing is new since version 1, the champion: the same sources, module and parameters"
    ]

    no_better = run(tmp_path, "retrain", hyperparameters={"C": 0.5})
    assert no_better["blessed"] is False
    assert "an improvement of 0.0001 is not shown" in no_better["reasons"][0]

    rows(tmp_path / "rows.csv", late_above=False)  # the world has turned
    better = run(tmp_path, "retrain")
    assert better["version"] == 2
    assert models.aliases("rows") == {"challenger": 2, "champion": 2}


def test_a_backfill_is_a_version_of_each_window(tmp_path: Path) -> None:
    for month in (1, 2, 3):
        rows(tmp_path / f"rows-2026-{month:02}-01.csv", month=month)
    answer = run(
        tmp_path,
        "backfill",
        sources={"rows": "rows-${start}.csv"},
        sql="SELECT * FROM rows WHERE day < DATE '${end}'",
        start="2026-01-01",
        end="2026-04-01",
    )
    assert answer["versions"] == [1, 2, 3]
    assert answer["endpoint"] is None
    assert sum(name.endswith(".evaluate") for name in answer["reports"]) == 3
    models = ModelStore(FolderStore(tmp_path / "runs" / "models"))
    assert models.aliases("rows") == {}
    read = {
        models.manifest("rows", n).recipe["ingest"]["sources"]["rows"]["uri"].rpartition("/")[2]
        for n in (1, 2, 3)
    }
    assert read == {f"rows-2026-{month:02}-01.csv" for month in (1, 2, 3)}
