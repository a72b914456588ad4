"""One data set for every test of networks, its transforms, and short trainings on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.contracts.model import ModelManifest
from kfp_suite.stores.sources import parse_sources, pin
from tests.tensorflow.pictures import picture

ROWS = 400
LABELS = ("late", "kind", "delay")
NUMBERS: list[dict[str, Any]] = [
    {"column": "a", "op": "scale"},
    {"column": "b", "steps": [{"op": "impute", "with": "mean"}, "scale"]},
]
CATEGORY: dict[str, Any] = {"column": "word", "op": "one_hot", "oov": 1, "missing": "indicator"}
WHEN: dict[str, Any] = {"column": "at", "op": "cyclic", "parts": ["weekday"], "missing": "zeros"}
SAID: dict[str, Any] = {"column": "said", "op": "tokens", "length": 5}
SEEN: dict[str, Any] = {"column": "seen", "op": "image", "height": 6, "width": 6}


def write_dataset(folder: Path) -> None:
    """A dataset of numbers, words, times, sentences and pictures, in `folder/dataset`."""
    generator = np.random.default_rng(0)
    lines = []
    for i in range(ROWS):
        a, b = generator.normal(size=2).round(3)
        kind = "xyz"[int(a > 0) + int(b > 0)]
        row = {"id": i, "a": a, "b": b if i % 9 else None, "word": "uv"[i % 2] if i % 7 else None}
        row |= {"at": f"2024-01-{1 + i % 28:02}T08:00:00" if i % 5 else None}
        row |= {"said": f"the {kind} said {i % 3}", "seen": picture("L", (4 + i % 4, 6), seed=i)}
        row |= {"late": bool(a + b > 0.3), "kind": kind, "delay": 40 * a - 20 * b + 300}
        lines.append(json.dumps(row))
    (folder / "a.jsonl").write_text("\n".join(lines) + "\n")
    sources = parse_sources({"t": str(folder / "a.jsonl")})
    pinned = {name: pin(name, spec) for name, spec in sources.items()}
    split = {"by": "hash", "key": ["id"], "eval": 0.2, "test": 0.2}
    ingest(IngestParameters(split=split), pinned, folder / "dataset", folder / "preview")


def features(data: Path, folder: Path, *entries: dict[str, Any]) -> Path:
    """The transform of these features."""
    output = folder / "transform"
    parameters = TransformParameters(
        features={"features": list(entries)}, label="late", exclude=LABELS[1:]
    )
    transform(parameters, data / "dataset", output, folder / "report")
    return output


def fit(data: Path, fitted: Path, output: Path, **given: Any) -> ModelManifest:
    """A network of 3 epochs on a transform, as a Model artifact; `given`: its parameters."""
    from kfp_suite.components.train.keras.executor import KerasParameters, train_keras

    hyper = {"epochs": 3, "batch_size": 32, "units": [8]} | given.pop("hyperparameters", {})
    parameters = KerasParameters(**{"label": "late", "hyperparameters": hyper} | given)
    return train_keras(parameters, None, data / "dataset", fitted, output, output.with_name("logs"))
