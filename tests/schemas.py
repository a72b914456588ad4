"""Upstream's own schemas, which the doubles hold requests and objects against.

They are KServe's custom resource definitions and KFP's API definition, and not part of this
repository. `KFP_SUITE_SCHEMAS` names a folder that holds `kserve/crds/*.yaml` and
`kfp/kfp_api_v2beta1.swagger.json`; by default it is `shared`, beside the checkout. Without it
the doubles accept every field, and tests/contract/test_schemas.py is skipped to say so.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "KFP_SUITE_SCHEMAS"
MISSING = (
    f"upstream's schemas are not here: set {VARIABLE} to a folder with kserve/crds and "
    "kfp/kfp_api_v2beta1.swagger.json"
)

_FOLDER = Path(os.environ.get(VARIABLE) or Path(__file__).resolve().parents[2] / "shared")


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


CRDS = _existing(_FOLDER / "kserve" / "crds")
"""The folder of KServe's custom resource definitions, or None."""

KFP_API = _existing(_FOLDER / "kfp" / "kfp_api_v2beta1.swagger.json")
"""The definition of KFP's API, or None."""
