"""The clients that people use, each form of tensor: the answers are the model's own."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import kserve
import numpy as np
import pytest

from kfp_suite.local.serving import local_endpoint
from kfp_suite.models.loading import LoadedModel, load_model
from kfp_suite.models.request_parsing import record_format, table_of_records
from kfp_suite.runtimes.local import free_port
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.serving.conftest import publish

RECORDS: list[dict[str, Any]] = [
    {
        "span": 7 * i,
        "weight": 1.5 * i,
        "kind": "äb"[i % 2],
        "ringed": i % 2 == 0,
        "hatched": f"2024-03-{i + 1:02}",
        "seen": f"2024-01-{2 * i + 1:02}T08:00:00",
    }
    for i in range(6)
]
DATATYPES = {
    "span": "INT64",
    "weight": "FP64",
    "kind": "BYTES",
    "ringed": "BOOL",
    "hatched": "BYTES",
    "seen": "BYTES",
}
DTYPES: dict[str, Any] = {"INT64": np.int64, "FP64": np.float64, "BYTES": object, "BOOL": bool}
Answer = dict[str, Any]
Triton = Callable[..., Answer]


class Birds(NamedTuple):
    """An endpoint, and the model that it serves."""

    http_port: int
    grpc_port: int
    model: LoadedModel

    def own_answer(self, records: list[dict[str, Any]]) -> Answer:
        """What the model says itself."""
        found = self.model.predict(table_of_records(records, record_format(self.model.manifest)))
        return {"prediction": list(found.values), "probabilities": found.probabilities.tolist()}


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Birds]:
    folder = tmp_path_factory.mktemp("clients")
    models = ModelStore(FolderStore(folder / "store"))
    publish(models, "birds", folder / "made", "hist_gradient_boosting", label="size", csv=rows())
    models.fetch("birds", 1, folder / "model")
    grpc_port = free_port()
    arguments = ["--grpc-port", str(grpc_port)]
    with local_endpoint(f"{models.store.uri}/birds/1", "birds", arguments=arguments) as endpoint:
        yield Birds(endpoint.port, grpc_port, load_model(folder / "model"))


def rows() -> str:
    """A column of each type, and a label of three classes."""
    lines = [
        f"{i},{i * 0.5},{'äb'[i % 2]},{str(i % 2 == 0).lower()},2024-03-{i % 28 + 1:02},"
        f"2024-01-{i % 28 + 1:02}T08:00:00,{('tiny', 'small', 'größer')[i % 7 % 3]}"
        for i in range(300)
    ]
    return "\n".join(["span,weight,kind,ringed,hatched,seen,size", *lines]) + "\n"


def tensors(
    records: list[dict[str, Any]] = RECORDS,
    binary: Callable[[int], bool] = lambda _: True,
    **others: str,
) -> list[dict[str, Any]]:
    """A tensor a field; `others`: datatypes that are not the signature's."""
    return [
        {
            "name": name,
            "datatype": others.get(name, datatype),
            "values": [record[name] for record in records],
            "binary": binary(position),
        }
        for position, (name, datatype) in enumerate(DATATYPES.items())
    ]


