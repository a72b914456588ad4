"""Every component's README, made from its signature, docstring and `metadata.yaml`.

`python -m tests.contract.component_readmes` (make readmes) writes them; a test holds them
fresh.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kfp_suite.local.catalog import Entry, components, load
from kfp_suite.scaffold.readme import readme as written

COMPONENTS = Path(__file__).resolve().parents[2] / "components"


def folder_of(entry: Entry) -> Path:
    """The folder of a component."""
    return COMPONENTS.joinpath(*entry.module.split(".")[2:-1])


def readme_file(entry: Entry) -> Path:
    """Where the README of a component is: beside its interface."""
    return folder_of(entry) / "README.md"


def metadata(entry: Entry) -> dict[str, Any]:
    """What `metadata.yaml` says of a component: as the field's catalogue has it."""
    found = yaml.safe_load((folder_of(entry) / "metadata.yaml").read_text())
    assert isinstance(found, dict)
    return found


def readme(entry: Entry) -> str:
    """The README of one component."""
    root = "../" * len(folder_of(entry).relative_to(COMPONENTS.parent).parts)
    return written(load(entry), entry.module, metadata(entry), root)


def main() -> None:
    """Write every README."""
    for entry in components().values():
        readme_file(entry).write_text(readme(entry))


if __name__ == "__main__":
    main()
