"""Every `kfp-suite` line of the documents is one that the command takes."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import click
import pytest
import yaml

from kfp_suite.cli.main import cli
from kfp_suite.components.record.notification_config import Notices
from kfp_suite.components.train.tune.search_space import parse_space
from kfp_suite.contracts.parameters import parse
from kfp_suite.kubeflow.package import open_package
from kfp_suite.kubeflow.placing import placed
from tests.contract.documented import ROOT, documents, lines, prose, yaml_blocks

_SHELL = re.compile(r"[&|>;]")


def commands() -> Iterator[tuple[str, str]]:
    """The document and the command, of every line that is one of ours."""
    for document in documents():
        for line in lines(document):
            if line.startswith("kfp-suite "):
                yield document.name, line


@pytest.mark.parametrize(("document", "line"), sorted(set(commands())))
def test_the_command_takes_it(document: str, line: str) -> None:
    # The shell's part, to a file or to another program, is none of the command's.
    words = takewhile(lambda word: not _SHELL.fullmatch(word), shlex.split(line, comments=True))
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
    assert len(set(commands())) > 30


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose(document)):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def examples(*keys: str) -> list[str]:
    """The YAML of the documents that begins with one of `keys`."""
    starts = tuple(f"{key}:" for key in keys)
    found = [
        text
        for document in documents()
        for text in yaml_blocks(document)
        if text.startswith(starts)
    ]
    assert found
    return found


def test_every_folder_is_on_the_map() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    folders = {line.partition("/")[0] for line in listed.splitlines() if "/" in line}
    on_the_map = set(re.findall(r"^\| `([a-z]+)/`", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert folders - {".ci"} <= on_the_map


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