@pytest.fixture(scope="module")
def triton(birds: Birds) -> Iterator[Triton]:
    """Calls tritonclient."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.serving.triton_client"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdin and process.stdout

        def call(
            protocol: str, inputs: Any = (), outputs: Any = (), call: str = "infer", **more: Any
        ) -> Answer:
            port = birds.http_port if protocol == "http" else birds.grpc_port
            case = {"protocol": protocol, "port": port, "model": "birds", "call": call}
            case |= {"inputs": inputs, "outputs": outputs, "options": more}
            assert process.stdin and process.stdout
            print(json.dumps(case), file=process.stdin, flush=True)
            found: Answer = json.loads(process.stdout.readline())
            return found

        yield call
        process.stdin.close()


BINARY: dict[str, Callable[[int], bool]] = {
    "binary": lambda _: True,
    "json": lambda _: False,
    "mixed": lambda position: position % 2 == 0,
}


def answered(found: Answer) -> Answer:
    assert found.get("version") == "1", found
    outputs: Answer = found["outputs"]
    return outputs


@pytest.mark.parametrize("form", BINARY)
def test_triton_http(birds: Birds, triton: Triton, form: str) -> None:
    found = triton("http", tensors(binary=BINARY[form]))
    assert answered(found) == birds.own_answer(RECORDS)


@pytest.mark.parametrize("form", BINARY)
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_triton_http_compressed(birds: Birds, triton: Triton, algorithm: str, form: str) -> None:
    inputs = tensors(binary=BINARY[form])
    found = triton("http", inputs, request_compression_algorithm=algorithm)
    assert answered(found) == birds.own_answer(RECORDS)


NUMBERS = [
    *("FP16", "FP32", "FP64", "BF16"),
    *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
]


@pytest.mark.parametrize("datatype", NUMBERS)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_numbers_of_each_datatype(
    birds: Birds, triton: Triton, protocol: str, datatype: str
) -> None:
    records = [{**record, "weight": float(i + 1)} for i, record in enumerate(RECORDS)]
    found = triton(protocol, tensors(records, weight=datatype, span=datatype))
    assert answered(found) == birds.own_answer(records)


@pytest.mark.parametrize("datatype", [one for one in NUMBERS if one not in ("FP16", "BF16")])
def test_numbers_of_each_datatype_in_json(birds: Birds, triton: Triton, datatype: str) -> None:
    records = [{**record, "weight": float(i + 1)} for i, record in enumerate(RECORDS)]
    found = triton("http", tensors(records, BINARY["json"], weight=datatype, span=datatype))
    assert answered(found) == birds.own_answer(records)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("datatype", ["INT64", "UINT64"])
def test_whole_numbers_that_a_float_has_exactly(
    birds: Birds, triton: Triton, protocol: str, datatype: str
) -> None:
    records = [{**record, "weight": 10**17 + 16 * i} for i, record in enumerate(RECORDS)]
    floats = [{**record, "weight": float(record["weight"])} for record in records]
    found = triton(protocol, tensors(records, weight=datatype))
    assert answered(found) == birds.own_answer(floats)


@pytest.mark.parametrize("form", BINARY)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("datatype", ["INT64", "UINT64"])
def test_whole_numbers_that_a_float_has_not_exactly(
    triton: Triton, protocol: str, datatype: str, form: str
) -> None:
    for number, nearest in ((10**17 + 1, 10**17), (1152921504606847000, 2**60)):
        records = [{**RECORDS[0], "weight": number}]
        found = triton(protocol, tensors(records, BINARY[form], weight=datatype))
        assert found["error"].startswith(
            f"inputs.weight[0]: got {number}; expected a number that float64 holds, as {nearest}"
        )


def weights(data: str) -> str:
    """A request of V2 whose tensor has these values, as they are written."""
    tensor = '{"name": "weight", "shape": [1], "datatype": "FP64", "data": [' + data + "]}"
    return '{"inputs": [' + tensor + "]}"


V1, V2 = "v1/models/birds:predict", "v2/models/birds/infer"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (V1, '{"instances": [{"kind": "a", "kind": "b"}]}', "the key 'kind' is there twice"),
        (V1, '{"instances": [], "instances": [{"span": 1}]}', "the key 'instances' is there"),
        (V1, '{"inputs": {"span": [1], "span": [2]}}', "the key 'span' is there twice"),
        (V1, f'{{"instances": [{{"weight": {10**17 + 1}}}]}}', "instances[0].weight: got 1000"),
        (V1, f'{{"inputs": {{"weight": [1, {10**17 + 1}.0]}}}}', "inputs.weight[1]: got 1000"),
        (V1, f'{{"inputs": {{"weight": [{10**20 + 1}]}}}}', "inputs.weight[0]: got 1000"),
        (V2, '{"inputs": [], "inputs": []}', "the key 'inputs' is there twice"),
        (V2, weights('1], "data": [2'), "the key 'data' is there twice"),
        (V2, weights(f"{10**17 + 1}"), "inputs.weight[0]: got 1000"),
        (V2, weights("1" * 400).replace("FP64", "INT64"), "inputs.weight[0]: got 1111"),
        (V2, weights("1e999"), "inputs.weight[0]: got 1E+999; expected a number"),
    ],
)
@pytest.mark.parametrize("binary", [True, False])
def test_what_is_there_twice_or_would_be_changed_is_refused(
    birds: Birds, path: str, body: str, said: str, binary: bool
) -> None:
    headers = {"inference-header-content-length": str(len(body))} if binary else {}
    answer = httpx.post(
        f"http://127.0.0.1:{birds.http_port}/{path}", content=body, headers=headers, timeout=60
    )
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_an_output_is_asked_for_once(triton: Triton) -> None:
    wanted = [{"name": "prediction"}, {"name": "prediction"}]
    found = triton("grpc", tensors(), wanted)
    assert "outputs.prediction: the output is there twice" in found["error"]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_not_a_number_is_missing(birds: Birds, triton: Triton, protocol: str) -> None:
    records = [{**record, "weight": float("nan"), "span": float("nan")} for record in RECORDS]
    missing = [{**record, "weight": None, "span": None} for record in RECORDS]
    found = triton(protocol, tensors(records, weight="FP32", span="FP64"))
    assert answered(found) == birds.own_answer(missing)


def test_half_a_whole_number_is_refused(triton: Triton) -> None:
    found = triton("grpc", tensors([{**RECORDS[0], "span": 1.5}], span="FP64"))
    assert found["status"] == "StatusCode.INVALID_ARGUMENT"
    assert found["error"].startswith("inputs.span[0]: got 1.5; expected a whole number")


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_server_and_the_model_say_what_they_are(
    birds: Birds, triton: Triton, protocol: str
) -> None:
    for call, options in [
        ("is_server_live", {}),
        ("is_server_ready", {}),
        ("is_model_ready", {"model_name": "birds", "model_version": "1"}),
    ]:
        assert triton(protocol, call=call, **options) == {"found": True}
    server = triton(protocol, call="get_server_metadata")["found"]
    assert server["extensions"] == ["binary_tensor_data", "model_configuration", "model_repository"]
    found = triton(protocol, call="get_model_metadata", model_name="birds")["found"]
    assert (found["name"], found["versions"]) == ("birds", ["1"])
    assert {one["name"]: one["datatype"] for one in found["inputs"]} == DATATYPES
    (probabilities,) = (one for one in found["outputs"] if one["name"] == "probabilities")
    assert [int(size) for size in probabilities["shape"]] == [-1, 3]
    if protocol == "http":
        assert probabilities["parameters"] == {"classes": list(birds.model.manifest.classes)}
        kinds = {one["name"]: one["parameters"] for one in found["inputs"]}
        assert kinds["hatched"] == {"type": "date", "nullable": True}


def test_the_repository_lists_its_models(triton: Triton) -> None:
    found = triton("http", call="get_model_repository_index")["found"]
    assert found == [{"name": "birds", "version": "1", "state": "READY", "reason": ""}]


def test_the_configuration_is_the_signature(triton: Triton) -> None:
    found = triton("http", call="get_model_config", model_name="birds", model_version="1")["found"]
    assert (found["name"], found["max_batch_size"]) == ("birds", 0)
    assert found["version_policy"] == {"specific": {"versions": [1]}}
    kinds = {
        "INT64": "TYPE_INT64",
        "FP64": "TYPE_FP64",
        "BOOL": "TYPE_BOOL",
        "BYTES": "TYPE_STRING",
    }
    assert found["input"] == [
        {"name": name, "data_type": kinds[datatype], "dims": [-1], "optional": True}
        for name, datatype in DATATYPES.items()
    ]
    assert found["output"] == [
        {"name": "prediction", "data_type": "TYPE_STRING", "dims": [-1]},
        {"name": "probabilities", "data_type": "TYPE_FP64", "dims": [-1, 3]},
    ]


@pytest.mark.parametrize("name", ["birds", ""])
def test_statistics_count_what_was_answered(triton: Triton, name: str) -> None:
    def counted() -> Any:
        found = triton("http", call="get_inference_statistics", model_name=name)["found"]
        (one,) = found["model_stats"]
        assert (one["name"], one["version"]) == ("birds", "1")
        return one

    before = counted()
    answered(triton("http", tensors()))
    answered(triton("grpc", tensors(RECORDS[:2])))
    assert "error" in triton("http", tensors(weight="BOOL"))
    after = counted()
    assert after["inference_count"] - before["inference_count"] == len(RECORDS) + 2
    for outcome, count in (("success", 2), ("fail", 1)):
        one, other = (found["inference_stats"][outcome] for found in (before, after))
        assert other["count"] - one["count"] == count
        assert other["ns"] > one["ns"]


@pytest.mark.parametrize(
    ("protocol", "call", "options"),
    [
        ("http", "get_log_settings", {}),
        ("http", "get_trace_settings", {}),
        ("http", "get_system_shared_memory_status", {}),
        ("http", "get_model_config", {"model_name": "nobody"}),
        ("http", "get_inference_statistics", {"model_name": "nobody"}),
        ("http", "get_model_config", {"model_name": "birds", "model_version": "9"}),
        ("http", "load_model", {"model_name": "birds"}),
        ("grpc", "get_model_config", {"model_name": "birds"}),
        ("grpc", "get_inference_statistics", {"model_name": "birds"}),
        ("grpc", "get_model_repository_index", {}),
    ],
)
def test_what_the_server_does_not_speak_is_an_error_that_the_client_reads(
    triton: Triton, protocol: str, call: str, options: dict[str, str]
) -> None:
    found = triton(protocol, call=call, **options)
    refused = "StatusCode.UNIMPLEMENTED" if protocol == "grpc" else "404"
    assert found["status"] == ("403" if call == "load_model" else refused)
    assert found["error"]


@pytest.mark.parametrize("binary", [True, False])
def test_triton_http_outputs(birds: Birds, triton: Triton, binary: bool) -> None:
    found = triton("http", tensors(), [{"name": "prediction", "binary_data": binary}])
    assert answered(found) == {"prediction": birds.own_answer(RECORDS)["prediction"]}


def test_triton_grpc(birds: Birds, triton: Triton) -> None:
    assert answered(triton("grpc", tensors())) == birds.own_answer(RECORDS)


def test_triton_grpc_one_row_as_a_column(birds: Birds, triton: Triton) -> None:
    inputs = [{**one, "values": [one["values"]]} for one in tensors(RECORDS[:1])]
    assert answered(triton("grpc", inputs)) == birds.own_answer(RECORDS[:1])


def test_triton_grpc_outputs(birds: Birds, triton: Triton) -> None:
    found = triton(
        "grpc", tensors(), [{"name": "probabilities"}], parameters={"a": 1}, request_id="7"
    )
    expected = birds.own_answer(RECORDS)["probabilities"]
    assert answered(found) == {"probabilities": expected}


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_triton_grpc_compressed(birds: Birds, triton: Triton, algorithm: str) -> None:
    found = triton("grpc", tensors(), compression_algorithm=algorithm)
    assert answered(found) == birds.own_answer(RECORDS)


def kserve_request(*, binary: bool) -> kserve.InferRequest:
    inputs = []
    for one in tensors():
        array = np.array(one["values"], dtype=DTYPES[one["datatype"]])
        tensor = kserve.InferInput(one["name"], list(array.shape), one["datatype"])
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    return kserve.InferRequest("birds", inputs)


def kserve_answer(found: Any) -> Answer:
    arrays = {output.name: output.as_numpy() for output in found.outputs}
    values = arrays["prediction"].ravel()
    return {
        "prediction": [one.decode() if isinstance(one, bytes) else one for one in values],
        "probabilities": arrays["probabilities"].tolist(),
    }


@pytest.mark.parametrize("binary", [True, False])
def test_kserve_grpc(birds: Birds, binary: bool) -> None:
    async def ask() -> Any:
        async with kserve.InferenceGRPCClient(f"127.0.0.1:{birds.grpc_port}") as client:
            return await client.infer(kserve_request(binary=binary))

    assert kserve_answer(asyncio.run(ask())) == birds.own_answer(RECORDS)


@pytest.mark.parametrize("binary", [True, False])
def test_kserve_http(birds: Birds, binary: bool) -> None:
    async def ask() -> Any:
        config = kserve.RESTConfig(protocol="v2")
        async with kserve.InferenceRESTClient(config) as client:
            return await client.infer(
                f"http://127.0.0.1:{birds.http_port}", kserve_request(binary=binary), "birds"
            )

    assert kserve_answer(asyncio.run(ask())) == birds.own_answer(RECORDS)


def test_kserve_v1_says_which_class_a_column_is(birds: Birds) -> None:
    async def ask() -> Any:
        config = kserve.RESTConfig(protocol="v1")
        async with kserve.InferenceRESTClient(config) as client:
            base = f"http://127.0.0.1:{birds.http_port}"
            return await client.infer(base, {"instances": RECORDS}, "birds")

    found = asyncio.run(ask())
    own = birds.own_answer(RECORDS)
    assert found["predictions"] == own["prediction"]
    assert found["probabilities"] == own["probabilities"]
    assert found["classes"] == list(birds.model.manifest.classes)
    best = [found["classes"][row.index(max(row))] for row in found["probabilities"]]
    assert best == found["predictions"]


def test_a_row_of_the_csv_is_a_record(birds: Birds, triton: Triton) -> None:
    names, *lines = list(csv.reader(io.StringIO(rows())))
    texts = [dict(zip(names, line, strict=True)) for line in lines[:5]]
    for one in texts:
        del one["size"]
    typed = [
        {
            **one,
            "span": int(one["span"]),
            "weight": float(one["weight"]),
            "ringed": one["ringed"] == "true",
        }
        for one in texts
    ]
    expected = birds.own_answer(typed)
    url = f"http://127.0.0.1:{birds.http_port}/v1/models/birds:predict"
    found = httpx.post(url, json={"instances": texts}, timeout=60).json()
    assert found["predictions"] == expected["prediction"]
    assert found["probabilities"] == expected["probabilities"]
    inputs = [{**one, "datatype": "BYTES"} for one in tensors(texts)]
    assert answered(triton("grpc", inputs)) == expected


def test_records_without_a_field_are_counted(birds: Birds) -> None:
    base = f"http://127.0.0.1:{birds.http_port}"
    found = httpx.post(f"{base}/v1/models/birds:predict", json={"instances": [{"kind": "ä"}] * 3})
    assert found.status_code == 200
    labels = 'field="hatched",model_name="birds",model_version="1"'
    assert f"kfp_suite_left_out_total{{{labels}}} 3.0" in httpx.get(f"{base}/metrics").text
