"""transform_tft: a spec learns on Beam what it learns in our own passes; a preprocessing_fn
is analyzed, trained on and served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.models.loading import load_model
from kfp_suite.stores.files import pin_file
from kfp_suite.stores.sources import parse_sources, pin

tft = pytest.importorskip("tensorflow_transform", reason="needs the image tfx: images build tfx")

import tensorflow as tf  # noqa: E402

from kfp_suite.beam.pipelines import BeamParameters  # noqa: E402
from kfp_suite.components.train.keras.executor import KerasParameters, train_keras  # noqa: E402
from kfp_suite.components.transform.tft.executor import TftParameters, transform_tft  # noqa: E402
from kfp_suite.features.loading import load_transform  # noqa: E402

ENTRIES: list[dict[str, Any]] = [
    {"column": "a", "op": "scale"},
    {"column": "a", "name": "a01", "op": "scale", "to": "min_max"},
    {"column": "b", "steps": [{"op": "impute", "with": "mean", "indicator": True}, "scale"]},
    {"column": "b", "name": "log_b", "steps": [{"op": "clip", "min": 0.1}, {"op": "impute",
        "with": "constant", "value": 1.0}, "log1p", {"op": "scale", "to": "standard"}]},
    {"column": "n", "steps": [{"op": "impute", "with": "most_frequent"}]},
    {"column": "word", "op": "one_hot", "max_categories": 2, "oov": 1, "missing": "indicator"},
    {"column": "word", "name": "place", "steps": [{"op": "impute", "with": "most_frequent"},
        {"op": "ordinal", "min_count": 2}]},
    {"column": "n", "name": "n_text", "steps": [{"op": "cast", "to": "category"},
        {"op": "one_hot", "missing": "zeros"}]},
    {"columns": ["word", "flag"], "op": "cross", "buckets": 7, "missing": "bucket"},
    {"column": "said", "op": "ngrams", "n": [1, 2], "min_count": 3, "weight": "tfidf"},
    {"column": "said", "name": "hashed", "op": "ngrams", "buckets": 8, "weight": "tfidf"},
    {"column": "said", "name": "ids", "op": "tokens", "length": 4},
    {"column": "at", "op": "cyclic", "parts": ["weekday"], "missing": "zeros"},
]  # fmt: skip
QUANTILES: list[dict[str, Any]] = [
    {"column": "a", "op": "bucketize", "quantiles": 4},
    {"column": "b", "steps": [{"op": "impute", "with": "median"}, {"op": "scale", "to": "robust"}]},
    {"column": "a", "name": "clipped", "op": "clip", "quantiles": [0.01, 0.99]},
]
MODULE = """
import tensorflow as tf
import tensorflow_transform as tft

def preprocessing_fn(inputs):
    b = inputs["b"]
    b = tf.sparse.to_dense(tf.SparseTensor(b.indices, b.values, [b.dense_shape[0], 1]))
    index = tft.compute_and_apply_vocabulary(inputs["said"], top_k=10, num_oov_buckets=1)
    return {
        "a": tft.scale_to_z_score(inputs["a"]),
        "b": tft.scale_to_0_1(b),
        "said": tf.one_hot(index[:, 0], 11),
    }
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tft")
    generator = np.random.default_rng(0)
    lines = []
    for i in range(700):
        a, b = generator.normal(size=2).round(3)
        row: dict[str, Any] = {"id": i, "a": a, "b": abs(b) if i % 9 else None, "n": i % 4 or None}
        row |= {
            "word": ["x", "y", "", "z\n\u00e9", None][i % 5 if i % 3 else 0],
            "flag": i % 2 == 0,
        }
        row |= {"said": ["the cat sat", "a dog", "", "The Cat!"][i % 4]}
        row |= {"at": f"2024-01-{1 + i % 28:02}T08:00:00" if i % 5 else None, "late": bool(a > b)}
        lines.append(json.dumps(row))
    (folder / "a.jsonl").write_text("\n".join(lines) + "\n")
    sources = parse_sources({"t": str(folder / "a.jsonl")})
    pinned = {name: pin(name, spec) for name, spec in sources.items()}
    split = {"by": "hash", "key": ["id"], "eval": 0.2, "test": 0.2}
    parameters = IngestParameters(split=split, rows_per_shard=150)
    ingest(parameters, pinned, folder / "dataset", folder / "preview")
    return folder


def by_tft(data: Path, folder: Path, entries: Any, module: str = "", **given: Any) -> Path:
    pinned = None
    if module:
        (folder / "module_file.py").write_text(module)
        pinned = pin_file(str(folder / "module_file.py"))
    features = {"features": entries} if entries else {}
    parameters = TftParameters(features=features, label="late", **given)
    output = folder / "transform"
    transform_tft(
        parameters, pinned, data / "dataset", output, folder / "examples", folder / "report"
    )
    return output


def by_us(data: Path, folder: Path, entries: Any) -> Path:
    parameters = TransformParameters(features={"features": entries}, label="late")
    transform(parameters, data / "dataset", folder / "ours", folder / "our_report")
    return folder / "ours"


def states(folder: Path) -> list[Any]:
    return [item["state"] for item in json.loads((folder / "transform.json").read_text())["fitted"]]


