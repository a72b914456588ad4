"""TorchServe: model archives and its configuration, as KServe mounts them.

    model-store/<name>-<n>.mar    handler, Model artifact and manifest; a zip
    config/config.properties      models, batching, metrics

The handler imports `kfp_suite`, so the image has it. Requests need TorchServe's own tokens
unless they are turned off; at its start it writes them to `key_file.json` in its working
folder. On a cluster no client has them, so there they are off.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kfp_suite.contracts.canonical import pretty_json, write_file
from kfp_suite.contracts.errors import ParameterError
from kfp_suite.contracts.model import read_model
from kfp_suite.runtimes.checks import (
    INT32,
    OPTIONS,
    check_deployed,
    in_range,
    one_of,
    served_versions,
)
from kfp_suite.runtimes.runtime import RUNTIMES, TORCHSERVE, check_serves

ARTIFACT = "artifact"
HANDLER = "handler.py"
STORE, CONFIG = "model-store", "config/config.properties"
INFERENCE_PORT = 8085
_EPOCH = (1980, 1, 1, 0, 0, 0)
_HANDLER = '''"""Served by TorchServe."""

from kfp_suite.runtimes.torchserve_handler import handle

__all__ = ["handle"]
'''


@dataclass(frozen=True)
class TorchServeOptions:
    """How TorchServe serves.

    Attributes:
        default_version: The version of requests that name none; 0: the deployed version.
        batch_size: Requests that are predicted together; 1 or more.
        max_batch_delay: Time that a batch waits for more requests, in milliseconds; 0 or more.
        min_workers: Processes a version, at least.
        max_workers: Processes a version, at most.
        response_timeout: Seconds before a worker that does not answer is replaced.
        token_authentication: Every request needs a token.
        token_expiration_minutes: Lifetime of a token, in minutes; 1 or more.
        metrics_mode: `prometheus`: at `/metrics`; `log`: in the logs; `legacy`: both, by
            TorchServe's older names.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    default_version: int = 0
    batch_size: int = 8
    max_batch_delay: int = 2
    min_workers: int = 1
    max_workers: int = 1
    response_timeout: int = 120
    token_authentication: bool = True
    token_expiration_minutes: int = 60
    metrics_mode: str = "prometheus"

    def __post_init__(self) -> None:
        one_of(("prometheus", "log", "legacy"), metrics_mode=self.metrics_mode)
        in_range(0, default_version=self.default_version)
        in_range(0, INT32, max_batch_delay=self.max_batch_delay)
        in_range(
            1,
            INT32,
            batch_size=self.batch_size,
            min_workers=self.min_workers,
            max_workers=self.max_workers,
            response_timeout=self.response_timeout,
            token_expiration_minutes=self.token_expiration_minutes,
        )
        if self.max_workers < self.min_workers:
            raise ParameterError(
                "out of range",
                where=f"{OPTIONS}.max_workers",
                got=self.max_workers,
                expected=f"min_workers, {self.min_workers}, or more",
            )


def lay_out(
    name: str,
    versions: Mapping[int, Path],
    deployed: int,
    options: TorchServeOptions,
    folder: Path,
) -> None:
    """Archives and `config.properties`.

    Raises:
        ParameterError: a default version that is not there, or another than the deployed.
    """
    default = options.default_version or deployed
    served_versions("default_version", [default], versions)
    check_deployed(deployed, sorted(versions), default)
    for version, path in versions.items():
        check_serves(RUNTIMES[TORCHSERVE], read_model(path).manifest)
        _write_archive(name, version, path, folder / STORE / archive_name(name, version))
    write_file(folder / CONFIG, config(name, sorted(versions), default, options).encode())


def archive_name(name: str, version: int) -> str:
    """The file name of a version's archive."""
    return f"{name}-{version}.mar"


def config(
    name: str,
    versions: list[int],
    default: int,
    options: TorchServeOptions,
    *,
    store: str = "/mnt/models/model-store",
    host: str = "0.0.0.0",  # noqa: S104 - the pod's network is the boundary
    ports: tuple[int, int, int] = (INFERENCE_PORT, 8086, 8082),
) -> str:
    """`config.properties`.

    Args:
        name: The model's.
        versions: The versions to load, each from its archive.
        default: The version of requests that name none.
        options: The other options.
        store: The folder of the archives.
        host: The address the inference and metrics APIs bind to; management is loopback's.
        ports: Of inference, management and metrics.
    """
    of_version = {
        f"{version}.0": {
            "defaultVersion": version == default,
            "marName": archive_name(name, version),
            "minWorkers": options.min_workers,
            "maxWorkers": options.max_workers,
            "batchSize": options.batch_size,
            "maxBatchDelay": options.max_batch_delay,
            "responseTimeout": options.response_timeout,
        }
        for version in versions
    }
    snapshot = {
        "name": "startup.cfg",
        "modelCount": len(versions),
        "models": {name: of_version},
    }
    inference, management, metrics = ports
    lines = [
        f"inference_address=http://{host}:{inference}",
        f"management_address=http://127.0.0.1:{management}",
        f"metrics_address=http://{host}:{metrics}",
        f"model_store={store}",
        f"disable_token_authorization={str(not options.token_authentication).lower()}",
        f"token_expiration_min={options.token_expiration_minutes}",
        "enable_model_api=false",
        "install_py_dep_per_model=false",
        f"enable_metrics_api={str(options.metrics_mode != 'log').lower()}",
        f"metrics_mode={options.metrics_mode}",
        f"model_snapshot={json.dumps(snapshot, separators=(',', ':'))}",
    ]
    return "\n".join(lines) + "\n"


def _write_archive(name: str, version: int, artifact: Path, archive: Path) -> None:
    """A model archive, of the same bytes for the same artifact."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    manifest = {
        "createdOn": "01/01/1980 00:00:00",
        "runtime": "python",
        "model": {"modelName": name, "handler": HANDLER, "modelVersion": f"{version}.0"},
        "archiverVersion": "0.12.0",
    }
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        out.writestr(zipfile.ZipInfo("MAR-INF/MANIFEST.json", _EPOCH), pretty_json(manifest))
        out.writestr(zipfile.ZipInfo(HANDLER, _EPOCH), _HANDLER)
        for file in read_model(artifact).names:
            entry = zipfile.ZipInfo(f"{ARTIFACT}/{file}", _EPOCH)
            with out.open(entry, "w") as target:
                target.write((artifact / file).read_bytes())
