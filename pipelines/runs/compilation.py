"""A pipeline as the YAML that KFP takes."""

from __future__ import annotations

from pathlib import Path

import yaml
from kfp import compiler

from kfp_suite.components.contracts.canonical import write_file
from kfp_suite.components.contracts.errors import store_error
from kfp_suite.pipelines.runs.catalog import Entry, load


def compile_pipeline(entry: Entry, folder: Path) -> Path:
    """Write `<folder>/<pipeline>.yaml`, whole or not at all.

    Raises:
        StoreError: the folder is not writable.
    """
    target = folder / f"{entry.name}.yaml"
    partial = folder / f".{entry.name}.partial.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        compiler.Compiler().compile(load(entry), str(partial))
        write_file(target, partial.read_bytes())
    except OSError as error:
        raise store_error(error, folder) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def pipeline_spec(entry: Entry) -> dict[str, object]:
    """The compiled pipeline as a mapping, for inspection."""
    spec = yaml.safe_load(yaml.safe_dump(load(entry).pipeline_spec_dict))
    assert isinstance(spec, dict)
    return spec
