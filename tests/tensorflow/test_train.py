"""train_tensorflow: the same inputs give the same weights, killed or not; what is exported
says what the suite says; what cannot be learned is one line."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.contracts.model import ModelManifest, read_model
from kfp_suite.models.loading import load_model
from kfp_suite.models.request_parsing import examples_of
from kfp_suite.stores.files import pin_file
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.tensorflow.pictures import picture
from tests.tensorflow.training import CATEGORY, NUMBERS, SAID, SEEN, features, fit

tf = pytest.importorskip("tensorflow", reason="needs the extra `tensorflow`")

from kfp_suite.components.train.keras import executor, learning  # noqa: E402
from kfp_suite.components.train.keras.executor import KerasParameters, train_keras  # noqa: E402
from kfp_suite.features.tensorflow_graph import MISSING_TEXT, MISSING_TIME, tensors_of  # noqa: E402


def test_two_trainings_give_the_same_weights(data: Path, fitted: Path, tmp_path: Path) -> None:
    one = fit(data, fitted, tmp_path / "one", hyperparameters={"dropout": 0.2})
    two = fit(data, fitted, tmp_path / "two", hyperparameters={"dropout": 0.2})
    other = fit(data, fitted, tmp_path / "other", seed=1, hyperparameters={"dropout": 0.2})
    assert one.digest == two.digest
    assert one.digest != other.digest
    weights = [(tmp_path / name / executor.WEIGHTS).read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("early_stopping", [0, 2])
def test_a_killed_training_ends_with_the_same_weights(
    data: Path, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early_stopping: int
) -> None:
    given: dict[str, Any] = {"early_stopping": early_stopping}
    given["hyperparameters"] = {"epochs": 6, "dropout": 0.3, "optimizer": "sgd"}
    whole = fit(data, fitted, tmp_path / "whole", **given)
    real = learning._write_logs
    monkeypatch.setattr(learning, "_write_logs", _stop_after(2, real))
    with pytest.raises(KeyboardInterrupt):
        fit(data, fitted, tmp_path / "killed", **given)
    assert not (tmp_path / "killed").exists()
    assert list(tmp_path.glob("killed.checkpoints/*.npz"))
    monkeypatch.setattr(learning, "_write_logs", real)
    resumed = fit(data, fitted, tmp_path / "killed", **given)
    assert resumed.digest == whole.digest
    assert not (tmp_path / "killed.checkpoints").exists()


def _stop_after(epochs: int, real: Any) -> Any:
    def write(writer: Any, progress: Any) -> None:
        real(writer, progress)
        if progress.epoch == epochs:
            raise KeyboardInterrupt

    return write


def test_early_stopping_keeps_the_best_weights(data: Path, fitted: Path, tmp_path: Path) -> None:
    hyper = {"epochs": 60, "learning_rate": 0.2, "units": [64]}
    manifest = fit(data, fitted, tmp_path / "model", early_stopping=2, hyperparameters=hyper)
    told = manifest.notes["training"]
    assert told["epochs"] == told["best_epoch"] + 2 < 60
    model = load_model(tmp_path / "model")
    judged = read_dataset(data / "dataset").table("eval")
    probability = model.predict(judged).probabilities[:, 1]
    late = np.asarray(judged["late"])
    loss = -np.log(np.where(late, probability, 1 - probability)).mean()
    assert loss == pytest.approx(told["eval_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("network", "entries", "label"),
    [
        ("linear", [*NUMBERS, CATEGORY], "late"),
        ("mlp", [*NUMBERS], "kind"),
        ("mlp", [*NUMBERS, CATEGORY], "delay"),
        ("wide_and_deep", [*NUMBERS, CATEGORY], "delay"),
        ("cnn", [SEEN], "kind"),
        ("cnn", [SEEN, *NUMBERS], "late"),
        ("lstm", [SAID], "kind"),
        ("lstm", [SAID, *NUMBERS], "late"),
    ],
)
def test_every_network_learns_and_is_served(
    data: Path, tmp_path: Path, network: str, entries: list[dict[str, Any]], label: str
) -> None:
    fitted = features(data, tmp_path, *entries)
    hyper = {"epochs": 2, "filters": [4], "embedding": 4, "cells": 4}
    manifest = fit(
        data, fitted, tmp_path / "model", network=network, label=label, hyperparameters=hyper
    )
    assert manifest.notes["saved_model"]["equal"], manifest.notes
    assert manifest.notes["onnx"]["equal"], manifest.notes
    read_model(tmp_path / "model").verify()
    table = read_dataset(data / "dataset").table("test")
    prediction = load_model(tmp_path / "model").predict(table)
    assert len(prediction.values) == len(table)
    if label == "delay":
        assert abs(prediction.values.mean() - 300) < 60
    else:
        assert prediction.probabilities.sum(axis=1) == pytest.approx(np.ones(len(table)), abs=1e-5)


def test_what_is_exported_says_what_the_suite_says(data: Path, trained: Path) -> None:
    model, rows = load_model(trained), read_dataset(data / "dataset").table("test")
    expected = model.predict(rows)
    signatures = tf.saved_model.load(str(trained / "saved_model")).signatures
    raw = tensors_of(rows, model.transform.inputs)
    got = signatures["serving_default"](**raw)
    assert got["prediction"].numpy().tolist() == expected.values.tolist()
    np.testing.assert_allclose(got["probabilities"], expected.probabilities, atol=1e-5)
    examples = [example(raw, i, model.transform.inputs) for i in range(len(rows))]
    got = signatures["serving_examples"](examples=tf.constant(examples))
    # A tf.Example holds 32-bit floats.
    np.testing.assert_allclose(got["probabilities"], expected.probabilities, atol=1e-4)
    np.testing.assert_allclose(
        model.predict_examples(examples).probabilities, expected.probabilities, atol=1e-4
    )


def example(raw: dict[str, Any], row: int, inputs: Any) -> bytes:
    """A row as a serialized `tf.Example`: what is missing is not there."""
    found = {}
    for field in inputs:
        value = raw[field.name][row].numpy()
        if value in (MISSING_TEXT, MISSING_TIME) or (isinstance(value, float) and np.isnan(value)):
            continue
        if field.type == "string":
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        elif field.type == "float64":
            feature = tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        else:
            feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))
        found[field.name] = feature
    content: bytes = tf.train.Example(features=tf.train.Features(feature=found)).SerializeToString()
    return content


def test_warm_up_requests_replay(trained: Path) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    call = tf.saved_model.load(str(trained / "saved_model")).signatures["serving_default"]
    path = trained / "saved_model" / "assets.extra" / "tf_serving_warmup_requests"
    records = list(tf.data.TFRecordDataset(str(path)))
    assert len(records) == 20
    for record in records:
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        assert request.model_spec.signature_name == "serving_default"
        inputs = {name: tf.constant(tf.make_ndarray(t)) for name, t in request.inputs.items()}
        assert call(**inputs)["probabilities"].shape == (1, 2)


def test_a_version_has_the_layout_of_tensorflow_serving(trained: Path, tmp_path: Path) -> None:
    models = ModelStore(FolderStore(tmp_path / "store"))
    published = models.publish("m", trained, {}, {}, {})
    manifest = models.manifest("m", published.version)
    uri = models.saved_model_uri(manifest)
    assert uri is not None
    served = tf.saved_model.load(f"{uri}/1")
    assert set(served.signatures) == {"serving_default", "serving_examples", "features"}
    assert models.verify("m", 1).digest == read_model(trained).manifest.digest


def test_event_files_hold_the_losses(data: Path, trained: Path) -> None:
    (file,) = (data / "logs").glob("events.out.tfevents.*")
    tags = [
        value.tag
        for record in tf.data.TFRecordDataset(str(file))
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value
    ]
    assert tags == ["loss/train", "loss/eval"] * 3


def test_a_users_transformer_is_served_by_the_suite_alone(data: Path, tmp_path: Path) -> None:
    entry = {"columns": ["a"], "transformer": "sklearn.preprocessing.StandardScaler"}
    manifest = fit(data, features(data, tmp_path, entry), tmp_path / "model")
    assert manifest.notes["saved_model"]["why"].startswith("features: 'transformer' has no")
    table = read_dataset(data / "dataset").head("test", 5)
    assert len(load_model(tmp_path / "model").predict(table).values) == 5
    with pytest.raises(KfpSuiteError, match="signature_name: the model takes no serialized"):
        load_model(tmp_path / "model").predict_examples([b""])


MODULE = """
import keras

