"""Every `kfp-suite` line of the documents is one that the command takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from kfp_suite.components.contracts.parameters import parse
from kfp_suite.components.record.notices import Notices
from kfp_suite.components.train.tune.space import parse_space
from kfp_suite.pipelines.cli.main import cli
from kfp_suite.pipelines.kubeflow.package import open_package
from kfp_suite.pipelines.kubeflow.placing import placed
from tests.contract.component_readmes import COMPONENTS

ROOT = COMPONENTS.parent
_SHELL = re.compile(r"[&|>;]")


def documents() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def lines() -> Iterator[tuple[str, str]]:
    """The document and the command, its continued lines joined."""
    for document in documents():
        text = document.read_text().replace("\\\n", " ")
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
            for line in block.splitlines():
                words = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
                if words.startswith("kfp-suite "):
                    yield document.name, words


@pytest.mark.parametrize(("document", "line"), sorted(set(lines())))
def test_the_command_takes_it(document: str, line: str) -> None:
    words = [word for word in shlex.split(line, comments=True) if not _SHELL.fullmatch(word)]
    command: click.Command = cli
    name, *rest = words
    context = click.Context(cli, info_name=name)
    while isinstance(command, click.Group):
        found, resolved, rest = command.resolve_command(context, rest)
        assert resolved is not None
        command, context = resolved, click.Context(resolved, parent=context, info_name=found)
        if isinstance(command, click.Group) and rest and rest[0].startswith("-"):
            break
    command.make_context(context.info_name, list(rest), parent=context.parent)


def test_the_documents_have_commands() -> None:
    assert len(set(lines())) > 30


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def examples(*keys: str) -> list[str]:
    """The YAML of the documents that begins with one of `keys`."""
    found = []
    for document in documents():
        blocks = re.findall(
            r"^( *)```yaml\n(.*?)```", document.read_text(), re.DOTALL | re.MULTILINE
        )
        for indent, block in blocks:
            text = "\n".join(line.removeprefix(indent) for line in block.splitlines())
            if text.startswith(tuple(f"{key}:" for key in keys)):
                found.append(text)
    assert found
    return found


@pytest.mark.parametrize("text", examples("defaults", "tasks"))
def test_resources_files_are_right(text: str, tmp_path: Path) -> None:
    file = tmp_path / "resources.yaml"
    file.write_text(text)
    open_package("train_and_deploy", placed(file))


@pytest.mark.parametrize("text", examples("notify"))
def test_notices_are_right(text: str) -> None:
    parse(Notices, yaml.safe_load(text)["notify"], "notify")


@pytest.mark.parametrize("text", examples("search"))
def test_search_spaces_are_right(text: str) -> None:
    parse_space(yaml.safe_load(text)["search_space"])
