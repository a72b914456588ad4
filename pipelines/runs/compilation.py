"""A pipeline as the YAML that KFP takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from kfp_suite.components.contracts.canonical import write_file
from kfp_suite.components.contracts.errors import store_error
from kfp_suite.pipelines.runs.catalog import Entry, load

Adaptation = Callable[[dict[str, Any], dict[str, Any]], None]
"""Changes a compiled specification, and what it says of the platform alone."""


def compile_pipeline(entry: Entry, folder: Path, adapt: Adaptation | None = None) -> Path:
    """Write `<folder>/<pipeline>.yaml`, whole or not at all.

    Args:
        entry: The pipeline.
        folder: Is made where it is not there.
        adapt: Changes what was compiled, for instance which images it names.

    Raises:
        StoreError: the folder is not writable.
    """
    target = folder / f"{entry.name}.yaml"
    partial = folder / f".{entry.name}.partial.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        compiler.Compiler().compile(load(entry), str(partial))
        content = partial.read_text()
        write_file(target, (adapted(content, adapt) if adapt else content).encode())
    except OSError as error:
        raise store_error(error, folder) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def adapted(content: str, adapt: Adaptation) -> str:
    """A compiled text, changed; kfp's heading stays."""
    heading = [line for line in content.splitlines() if line.startswith("#")]
    spec, *rest = yaml.safe_load_all(content)
    platform = rest[0] if rest else {}
    adapt(spec, platform)
    text: str = yaml.safe_dump_all([spec, platform] if platform else [spec], sort_keys=False)
    return "\n".join([*heading, text])
