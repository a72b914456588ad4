"""The notices of a run that could not be sent, as its exit handler recorded them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kfp_suite.contracts.canonical import read_json
from kfp_suite.contracts.errors import KfpSuiteError

_NOTICES = "notices.json"


def failed_notices(folder: Path) -> list[str]:
    """One line a channel that did not take the message, with the reason.

    Args:
        folder: Of the run.
    """
    found = []
    for file in sorted(folder.glob(f"record*/**/{_NOTICES}")):
        try:
            notices: list[dict[str, Any]] = read_json(file)
        except KfpSuiteError as error:
            found.append(str(error))
            continue
        found += [f"{one['channel']}: {one['why']}" for one in notices if not one["sent"]]
    return found
