"""Requests that are almost right: mutations of good ones, the same for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest

_ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    -1e308,
    2**63,
    2**64,
    10**400,
    "",
    "\u0000",
    "\ud83d\ude80",
    "x" * 10_000,
    "2024-13-45",
    "9999-12-31T23:59:59+14:00",
    [],
    {},
    [[]],
    [[[[1]]]],
    {"b64": "!"},
    {"a": {"a": {"a": 1}}},
    float("nan"),
    float("inf"),
)


@dataclass(frozen=True)
class Malformed:
    """A request: `path` below the base, the body's bytes, and its headers."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def malformed(seed: int, count: int, name: str, record: Mapping[str, Any]) -> Iterator[Malformed]:
    """Mutated requests.

    Args:
        seed: Of the choices.
        count: How many.
        name: The model's.
        record: A good record.
    """
    chosen = random.Random(seed)
    tensors = [
        {"name": key, "shape": [1], "datatype": _datatype(value), "data": [value]}
        for key, value in record.items()
    ]
    good: tuple[tuple[str, Any], ...] = (
        (f"/v1/models/{name}:predict", {"instances": [dict(record), dict(record)]}),
        (f"/v1/models/{name}:predict", {"inputs": {key: [v] for key, v in record.items()}}),
        (f"/v1/models/{name}:predict", {"signature_name": "examples", "instances": [{"b64": ""}]}),
        (f"/v2/models/{name}/infer", {"id": "1", "inputs": tensors}),
        (
            f"/v2/models/{name}/infer",
            {"inputs": tensors, "outputs": [{"name": "prediction"}], "parameters": {}},
        ),
    )
    for _ in range(count):
        path, body = chosen.choice(good)
        value = json.loads(json.dumps(body))
        for _ in range(chosen.randint(1, 3)):
            value = _mutated(value, chosen)
        content = _spelled(value, chosen)
        if chosen.random() < 0.25:
            content = _broken(content, chosen)
        yield Malformed(path, content, _headers(content, chosen))


def malformed_grpc(
    seed: int, count: int, good: Callable[[], ModelInferRequest]
) -> Iterator[ModelInferRequest]:
    """Mutated requests over gRPC; `good` makes a good one."""
    chosen = random.Random(seed)
    for _ in range(count):
        request = good()
        for _ in range(chosen.randint(1, 3)):
            tensor, fate = chosen.choice(request.inputs), chosen.randrange(9)
            if fate == 0:
                tensor.datatype = chosen.choice(["", "INT8", "BYTES", "BOOL", "FP16", "nope"])
            elif fate == 1:
                shapes = [[], [0], [-1], [2], [1, 1], [1, 2], [2**40], [1, 1, 1]]
                tensor.shape[:] = chosen.choice(shapes)
            elif fate == 2:
                tensor.name = chosen.choice(["", "x", "span", "\u202e"])
            elif fate == 3:
                tensor.contents.Clear()
            elif fate == 4:
                tensor.contents.bytes_contents.append(b"\xff\xfe")
            elif fate == 5:
                tensor.contents.fp64_contents.append(float(chosen.choice(["nan", "inf", "1e308"])))
            elif fate == 6:
                request.raw_input_contents.append(bytes(chosen.randrange(20)))
            elif fate == 7:
                request.model_name = chosen.choice(["", "nobody", request.model_name])
            else:
                tensor.contents.int64_contents.append(chosen.choice([-(2**63), 2**63 - 1]))
        yield request


def _datatype(value: Any) -> str:
    return {int: "INT64", float: "FP64", bool: "BOOL"}.get(type(value), "BYTES")


def _mutated(value: Any, chosen: random.Random) -> Any:
    """One change somewhere in it."""
    if isinstance(value, dict) and value and chosen.random() < 0.85:
        key = chosen.choice(sorted(value))
        fate = chosen.random()
        if fate < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if fate < 0.2:
            return {**value, chosen.choice(["", "data", "\u202e", key.upper()]): value[key]}
        return {**value, key: _mutated(value[key], chosen)}
    if isinstance(value, list) and value and chosen.random() < 0.85:
        position = chosen.randrange(len(value))
        fate = chosen.random()
        if fate < 0.1:
            return value[:position] + value[position + 1 :]
        if fate < 0.2:
            return value * chosen.choice([2, 50])
        return [*value[:position], _mutated(value[position], chosen), *value[position + 1 :]]
    return chosen.choice(_ODD)


def _spelled(value: Any, chosen: random.Random) -> bytes:
    text = json.dumps(value, ensure_ascii=chosen.random() < 0.5)
    if chosen.random() < 0.02:
        text = "[" * 2000 + text + "]" * 2000
    return text.encode("utf-8", "surrogatepass")


def _broken(content: bytes, chosen: random.Random) -> bytes:
    """Bytes that are cut, doubled or changed."""
    at = chosen.randrange(len(content) + 1)
    return chosen.choice(
        [
            content[:at],
            content + content,
            content[:at] + bytes([chosen.randrange(256)]) + content[at + 1 :],
            b"",
            b"\xff\xfe" + content,
            b"null",
        ]
    )


def _headers(content: bytes, chosen: random.Random) -> dict[str, str]:
    kind = chosen.choice(
        ["application/json"] * 6
        + ["text/plain", "application/octet-stream", "", "multipart/form-data"]
    )
    found = {"content-type": kind} if kind else {}
    if chosen.random() < 0.1:  # V2's binary extension
        length = chosen.choice([0, len(content) // 2, len(content), len(content) + 100, -1, "x"])
        found |= {"inference-header-content-length": str(length)}
    return found
