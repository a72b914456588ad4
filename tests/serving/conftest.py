"""A store with two versions of a small model, made by the executors themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.components.train.executor import TrainParameters, train
from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.stores.files import pin_file
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.sources import parse_sources, pin
from kfp_suite.stores.versions import ModelStore

KEEPS_MISSING = {
    "features": [
        {"column": "span", "op": "scale"},
        {"column": "weight", "op": "identity", "keep_missing": True},
    ]
}
"""Features that hand a missing weight to the estimator."""


def publish(
    models: ModelStore,
    name: str,
    folder: Path,
    estimator: str,
    module: str = "",
    label: str = "flies",
    features: dict[str, Any] | None = None,
    csv: str = "",
) -> None:
    """Train on 300 wings and publish; `module`: the source of a user's own training;
    `features`: else the default ones; `csv`: other rows than wings."""
    source = folder / "wings.csv"
    source.parent.mkdir(parents=True)
    rows = [
        f"{i},{i * 0.5 if i % 7 else ''},{'ab'[i % 2]},{'true' if i % 3 else 'false'},"
        f"2024-01-{i % 28 + 1:02}T08:00:00"
        for i in range(300)
    ]
    source.write_text(csv or "\n".join(["span,weight,kind,flies,seen", *rows]) + "\n")
    pinned = {n: pin(n, s) for n, s in parse_sources({"wings": str(source)}).items()}
    split = {"by": "hash", "eval": 0.2, "test": 0.2}
    dataset, fitted, model = folder / "dataset", folder / "transform", folder / "model"
    ingest(IngestParameters(split=split), pinned, dataset, folder / "preview")
    transform(TransformParameters(features or {}, label=label), dataset, fitted, folder / "report")
    pinned_module = None
    if module:
        file = folder / "module.py"
        file.write_text(module)
        pinned_module = pin_file(str(file))
    parameters = TrainParameters(label=label, estimator=estimator)
    train(parameters, pinned_module, dataset, fitted, model)
    models.publish(name, model, evaluation={}, run={}, parameters={})


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("serving")
    found = ModelStore(FolderStore(folder / "store"))
    for number, (name, estimator) in enumerate(
        [
            ("wings", "hist_gradient_boosting"),
            ("wings", "logistic_regression"),
            ("feet", "random_forest"),
        ]
    ):
        publish(found, name, folder / str(number), estimator)
    return found
