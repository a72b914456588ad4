"""A model's configuration and statistics in Triton's HTTP form, for its clients.

Figures of Triton's that this server does not measure (time in a queue, time to copy inputs) are
left out instead of reported as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from kfp_suite.contracts.model import Field
from kfp_suite.runtimes.triton_config import DATATYPES
from kfp_suite.server.metrics import (
    ANSWER_SECONDS,
    RECORDS,
    REQUESTS,
    sum_by_code,
)

_OK = "200"
_NANOSECONDS = 1_000_000_000


def model_config(
    name: str, version: str, inputs: Sequence[Field], outputs: Sequence[Field]
) -> dict[str, Any]:
    """The `ModelConfig` of a model. The first dimension of each tensor is the rows, so there is
    no batch dimension before it: `max_batch_size` is 0.

    Args:
        name: The model's.
        version: The one that serves.
        inputs: Of its signature.
        outputs: Of its signature.
    """
    found: dict[str, Any] = {
        "name": name,
        "platform": "",
        "backend": "kfp-suite",
        "max_batch_size": 0,
        "input": [
            {**_tensor(field), "optional": field.nullable or not field.required} for field in inputs
        ],
        "output": [_tensor(field) for field in outputs],
    }
    if version.isdecimal():
        found["version_policy"] = {"specific": {"versions": [int(version)]}}
    return found


def _tensor(field: Field) -> dict[str, Any]:
    dimensions = [-1, *field.shape]
    return {"name": field.name, "data_type": DATATYPES[field.type], "dims": dimensions}


def model_statistics(served: Mapping[str, str], counted: CollectorRegistry) -> dict[str, Any]:
    """The counters of the versions that serve.

    Args:
        served: Name of a model to its version.
        counted: The registry of this server; of several processes, the sum.

    Returns:
        `inference_count` is in records; a request that succeeded was answered with 200.
    """
    found = []
    for name, version in served.items():
        requests = sum_by_code(counted, REQUESTS, name, version)
        seconds = sum_by_code(counted, ANSWER_SECONDS, name, version)
        records = sum_by_code(counted, RECORDS, name, version)
        outcomes = {}
        for outcome, codes in (("success", {_OK}), ("fail", set(requests) - {_OK})):
            outcomes[outcome] = {
                "count": int(sum(requests.get(code, 0) for code in codes)),
                "ns": int(sum(seconds.get(code, 0) for code in codes) * _NANOSECONDS),
            }
        found.append(
            {
                "name": name,
                "version": version,
                "inference_count": int(sum(records.values())),
                "inference_stats": outcomes,
            }
        )
    return {"model_stats": found}
