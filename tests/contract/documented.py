"""The commands and the files that the documents show a reader."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tests.contract.component_readmes import COMPONENTS

ROOT = COMPONENTS.parent
_CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
_YAML = re.compile(r"^( *)```yaml\n(.*?)```", re.DOTALL | re.MULTILINE)


def documents() -> list[Path]:
    """What people read: the README, the documents, the components' pages and the notebooks."""
    return [
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted(COMPONENTS.rglob("README.md")),
        ROOT / "pipelines" / "README.md",
        *sorted((ROOT / "notebooks").glob("*.ipynb")),
    ]


def prose(document: Path) -> str:
    """The text of a document, of a notebook that of its Markdown."""
    text = document.read_text()
    if document.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def lines(document: Path) -> Iterator[str]:
    """Its commands, in order, each whole in one line and without its prompt."""
    for block in _CONSOLE.findall(prose(document).replace("\\\n", " ")):
        for line in block.splitlines():
            if command := line.strip().removeprefix("$ ").removeprefix(".venv/bin/"):
                yield command


def yaml_blocks(document: Path) -> Iterator[str]:
    """Its blocks of YAML, without what they are indented by."""
    for indent, block in _YAML.findall(prose(document)):
        yield "\n".join(line.removeprefix(indent) for line in block.splitlines()) + "\n"
