"""A dataset and models on disk, small, and a model that knows the answer to give."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kfp_suite.contracts.dataset import (
    DatasetManifest,
    Shard,
    Split,
    dataset_digest,
    write_dataset_manifest,
)
from kfp_suite.contracts.digests import digest_file, digest_value
from kfp_suite.contracts.environment import Environment
from kfp_suite.contracts.model import (
    Field,
    ModelManifest,
    Recipe,
    Signature,
    read_model,
    write_model_manifest,
)
from kfp_suite.contracts.tables import TableDigest, columns_of


@dataclass(frozen=True)
class Answer:
    values: Any
    probabilities: Any = None


@dataclass(frozen=True)
class FormulaModel:
    """A model that computes its answers from columns, by the weights beside its manifest."""

    manifest: ModelManifest
    weight: float
    shift: float = 0.0
    answers: list[int] = field(default_factory=list)

    def predict(self, table: pa.Table) -> Answer:
        self.answers.append(table.num_rows)
        signal = self.weight * table["signal"].to_numpy() + self.shift
        classes = np.array(self.manifest.classes)
        if self.manifest.task == "regression":
            return Answer(signal)
        if self.manifest.task == "binary":
            positive = 1 / (1 + np.exp(-signal))
            chosen = (positive >= (self.manifest.threshold or 0.5)).astype(int)
            return Answer(classes[chosen], np.column_stack([1 - positive, positive]))
        logits = np.column_stack([-signal, np.zeros_like(signal), signal])
        probabilities = np.exp(logits)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return Answer(classes[probabilities.argmax(axis=1)], probabilities)


def load(folder: Path) -> FormulaModel:
    content = json.loads((folder / "formula.json").read_text())
    return FormulaModel(read_model(folder).manifest, **content)


def write_dataset(folder: Path, splits: dict[str, pa.Table]) -> Path:
    """A Dataset artifact of two shards a split."""
    columns = columns_of(next(iter(splits.values())).schema)
    found = {}
    for name, table in splits.items():
        (folder / name).mkdir(parents=True)
        digest = TableDigest(table.schema)
        shards = []
        half = (table.num_rows + 1) // 2
        for i, part in enumerate([table.slice(0, half), table.slice(half)]):
            path = f"{name}/part-{i:05d}.parquet"
            pq.write_table(part, folder / path)
            for batch in part.to_batches():
                digest.update(batch)
            size = (folder / path).stat().st_size
            shards.append(Shard(path, part.num_rows, size, digest_file(folder / path)))
        size = sum(s.bytes for s in shards)
        found[name] = Split(table.num_rows, size, digest.digest(), tuple(shards))
    write_dataset_manifest(
        folder, DatasetManifest(dataset_digest(columns, found), columns, found, {}, {})
    )
    return folder


def write_model(
    folder: Path,
    task: Any,
    classes: tuple[Any, ...] = (),
    *,
    weight: float = 1.0,
    shift: float = 0.0,
    label: str = "label",
    inputs: tuple[str, ...] = ("signal",),
    threshold: float | None = None,
) -> Path:
    """A Model artifact that `load` loads."""
    folder.mkdir(parents=True)
    formula = {"weight": weight, "shift": shift}
    (folder / "formula.json").write_text(json.dumps(formula))
    write_model_manifest(
        folder,
        ModelManifest(
            digest=digest_value([str(formula), task, list(classes), label, list(inputs)]),
            framework="sklearn",
            task=task,
            label=label,
            signature=Signature(tuple(Field(name, "float64") for name in inputs), ()),
            files={},
            payload=(),
            recipe=Recipe(
                dataset_digest="",
                transform_digest="",
                code_digest="",
                environment=Environment("3.11", {}, 1, "none"),
                sources={},
                ingest={},
                features={},
                train={"estimator": "formula", "seed": 0},
            ),
            classes=classes,
            threshold=threshold,
        ),
    )
    return folder


def rows_of(task: str, count: int, seed: int = 0) -> pa.Table:
    """Rows whose label follows `signal`, with columns to slice by."""
    generator = np.random.default_rng(seed)
    signal = generator.normal(size=count)
    noisy = signal + generator.normal(size=count)
    label: Any
    if task == "binary":
        label = pa.array((noisy > 0.8).astype(np.int64))
    elif task == "multiclass":
        names = np.array(["adelie", "chinstrap", "gentoo"])
        label = pa.array(names[np.digitize(noisy, [-0.7, 0.7])])
    else:
        label = pa.array(noisy)
    origin = np.array(["EWR", "JFK", "LGA"])[generator.integers(0, 3, count)]
    return pa.table(
        {
            "signal": pa.array(signal),
            "label": label,
            "origin": pa.array(origin, mask=generator.random(count) < 0.01),
            "distance": pa.array(generator.integers(80, 5000, count)),
            "weekend": pa.array(generator.random(count) < 0.3),
        }
    )


CLASSES: dict[str, tuple[Any, ...]] = {
    "binary": (0, 1),
    "multiclass": ("adelie", "chinstrap", "gentoo"),
    "regression": (),
}


@dataclass(frozen=True)
class Case:
    """A dataset and a model of one task."""

    dataset: Path
    model: Path
    folder: Path

    @property
    def evaluation(self) -> Path:
        return self.folder / "evaluation"

    @property
    def report(self) -> Path:
        return self.folder / "report"

    def outcome(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.evaluation / "evaluation.json").read_bytes())
        return content
