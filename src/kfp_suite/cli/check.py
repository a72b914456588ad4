"""kfp-suite check."""

from __future__ import annotations

import click

from kfp_suite.cli.completion import complete_pipeline
from kfp_suite.cli.parameter_options import assignments_option, params_option
from kfp_suite.cli.references import DEFAULT_STORE
from kfp_suite.contracts.errors import InputError
from kfp_suite.local.arguments import add_defaults, read_values
from kfp_suite.local.catalog import find_pipeline, load
from kfp_suite.local.parameters import parameter_file, parameters_of, parse_assignments
from kfp_suite.local.preflight import check_all_values


@click.command("check")
@click.argument("pipeline", shell_complete=complete_pipeline)
@params_option
@assignments_option
def check(pipeline: str, params: str | None, assignments: tuple[str, ...]) -> None:
    """Check the parameters of PIPELINE without running it, and list every error.

    `run`, `submit` and `schedule` make the same checks. What depends on the data, such as the
    names of columns, is checked by the steps. Exit code 0 if there is no error, else 2.
    """
    loaded = load(find_pipeline(pipeline))
    assigned = parse_assignments(assignments, parameters_of(loaded))
    file = parameter_file(params) if params else None
    values = read_values(loaded, file, assigned, str(DEFAULT_STORE))
    findings = check_all_values(add_defaults(loaded, values))
    for error in findings.errors:
        click.echo(f"error: {error}", err=True)
    for name in findings.unchecked:
        click.echo(f"not checked here: {name}; its step's libraries are not installed", err=True)
    if findings.errors:
        raise click.exceptions.Exit(InputError.exit_code)
    click.echo(f"no error in {len(values)} parameters of {pipeline}")
