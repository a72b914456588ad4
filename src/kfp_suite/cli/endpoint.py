"""The endpoint at the end of a local run, as the command shows it."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from kfp_suite.local.checking import checked_endpoint
from kfp_suite.local.local import LocalRun


def check_endpoint(
    finished: LocalRun, port: int | None, keep: bool, console: Console
) -> dict[str, Any]:
    """Serve what a run deployed, ask it, make it champion, and say what came of it.

    Args:
        finished: A run whose record names an endpoint.
        port: The endpoint's port; None: a free one.
        keep: Stay until the server ends or Ctrl-C.
        console: Where to say what happens.

    Raises:
        EndpointError: it does not answer, or another version does.
    """
    with console.status("starting the endpoint"), checked_endpoint(finished, port) as checked:
        version, url = checked.found["version"], checked.found["url"]
        if checked.process is None and (keep or port):
            console.print(
                f"version {version} is served at {url} already: no other endpoint was started",
                markup=False,
            )
        elif keep:
            console.print(f"serving version {version} at {url} until Ctrl-C", markup=False)
            try:
                assert checked.process is not None
                checked.process.wait()
            except KeyboardInterrupt:
                console.print("stopped")
    return checked.found
