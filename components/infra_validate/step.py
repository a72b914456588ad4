"""What both interfaces of infra_validate do with their artifacts."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from kfp_suite.components.infra_validate.executor import (
    SUMMARY,
    InfraParameters,
    infra_validate,
)
from kfp_suite.stores.files import read_file


def run_step(
    parameters: InfraParameters,
    model: Any,
    dataset: Path,
    blessing: Any,
    summary: Path,
    requests: str,
) -> bool:
    """Validate `model`, an input artifact, and fill the output artifact `blessing`."""
    with tempfile.TemporaryDirectory() as scratch:
        recorded = None
        if requests:
            recorded = Path(scratch) / "requests.jsonl"
            recorded.write_bytes(read_file(requests))
        found = infra_validate(
            parameters,
            Path(model.path),
            dataset,
            Path(blessing.path),
            requests=recorded,
            model_uri=model.uri,
        )
    shutil.copyfile(Path(blessing.path) / SUMMARY, summary)
    blessing.metadata.update(blessed=found.blessed, reasons=list(found.reasons))
    return found.blessed
