"""The reports of a run, as pages that a browser opens."""

from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

from kfp_suite.components.record.step_outputs import is_page
from kfp_suite.contracts.canonical import write_file
from kfp_suite.local.outputs import REPORTS, Outputs
from kfp_suite.reports.page import Page

INDEX = "index.html"
_HEADING = b"# "
_BEGINNING = 64


def collect_reports(folder: Path) -> dict[str, Path]:
    """Write the report of each step to `reports/<step>.html`, and a page with links to all.

    KFP gives an artifact's file no suffix, and without one a browser shows its source.
    Markdown (the model card, the verdict on serving) becomes a page.

    Args:
        folder: The run's folder.

    Returns:
        The page of each step that has one.
    """
    reports = folder / REPORTS
    found = {page.stem: page for page in sorted(reports.glob("*.html")) if page.name != INDEX}
    for name, output in Outputs(folder).items():
        step = name.rpartition(".")[0]
        if step not in found and output.is_file() and (content := _page(output)):
            found[step] = reports / f"{step}.html"
            write_file(found[step], content)
    if found:
        write_file(reports / INDEX, _index(folder.name, list(found)).encode())
    return dict(sorted(found.items()))


def _page(output: Path) -> bytes | None:
    """An HTML page as it is, Markdown as one; None for anything else."""
    with output.open("rb") as file:
        beginning = file.read(_BEGINNING)
    if is_page(beginning):
        return output.read_bytes()
    if not beginning.startswith(_HEADING):
        return None
    title, _, text = output.read_text().removeprefix(_HEADING.decode()).partition("\n")
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    words = markdown.parseInline(title)[0].children or []
    page = Page("".join(word.content for word in words))
    page.prose(Markup(markdown.render(text)))  # noqa: S704 - escaped by the renderer
    return page.html().encode()


def _index(run: str, steps: list[str]) -> str:
    page = Page("Reports", run)
    link = Markup('<li><a href="{}.html">{}</a></li>')
    items = Markup("").join(link.format(step, step) for step in steps)
    page.prose(Markup("<ul>{}</ul>").format(items))
    return page.html()
