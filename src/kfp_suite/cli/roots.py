"""The option of commands that read past runs: the folder that they are in."""

from __future__ import annotations

from pathlib import Path

import click

from kfp_suite.contracts.errors import MissingError
from kfp_suite.local.conclusion import DEFAULT_ROOT


def _check_root(_context: click.Context, _option: click.Parameter, root: Path) -> Path:
    """`root`, if it is there; the default need not be there before the first run."""
    if root != DEFAULT_ROOT and not root.is_dir():
        raise MissingError("no such folder", where=root, fix="give the folder of runs")
    return root


past_runs_option = click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_ROOT,
    show_default=True,
    callback=_check_root,
    help="The folder of runs.",
)
