"""The options by which commands take the parameters of a pipeline."""

from __future__ import annotations

import click

from kfp_suite.cli.completion import complete_params

params_option = click.option(
    "--params",
    metavar="FILE",
    shell_complete=complete_params,
    help="Parameter file, or one that comes with the suite.",
)
assignments_option = click.option(
    "--param",
    "assignments",
    metavar="NAME=VALUE",
    multiple=True,
    help="One parameter; a.b=VALUE reaches into a mapping. VALUE is YAML, but a text parameter "
    "takes it as it stands: null is a text there. Repeatable.",
)
