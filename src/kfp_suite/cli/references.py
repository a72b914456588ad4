"""References to models: with their store, or without it for those in the store of local runs."""

from __future__ import annotations

from pathlib import Path

import click

from kfp_suite.cli.completion import complete_model
from kfp_suite.local.conclusion import DEFAULT_ROOT
from kfp_suite.stores.versions import is_model_name, parse_reference

DEFAULT_STORE = DEFAULT_ROOT / "models"
version_argument = click.argument(
    "reference", metavar="[STORE/]MODEL[/VERSION|/ALIAS]", shell_complete=complete_model
)


def find_reference(reference: str) -> tuple[str, str, str]:
    """The store, the model and the version or alias (empty: none) that a reference names.

    Args:
        reference: `STORE/MODEL[/VERSION|/ALIAS]`; without a store, and if there is no folder
            of the model's name, the store is that of local runs.

    Raises:
        ParameterError: it names no model.
    """
    model, *others = reference.rstrip("/").split("/")
    is_alone = is_model_name(model) and len(others) <= 1 and not Path(model).exists()
    if is_alone:
        return str(DEFAULT_STORE), model, "".join(others)
    return parse_reference(reference)
