"""tritonclient in a process of its own: its protocol's names clash with those of kserve.

A line of JSON in is a request, a line of JSON out its answer.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import ml_dtypes
import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

_DTYPES: dict[str, Any] = {
    "BOOL": bool,
    "BYTES": object,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BF16": ml_dtypes.bfloat16,
    **{f"INT{bits}": getattr(np, f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": getattr(np, f"uint{bits}") for bits in (8, 16, 32, 64)},
}


def answer(case: dict[str, Any]) -> dict[str, Any]:
    """Call the client's method `call`; `infer` gets tensors and returns their values."""
    library: Any = getattr(tritonclient, case["protocol"])
    with library.InferenceServerClient(f"127.0.0.1:{case['port']}") as client:
        options = case.get("options", {})
        if case["call"] != "infer":
            as_json = {"as_json": True} if case["protocol"] == "grpc" else {}
            if case["call"].startswith("is_"):
                as_json = {}
            return {"found": getattr(client, case["call"])(**options, **as_json)}
        found = client.infer(
            case["model"],
            [_tensor(library, case["protocol"], given) for given in case["inputs"]],
            outputs=[library.InferRequestedOutput(**one) for one in case["outputs"]] or None,
            **options,
        )
        response = found.get_response(as_json=True) if case["protocol"] == "grpc" else None
        response = response or found.get_response()
        names = [output["name"] for output in response["outputs"]]
        values = {name: found.as_numpy(name) for name in names}
        return {
            "version": response["model_version"],
            "outputs": {name: _plain(array) for name, array in values.items()},
        }


def _tensor(library: Any, protocol: str, given: dict[str, Any]) -> Any:
    array = np.array(given["values"], dtype=_DTYPES[given["datatype"]])
    tensor = library.InferInput(given["name"], list(array.shape), given["datatype"])
    binary = {"binary_data": given["binary"]} if protocol == "http" else {}
    tensor.set_data_from_numpy(array, **binary)
    return tensor


def _plain(array: Any) -> Any:
    if array.dtype == object:
        return [one.decode() if isinstance(one, bytes) else one for one in array.ravel()]
    return array.tolist()


def main() -> None:
    """Answer until the end of the input."""
    for line in sys.stdin:
        try:
            found = answer(json.loads(line))
        except InferenceServerException as error:
            found = {"error": error.message(), "status": error.status()}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
