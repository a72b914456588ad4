"""A pipeline as the YAML that KFP takes."""

from __future__ import annotations

import ast
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.errors import store_error
from kfp_suite.local.catalog import Entry, load
from kfp_suite.local.layers import name_layers
from kfp_suite.local.trimming import trim

_DEFAULT = re.compile(r"^(#    \w+: (?:dict|list) \[Default: )(.*)\]$", re.MULTILINE)

Adaptation = Callable[[dict[str, Any], dict[str, Any]], None]
"""Changes a compiled specification, and what it says of the platform alone."""


def compile_pipeline(entry: Entry, folder: Path, adapt: Adaptation | None = None) -> Path:
    """Write `<folder>/<pipeline>.yaml`, whole or not at all, and each time the same.

    Args:
        entry: The pipeline.
        folder: Created if it does not exist.
        adapt: Changes the compiled pipeline, for instance its images.

    Raises:
        StoreError: the folder is not writable.
    """
    target = folder / f"{entry.name}.yaml"
    try:
        with tempfile.TemporaryDirectory(prefix="kfp-suite-compile-") as scratch:
            compiled = Path(scratch) / target.name
            compiler.Compiler().compile(load(entry), str(compiled))
            content = _DEFAULT.sub(_sort_line, compiled.read_text())
    except OSError as error:
        raise store_error(error, error.filename) from error

    def trim_and_adapt(spec: dict[str, Any], platform: dict[str, Any]) -> None:
        name_layers(spec)
        trim(spec)
        if adapt is not None:
            adapt(spec, platform)

    write_file(target, adapt_content(content, trim_and_adapt).encode())
    return target


def _sort_line(found: re.Match[str]) -> str:
    """A line of kfp's heading: it prints the keys of a default in another order each time."""
    return f"{found[1]}{_sort_keys(ast.literal_eval(found[2]))!r}]"


def _sort_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sort_keys(value[key]) for key in sorted(value)}
    return [_sort_keys(item) for item in value] if isinstance(value, list) else value


def adapt_content(content: str, adapt: Adaptation) -> str:
    """A compiled text, changed; kfp's heading stays."""
    heading = [line for line in content.splitlines() if line.startswith("#")]
    spec, *rest = yaml.safe_load_all(content)
    platform = rest[0] if rest else {}
    adapt(spec, platform)
    text: str = yaml.safe_dump_all([spec, platform] if platform else [spec], sort_keys=False)
    return "\n".join([*heading, text])
