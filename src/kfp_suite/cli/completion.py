"""Shell completion of names: pipelines, parameter files, runs, models."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from kfp_suite.local.conclusion import DEFAULT_ROOT


def complete_pipeline(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Pipelines of the suite, with their summaries."""
    from kfp_suite.local.catalog import pipelines

    return [
        CompletionItem(name, help=entry.summary)
        for name, entry in pipelines().items()
        if name.startswith(incomplete.replace("-", "_"))
    ]


def complete_params(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Parameter files: those of the suite, and the shell's own files."""
    from kfp_suite.local.parameters import shipped_files

    shipped = [CompletionItem(name) for name in shipped_files() if name.startswith(incomplete)]
    return [*shipped, CompletionItem(incomplete, type="file")]


def complete_run(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Runs of the folder that `--root` names, newest first."""
    from kfp_suite.local.history import run_folders

    known = ["latest", *reversed(run_folders(Path(context.params.get("root") or DEFAULT_ROOT)))]
    return [CompletionItem(name) for name in known if name.startswith(incomplete)]


def complete_model(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Models of the default store, and folders."""
    store = DEFAULT_ROOT / "models"
    models = [f"{store}/{path.name}" for path in sorted(store.glob("[a-z]*")) if path.is_dir()]
    found = [CompletionItem(name) for name in models if name.startswith(incomplete)]
    return [*found, CompletionItem(incomplete, type="dir")]
