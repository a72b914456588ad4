"""Write the files of a new component: in a checkout of the suite, or in a project of one's own."""

from __future__ import annotations

import keyword
import re
import runpy
import tomllib
from dataclasses import dataclass
from pathlib import Path

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.errors import AlreadyExistsError, ParameterError
from kfp_suite.image_builder.families import tag
from kfp_suite.scaffold.readme import readme

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_MAX_CHARS = 20
_SUITE = "kfp-suite"
_FILES = ("__init__.py", "component.py", "executor.py", "metadata.yaml")


@dataclass(frozen=True)
class Scaffold:
    """What was written."""

    folder: Path
    test: Path
    package: str
    in_suite: bool


def new_component(name: str, into: Path, summary: str = "") -> Scaffold:
    """Write a component's folder and its test.

    In a checkout of the suite they go to `components/` and `tests/unit/`; elsewhere to
    `into/<name>/` and `into/tests/`.

    Args:
        name: Of the component: lower-case words joined by `_`, at most 20 characters.
        into: The checkout, or the project's folder.
        summary: Its one line; empty: one to write.

    Raises:
        ParameterError: not a name for a component.
        AlreadyExistsError: it is there.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or len(name) > _MAX_CHARS:
        raise ParameterError(
            "not a component's name",
            got=name,
            expected=f"lower-case words joined by '_', at most {_MAX_CHARS} characters: row_count",
        )
    in_suite = _is_suite(into)
    folder = into / "components" / name if in_suite else into / name
    tests = into / "tests" / "unit" / name if in_suite else into / "tests"
    made = Scaffold(
        folder,
        tests / f"test_{name}.py",
        f"kfp_suite.components.{name}" if in_suite else name,
        in_suite,
    )
    for path in (made.folder, made.test):
        if path.exists():
            raise AlreadyExistsError("it is there", where=path, fix="choose another name")
    values = {
        "name": name,
        "title": "".join(word.capitalize() for word in name.split("_")),
        "package": made.package,
        "image": tag("sklearn"),
        "summary": summary or f"Count the rows of a split: the start of {name}.",
    }
    templates = Environment(
        loader=PackageLoader("kfp_suite.scaffold"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Python and YAML, of names that were checked
    )
    templates.globals["imports"] = _in_one_section if in_suite else _own_section_last
    with whole_folder(made.folder) as partial:
        for file in _FILES:
            content = templates.get_template(f"{file}.j2").render(values)
            write_file(partial / file, content.encode())
        write_file(partial / "README.md", _readme(partial, made).encode())
    made.test.parent.mkdir(parents=True, exist_ok=True)
    write_file(made.test, templates.get_template("test.py.j2").render(values).encode())
    return made


def _readme(folder: Path, made: Scaffold) -> str:
    """Of the interface that was written just now: importing it would leave its bytecode."""
    component = runpy.run_path(str(folder / "component.py"))[made.folder.name]
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    return readme(component, f"{made.package}.component", metadata, "../../")


def _in_one_section(*lines: str) -> str:
    """Imports as the suite's linter sorts them."""
    return "\n".join(sorted(lines, key=lambda line: line.split()[1]))


def _own_section_last(*lines: str) -> str:
    """Imports of the suite, and after them the project's own."""
    suite = [line for line in lines if line.startswith("from kfp_suite.")]
    return "\n".join([*suite, "", *(line for line in lines if line not in suite)])


def _is_suite(folder: Path) -> bool:
    pyproject = folder / "pyproject.toml"
    if not pyproject.is_file():
        return False
    name = tomllib.loads(pyproject.read_text()).get("project", {}).get("name")
    return bool(name == _SUITE)
