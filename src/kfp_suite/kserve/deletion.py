"""Objects that are being deleted: they exist until their finalizers are done.

An apply onto such an object succeeds, and is lost with the object a moment later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp_suite.contracts.errors import TransientError


class BeingDeletedError(TransientError):
    """An object that is on its way out: once it is gone, another of its name can be made."""


def is_dying(found: Mapping[str, Any]) -> bool:
    """Whether an object as the API gives it is being deleted."""
    return bool(found["metadata"].get("deletionTimestamp"))


def check_living(found: Mapping[str, Any]) -> None:
    """Raise BeingDeletedError if an object as the API gives it is being deleted."""
    if not is_dying(found):
        return
    metadata = found["metadata"]
    kept_by = ", ".join(metadata.get("finalizers", ())) or "its dependents"
    raise BeingDeletedError(
        "is being deleted",
        where=f"{found.get('kind', 'object')} {metadata['namespace']}/{metadata['name']}",
        got=f"kept by {kept_by} since {metadata['deletionTimestamp']}",
        expected="gone, so that it can be made anew",
        fix="try again when it is gone; if it stays, look why the controller of the finalizer "
        "does not let it go",
    )