def run_fn(fn_args):
    width = len(fn_args.feature_names)
    network = keras.Sequential([keras.Input((width,)), keras.layers.Dense(fn_args.outputs)])
    network.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    rows = fn_args.train_dataset.shuffle(1000, seed=fn_args.seed)
    network.fit(rows.batch(32), epochs=fn_args.custom_config["epochs"], shuffle=False, verbose=0)
    return network
"""


def by_module(data: Path, fitted: Path, folder: Path, code: str) -> ModelManifest:
    folder.mkdir()
    (folder / "mine.py").write_text(code)
    module = pin_file(str(folder / "mine.py"))
    parameters = KerasParameters(label="late", hyperparameters={"epochs": 2}, seed=3)
    output = folder / "model"
    return train_keras(parameters, module, data / "dataset", fitted, output, folder / "logs")


def test_a_users_run_fn_is_exported_too(data: Path, fitted: Path, tmp_path: Path) -> None:
    one = by_module(data, fitted, tmp_path / "one", MODULE)
    two = by_module(data, fitted, tmp_path / "two", MODULE)
    assert one.digest == two.digest
    assert one.notes["saved_model"]["equal"]
    assert "module.py" in one.payload
    table = read_dataset(data / "dataset").table("test")
    assert load_model(tmp_path / "one" / "model").predict(table).probabilities.shape[1] == 2


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def run(a): pass", r"no function 'run_fn\(fn_args\)'; did you mean 'run'"),
        ("def run_fn(a): return a.nothing", "run_fn.*failed; got AttributeError"),
        ("def run_fn(a): return 1", "returned no network; got int"),
        ("import keras\ndef run_fn(a): return keras.Sequential([keras.layers.Dense(3)])",
            r"got outputs of shape \(2, 3\); expected a Keras model that gives \(rows, 1\)"),
    ],
)  # fmt: skip
def test_a_run_fn_that_fails_is_one_line(
    data: Path, fitted: Path, tmp_path: Path, code: str, said: str
) -> None:
    with pytest.raises(KfpSuiteError, match=said) as caught:
        by_module(data, fitted, tmp_path / "run", code)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"network": "mpl"}, "network: unknown network 'mpl'.*did you mean 'mlp'"),
        ({"network": "cnn"}, "network: cnn needs an image"),
        ({"network": "lstm"}, "network: lstm needs a text"),
        ({"hyperparameters": {"epoch": 3}}, "hyperparameters: unknown key 'epoch'"),
        ({"hyperparameters": {"dropout": 1.0}}, r"hyperparameters.dropout: out of range; got 1\.0"),
        (
            {"hyperparameters": {"optimizer": "adamm"}},
            "hyperparameters: 'optimizer' is not allowed",
        ),
        ({"hyperparameters": {"learning_rate": 1e30}}, "epoch 1: the loss is no longer a finite"),
        ({"seed": -1}, "seed: out of range"),
    ],
)
def test_what_cannot_be_learned_is_one_line(
    data: Path, fitted: Path, tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(KfpSuiteError, match=said) as caught:
        fit(data, fitted, tmp_path / "model", **given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_missing_values_are_refused(data: Path, tmp_path: Path) -> None:
    fitted = features(data, tmp_path, {"column": "b", "keep_missing": True})
    with pytest.raises(KfpSuiteError, match="features: a network takes no missing values"):
        fit(data, fitted, tmp_path / "model")


@pytest.mark.parametrize(
    ("mode", "size", "kind"),
    [("L", (6, 6), "PNG"), ("RGB", (600, 400), "JPEG"), ("RGBA", (7, 90), "PNG")],
)
def test_pictures_of_any_size_and_channels_are_predicted(
    data: Path, tmp_path: Path, mode: str, size: tuple[int, int], kind: str
) -> None:
    fit(
        data,
        features(data, tmp_path, SEEN),
        tmp_path / "model",
        network="cnn",
        hyperparameters={"epochs": 1},
    )
    model = load_model(tmp_path / "model")
    table = pa.table({"seen": [picture(mode, size, kind)]})
    expected = model.predict(table).probabilities
    served = tf.saved_model.load(str(tmp_path / "model" / "saved_model"))
    got = served.signatures["serving_default"](**tensors_of(table, model.transform.inputs))
    # Decoders of JPEG may differ by a step of 1/255.
    np.testing.assert_allclose(
        got["probabilities"], expected, atol=1e-2 if kind == "JPEG" else 1e-5
    )


@pytest.mark.parametrize(
    ("text", "got"), [("no picture", "'no picture'"), ("aGVsbG8=", "'aGVsbG8='")]
)
def test_what_is_no_picture_is_refused(data: Path, tmp_path: Path, text: str, got: str) -> None:
    from kfp_suite.features.fitted_transform import FittedTransform

    loaded = FittedTransform.load(features(data, tmp_path, SEEN))
    with pytest.raises(KfpSuiteError, match=r"column 'seen': a value is outside.*PNG, JPEG, GIF"):
        loaded.transform(pa.table({"seen": [text]}))


def test_a_picture_of_too_many_pixels_is_refused(data: Path, tmp_path: Path) -> None:
    from kfp_suite.features.fitted_transform import FittedTransform

    loaded = FittedTransform.load(features(data, tmp_path, {**SEEN, "max_pixels": 99}))
    with pytest.raises(KfpSuiteError, match="got 10 x 10 pixels; expected at most 99 pixels"):
        loaded.transform(pa.table({"seen": [picture("L", (10, 10))]}))


def test_the_server_names_what_is_wrong_with_examples() -> None:
    good = {"b64": base64.b64encode(b"x").decode()}
    request = {"signature_name": "serving_examples", "instances": [good]}
    assert examples_of(request) == [b"x"]
    for change, said in (
        ({"signature_name": "serving_example"}, "did you mean 'serving_examples'"),
        ({"instances": []}, "instances: no examples"),
        ({"instances": [good, {"a": 1}]}, r"instances\[1\]: not an example"),
        ({"instances": [{"b64": "?"}]}, r"instances\[0\]: not an example"),
    ):
        with pytest.raises(KfpSuiteError, match=said):
            examples_of(request | change)


def test_another_trainings_checkpoint_is_not_used(data: Path, fitted: Path, tmp_path: Path) -> None:
    expected = fit(data, fitted, tmp_path / "one")
    folder = tmp_path / "two.checkpoints"
    write_json(folder / "other.npz", {})
    assert fit(data, fitted, tmp_path / "two").digest == expected.digest
