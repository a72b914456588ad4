"""What is before and after the model is served with it: an endpoint takes raw records, as
people have them, and answers in words."""

from __future__ import annotations

import base64
import csv
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.components.train.executor import TrainParameters, train
from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.local.serving import Endpoint, local_endpoint
from kfp_suite.models.loading import LoadedModel, load_model
from kfp_suite.models.request_parsing import record_format, table_of_records
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.sources import parse_sources, pin
from kfp_suite.stores.versions import ModelStore

FEATURES: list[dict[str, Any]] = [
    # Cleansing and representation: what no thermometer shows is its limit; in Fahrenheit.
    {
        "column": "celsius",
        "steps": [
            {"op": "clip", "min": -40, "max": 50},
            {"op": "convert_units", "from": "degC", "to": "degF"},
        ],
    },
    # Construction: the floor space of a room, and a cross of two categories.
    {"columns": ["length", "width"], "op": "polynomial", "interaction_only": True},
    {"columns": ["floor", "side"], "op": "cross", "buckets": 16},
    # A sentence to the model's vocabulary; a picture to 0..1.
    {"column": "note", "op": "tokens", "length": 4},
    {"column": "picture", "op": "image", "height": 2, "width": 2},
]
GOOD = {
    "celsius": 20.0,
    "length": 5.0,
    "width": 4.0,
    "floor": "low",
    "side": "north",
    "note": "a bright room",
}


def picture(width: int, height: int, grey: int) -> str:
    """A PNG in Base64."""
    file = io.BytesIO()
    Image.new("L", (width, height), grey).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelStore, Path]:
    """Rooms: is one cosy or grand? The label is a word."""
    folder = tmp_path_factory.mktemp("rooms")
    chosen = random.Random(1)
    rows = []
    for number in range(240):
        length, width = chosen.uniform(2, 8), chosen.uniform(2, 8)
        rows.append(
            {
                "number": number,
                "celsius": round(chosen.uniform(10, 28), 1),
                "length": round(length, 1),
                "width": round(width, 1),
                "floor": chosen.choice(["low", "high"]),
                "side": chosen.choice(["north", "south"]),
                "note": chosen.choice(["a bright room", "a dark room", "bright and dry"]),
                "picture": picture(2, 2, chosen.randrange(256)),
                "kind": "grand" if length * width > 25 else "cosy",
            }
        )
    with open(folder / "rooms.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    pinned = {
        name: pin(name, source)
        for name, source in parse_sources({"rooms": str(folder / "rooms.csv")}).items()
    }
    split = {"by": "hash", "eval": 0.2, "test": 0.2}
    dataset, fitted, model = folder / "dataset", folder / "transform", folder / "model"
    ingest(IngestParameters(split=split), pinned, dataset, folder / "preview")
    spec = {"features": FEATURES, "exclude": ["number"]}
    transform(TransformParameters(features=spec, label="kind"), dataset, fitted, folder / "report")
    train(TrainParameters(label="kind", estimator="random_forest"), None, dataset, fitted, model)
    store = ModelStore(FolderStore(folder / "store"))
    store.publish("rooms", model, evaluation={}, run={}, parameters={})
    return store, model


@pytest.fixture(scope="module")
def model(published: tuple[ModelStore, Path]) -> LoadedModel:
    return load_model(published[1])


@pytest.fixture(scope="module")
def endpoint(published: tuple[ModelStore, Path]) -> Iterator[Endpoint]:
    with local_endpoint(f"{published[0].store.uri}/rooms/1", "rooms") as found:
        yield found


def room(**changes: Any) -> dict[str, Any]:
    return {**GOOD, "picture": picture(2, 2, 128), **changes}


def ask(endpoint: Endpoint, *rooms: dict[str, Any]) -> httpx.Response:
    return httpx.post(endpoint.url, json={"instances": list(rooms)})


def features(model: LoadedModel, record: dict[str, Any]) -> dict[str, float]:
    """What the estimator sees of a record, by the feature's name."""
    table: pa.Table = table_of_records([record], record_format(model.manifest))
    matrix = np.asarray(model.features(table))[0]
    names: Any = model.transform.output_names
    return dict(zip(names, map(float, matrix), strict=True))


def test_the_answer_is_a_word_and_the_label_is_learned(endpoint: Endpoint) -> None:
    answer = ask(endpoint, room(length=7.5, width=7.5), room(length=2.5, width=2.5))
    assert answer.json()["predictions"] == ["grand", "cosy"]


def test_what_cannot_be_is_corrected_to_its_limit(endpoint: Endpoint) -> None:
    hot, limit = ask(endpoint, room(celsius=900.0), room(celsius=50.0)).json()["probabilities"]
    assert hot == limit


def test_an_oversized_picture_is_resized(endpoint: Endpoint) -> None:
    large, small = ask(
        endpoint, room(picture=picture(640, 480, 128)), room(picture=picture(2, 2, 128))
    ).json()["probabilities"]
    assert large == small


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"celsius": "warm"}, "instances[0].celsius: got 'warm'; expected a number"),
        ({"picture": "no picture"}, "picture"),
        ({"note": 3}, "instances[0].note: got 3; expected text"),
    ],
)
def test_what_cannot_be_corrected_is_refused(
    endpoint: Endpoint, change: dict[str, Any], told: str
) -> None:
    answer = ask(endpoint, room(**change))
    assert answer.status_code == 400, answer.text
    assert told in answer.json()["error"]


def test_a_word_that_was_never_seen_is_unknown_and_not_an_error(endpoint: Endpoint) -> None:
    assert ask(endpoint, room(note="a quixotic room", floor="attic")).status_code == 200


def test_the_estimator_sees_what_was_built(model: LoadedModel) -> None:
    seen = features(model, room(celsius=20.0, picture=picture(2, 2, 255)))
    assert seen["celsius"] == pytest.approx(68.0)
    assert seen["length*width"] == pytest.approx(20.0)
    pixels = [value for name, value in seen.items() if name.startswith("picture")]
    assert pixels == [1.0] * 4
    words = [value for name, value in seen.items() if name.startswith("note")]
    assert len(words) == 4
    assert words[-1] == 0
    assert min(words[:3]) >= 2
    crossed = [value for name, value in seen.items() if name.startswith("floor*side")]
    assert sorted(crossed) == [0.0] * 15 + [1.0], sorted(seen)
