"""The `kfp-suite` command: a lazy group, so that `--help` imports no command."""

from __future__ import annotations

import importlib
import os
import sys
import traceback

import click

from kfp_suite.contracts.errors import DEBUG_VARIABLE, KfpSuiteError, store_error

# TensorFlow's C++ code would write into our answers; a step's log keeps what it says.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# OpenMP's threads spin while they wait for each other. Beside other work, or below a limit of
# CPUs, that takes the time from those that compute: a small training is several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# name: (module, one line for --help)
COMMANDS = {
    "run": ("run", "Run a pipeline on this machine, to a live endpoint."),
    "check": ("check", "Check the parameters of a pipeline without running it."),
    "upload": ("upload", "Upload a pipeline to Kubeflow, or a new version of it."),
    "submit": ("submit", "Run a pipeline on Kubeflow, and watch it."),
    "schedule": ("schedule", "Recurring runs on Kubeflow: add, list, show, pause, resume, delete."),
    "serve": ("serve", "Serve a published version or an InferenceService manifest."),
    "compile": ("compile", "Compile pipelines to YAML for the Kubeflow UI."),
    "open": ("open", "Show the reports of a run in a browser."),
    "list": ("list", "List pipelines and components."),
    "models": ("models", "What is in a store: list, show, alias, rollback, verify."),
    "endpoints": ("endpoints", "Endpoints on a cluster: list, status, logs, rollback, delete."),
    "runs": ("runs", "Runs here and on Kubeflow: list, show, compare, best, watch, terminate."),
    "reproduce": ("reproduce", "Rebuild a published model from its manifest and compare."),
    "new": ("new", "Start a component of your own."),
    "images": ("images", "Build the container images that steps run in."),
    "doctor": ("doctor", "What this machine can run, and what is missing."),
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"kfp_suite.cli.{COMMANDS[name][0]}")
        command = getattr(module, f"{name}_" if hasattr(module, f"{name}_") else name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="kfp-suite", prog_name="kfp-suite")
def cli(debug: bool) -> None:
    """Kubeflow Pipelines components and pipelines that turn data into reproducible,
    versioned KServe endpoints."""
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


def main() -> None:
    """Run the command: exit 0, 1 for a failed run or check, 2 for bad input."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.exceptions.Abort:
        print("interrupted", file=sys.stderr)
        code = 130
    except KfpSuiteError as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        refused = store_error(error, error.filename)
        print(f"error: {refused}", file=sys.stderr)
        code = refused.exit_code
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        print(
            f"error: unexpected {type(error).__name__}: {error}; "
            "this is a defect: run again with kfp-suite --debug and report the traceback",
            file=sys.stderr,
        )
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
