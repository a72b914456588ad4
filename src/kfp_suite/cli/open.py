"""kfp-suite open."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path

import click

from kfp_suite.cli.completion import complete_run
from kfp_suite.cli.roots import past_runs_option
from kfp_suite.contracts.errors import MissingError
from kfp_suite.local.history import find_folder
from kfp_suite.local.outputs import REPORTS, missing_output
from kfp_suite.local.reports import INDEX, collect_reports


@click.command("open")
@click.argument("run", default="latest", shell_complete=complete_run)
@click.argument("step", default="")
@past_runs_option
@click.option("--no-browser", is_flag=True, help="Print the path and open nothing.")
def open_(run: str, step: str, root: Path, no_browser: bool) -> None:
    """Show the reports of RUN in a browser: of STEP (evaluate, train, …), or a page with all.

    RUN may be `latest`, or the beginning or the end of a name. The page's path is printed;
    nothing is opened if the output is not a terminal.
    """
    folder = find_folder(root, run)
    reports = collect_reports(folder)
    if not reports:
        raise MissingError("the run left no reports", where=folder, fix="read its run.log")
    if step and step not in reports:
        raise missing_output(folder, "report of", step, reports)
    page = reports[step] if step else folder / REPORTS / INDEX
    click.echo(page)
    if not no_browser and sys.stdout.isatty() and not webbrowser.open(page.absolute().as_uri()):
        click.echo("no browser was found: open the page above in yours", err=True)