def test_a_spec_learns_what_it_learns_in_our_passes(data: Path, tmp_path: Path) -> None:
    theirs, ours = by_tft(data, tmp_path, ENTRIES), by_us(data, tmp_path, ENTRIES)
    for got, expected in zip(states(theirs), states(ours), strict=True):
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            if isinstance(value, float):
                assert got[key] == pytest.approx(value, rel=1e-9, abs=1e-12), key
            else:
                assert got[key] == value, key
    table = read_dataset(data / "dataset").table("test")
    np.testing.assert_allclose(
        load_transform(theirs).transform(table), load_transform(ours).transform(table), rtol=1e-6
    )


def test_quantiles_are_within_their_rank(data: Path, tmp_path: Path) -> None:
    theirs, ours = by_tft(data, tmp_path, QUANTILES), by_us(data, tmp_path, QUANTILES)
    numbers = np.sort(read_dataset(data / "dataset").table("train")["a"].to_numpy())
    step = float(np.diff(numbers).max())
    for got, expected in zip(states(theirs), states(ours), strict=True):
        for key, value in expected.items():
            np.testing.assert_allclose(got[key], value, atol=max(0.05, step / 5), err_msg=key)


def test_the_graph_and_the_examples_say_what_the_transform_says(data: Path, tmp_path: Path) -> None:
    from kfp_suite.features.tensorflow_graph import tensors_of

    folder = by_tft(data, tmp_path, ENTRIES)
    fitted, table = load_transform(folder), read_dataset(data / "dataset").table("eval")
    expected = fitted.transform(table)
    graph = tf.saved_model.load(str(folder / "transform_fn"))
    np.testing.assert_allclose(
        graph.transform_fn(tensors_of(table, fitted.inputs)), expected, rtol=1e-6
    )
    files = sorted(str(p) for p in (tmp_path / "examples" / "Split-eval").iterdir())
    spec = {name: tf.io.FixedLenFeature([], tf.float32) for name in fitted.output_names}
    spec["late"] = tf.io.FixedLenFeature([], tf.int64)
    rows = [
        tf.io.parse_single_example(record, spec)
        for record in tf.data.TFRecordDataset(files, "GZIP")
    ]
    got = np.array([[float(row[name]) for name in fitted.output_names] for row in rows])
    np.testing.assert_allclose(got[np.lexsort(got.T)], expected[np.lexsort(expected.T)], rtol=1e-6)
    assert sum(int(row["late"]) for row in rows) == sum(table["late"].to_pylist())


def test_a_preprocessing_fn_is_trained_on_and_served(data: Path, tmp_path: Path) -> None:
    folder = by_tft(data, tmp_path, None, MODULE)
    loaded = load_transform(folder)
    assert {f.name: f.nullable for f in loaded.inputs} == {"a": False, "b": True, "said": False}
    table = read_dataset(data / "dataset").table("train")
    matrix = loaded.transform(table)
    assert loaded.output_names[:3] == ("a", "b", "said[0]")
    assert matrix.shape == (len(table), 13)
    assert abs(matrix[:, 0].mean()) < 1e-5
    assert (matrix[:, 1].min(), matrix[:, 1].max()) == (0, 1)
    parameters = KerasParameters(label="late", hyperparameters={"epochs": 3, "units": [8]})
    model = tmp_path / "model"
    manifest = train_keras(parameters, None, data / "dataset", folder, model, tmp_path / "logs")
    assert manifest.notes["saved_model"]["equal"], manifest.notes
    test = read_dataset(data / "dataset").table("test")
    assert len(load_model(model).predict(test).values) == len(test)


def test_another_runner_learns_the_same(data: Path, tmp_path: Path) -> None:
    digests = []
    for runner in ("local", "BundleBasedDirectRunner"):
        folder = tmp_path / runner
        folder.mkdir()
        where = BeamParameters(runner)
        digests.append(load_transform(by_tft(data, folder, ENTRIES[:6], beam=where)).digest)
    assert digests[0] == digests[1]


@pytest.mark.parametrize(("entries", "module"), [(ENTRIES[:3], ""), (None, MODULE)])
def test_two_analyses_make_one_model(data: Path, tmp_path: Path, entries: Any, module: str) -> None:
    digests = []
    parameters = KerasParameters(label="late", hyperparameters={"epochs": 1, "units": [4]})
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        fitted = by_tft(data, folder, entries, module, write_examples=False)
        model, logs = folder / "model", folder / "logs"
        made = train_keras(parameters, None, data / "dataset", fitted, model, logs)
        digests.append((load_transform(fitted).digest, made.digest))
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("entries", "module", "given", "said"),
    [
        ([{"column": "b", "op": "scale"}], "", {}, "column 'b': the train split holds a missing"),
        ([{"columns": ["a"], "transformer": "sklearn.preprocessing.StandardScaler"}], "", {},
            "cannot fit a transformer of your own"),
        (ENTRIES, MODULE, {}, "features, module_file: a spec and a module"),
        (None, "x = 1", {}, r"module_file: no function 'preprocessing_fn\(inputs\)'"),
        (None, "def preprocessing_fn(i): return {'a': i['aa']}", {}, "module_file: preproc"),
        (None, "def preprocessing_fn(i): return {'s': i['said']}", {}, "output 's': a network"),
        (ENTRIES, "", {"beam": BeamParameters("NoRunner")}, "beam_runner, beam_options: Beam"),
        (ENTRIES, "", {"beam": BeamParameters(options={"regoin": "x"})}, "unknown Beam option"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_one_line(
    data: Path, tmp_path: Path, entries: Any, module: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(KfpSuiteError, match=said) as caught:
        by_tft(data, tmp_path, entries, module, **given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "transform").exists()
