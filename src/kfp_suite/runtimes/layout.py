"""A published version in the layout of the server that it is deployed on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.model import read_model
from kfp_suite.contracts.parameters import parse, whole_numbers
from kfp_suite.runtimes.runtime import (
    MLSERVER,
    SKLEARN,
    SUITE,
    TENSORFLOW_SERVING,
    TORCHSERVE,
    TRITON,
    find_runtime,
)
from kfp_suite.runtimes.triton_config import PYTHON_BACKEND

LayOut = Callable[[str, Mapping[int, Path], int, Any, Path], None]


@dataclass(frozen=True)
class LayoutRequest:
    """The server, the model's name in requests, and the server's own options (see
    `docs/runtimes.md`)."""

    runtime: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parse_options(self.runtime, self.options)


def parse_options(runtime: str, options: Mapping[str, Any]) -> Any:
    """The options of a runtime, as its own dataclass; None if it has none.

    Raises:
        ParameterError: naming the unknown key, or the value that is not allowed.
    """
    find_runtime(runtime)
    kind = _servers()[runtime][0]
    if kind is None:
        if options:
            raise ParameterError(
                f"runtime '{runtime}' has no options", where="runtime_options", got=options
            )
        return None
    return parse(kind, whole_numbers(options), "runtime_options")


def imports_suite(runtime: str, options: Mapping[str, Any]) -> bool:
    """Whether another server than ours loads code that imports `kfp_suite`."""
    parsed = parse_options(runtime, options)
    if runtime == TRITON:
        return bool(parsed.ensemble or parsed.backend == PYTHON_BACKEND)
    return runtime == TORCHSERVE


def lay_out(
    request: LayoutRequest,
    versions: Mapping[int, Path],
    folder: Path,
    *,
    deployed: int | None = None,
) -> None:
    """Write the server's layout into `folder`, which exists and is empty.

    The same versions and options give the same bytes.

    Args:
        request: The server, the name and the options.
        versions: Version to Model artifact; several if the server serves several.
        folder: The folder that becomes the storage URI.
        deployed: The version of requests that name none; None: the newest.

    Raises:
        ParameterError: the server cannot serve the model, not several versions, or not
            `deployed` by default.
        MissingError, ContractError, IntegrityError: as `read_model`.
    """
    runtime = find_runtime(request.runtime)
    if len(versions) > 1 and not runtime.many_versions:
        raise ParameterError(
            f"runtime '{runtime.name}' serves one version",
            where="versions",
            got=sorted(versions),
            fix="split the traffic with a canary instead",
        )
    for path in versions.values():
        read_model(path).verify()
    options = parse_options(request.runtime, request.options)
    _servers()[request.runtime][1](
        request.name, versions, deployed or max(versions), options, folder
    )


def _servers() -> dict[str, tuple[Any, LayOut]]:
    from kfp_suite.runtimes import (
        sklearn,
        suite,
        tensorflow_serving,
        torchserve,
        triton,
        triton_config,
    )

    return {
        SUITE: (suite.SuiteOptions, suite.lay_out),
        SKLEARN: (None, sklearn.lay_out_sklearn),
        MLSERVER: (sklearn.MlServerOptions, sklearn.lay_out_mlserver),
        TENSORFLOW_SERVING: (
            tensorflow_serving.TensorFlowServingOptions,
            tensorflow_serving.lay_out,
        ),
        TRITON: (triton_config.TritonOptions, triton.lay_out),
        TORCHSERVE: (torchserve.TorchServeOptions, torchserve.lay_out),
    }
