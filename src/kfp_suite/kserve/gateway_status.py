"""The status that a gateway (`kfp-suite serve MANIFEST`) keeps beside each manifest it follows.

    <manifest>.status.json   {gateway, url, observed, ready, versions, error}

The file has one owner, the gateway that it names. Another gateway on the same manifest leaves
it alone as long as its owner answers, and takes over if the file is missing or its owner is
gone; only the owner removes it. So the file is always about a process that serves,
also while one gateway replaces another.
"""

from __future__ import annotations

import json
import shlex
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from kfp_suite.contracts.canonical import write_json
from kfp_suite.contracts.digests import digest_bytes
from kfp_suite.contracts.errors import EndpointError

_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class GatewayStatus:
    """The state of one manifest.

    `gateway` identifies the process, `url` is its address, `observed` the digest of the manifest
    that the status is about. `versions` has one entry a version that serves: `{version, percent}`.
    `error` is the reason that the manifest is not served.
    """

    gateway: str = ""
    url: str = ""
    observed: str = ""
    ready: bool = False
    versions: tuple[dict[str, Any], ...] = ()
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the file and `/status` of the gateway have it."""
        return {**asdict(self), "versions": list(self.versions)}


def status_path(manifest: Path) -> Path:
    """The status file of a manifest."""
    return manifest.with_name(f"{manifest.name}.status.json")


def read_status(manifest: Path) -> GatewayStatus | None:
    """The status beside a manifest; None if there is no file, or one that is no status."""
    try:
        found = json.loads(status_path(manifest).read_bytes())
        if not found["url"]:
            return None
        return GatewayStatus(
            gateway=str(found.get("gateway", "")),
            url=str(found["url"]),
            observed=str(found["observed"]),
            ready=bool(found["ready"]),
            versions=tuple(dict(one) for one in found.get("versions", ())),
            error=str(found.get("error", "")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_status(manifest: Path, status: GatewayStatus) -> None:
    """Write the status beside a manifest. Raises StoreError."""
    write_json(status_path(manifest), status.to_json())


def remove_status(manifest: Path, gateway: str) -> None:
    """Remove the status beside a manifest if it is that gateway's own."""
    found = read_status(manifest)
    if found is not None and found.gateway == gateway:
        status_path(manifest).unlink(missing_ok=True)


def answers(status: GatewayStatus) -> bool:
    """Whether the gateway of a status is still there: the same process, at the same address."""
    if not status.url.startswith(("http://", "https://")):
        return False
    try:
        with urllib.request.urlopen(  # noqa: S310 - checked above
            f"{status.url}/status", timeout=_ANSWER_SECONDS
        ) as response:
            told = json.loads(response.read())
        return any(one["gateway"] == status.gateway for one in told.values())
    except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError):
        return False


def wait_for_gateway(
    manifest: Path, timeout: float, sleep: Callable[[float], None] = time.sleep
) -> GatewayStatus:
    """Wait until there is a status beside a manifest, of any content.

    Args:
        manifest: The file.
        timeout: Seconds.
        sleep: Waits between two looks.

    Raises:
        EndpointError: there is none in time.
    """
    return _wait(manifest, timeout, sleep, lambda _: True)


def wait_until_observed(
    manifest: Path, timeout: float, sleep: Callable[[float], None] = time.sleep
) -> GatewayStatus:
    """Wait until a gateway serves a manifest as it is now.

    Args:
        manifest: The file.
        timeout: Seconds.
        sleep: Waits between two looks.

    Raises:
        EndpointError: no gateway does in time, or it reports an error.
    """
    wanted = digest_bytes(manifest.read_bytes())
    status = _wait(manifest, timeout, sleep, lambda found: found.observed == wanted)
    if not status.ready:
        raise EndpointError("the version does not serve", where=manifest, got=status.error)
    return status


def _wait(
    manifest: Path,
    timeout: float,
    sleep: Callable[[float], None],
    holds: Callable[[GatewayStatus], bool],
) -> GatewayStatus:
    deadline = time.monotonic() + timeout
    while True:
        status = read_status(manifest)
        if status is not None and holds(status):
            return status
        if time.monotonic() >= deadline:
            raise EndpointError(
                "no gateway serves the manifest",
                where=manifest,
                got=f"{status_path(manifest).name} of {status.url}, for other content"
                if status
                else "no status beside it",
                expected=f"served within {timeout:g} s",
                fix=f"kfp-suite serve {shlex.quote(str(manifest))}",
            )
        sleep(_POLL_SECONDS)
