"""The options of every command that talks to a Kubeflow."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from kfp_suite.kubeflow.connection import Backend, Connection

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS = (
    click.option(
        "--host",
        default="",
        help="Kubeflow Pipelines: http(s)://host[/pipeline].  [default: $KF_PIPELINES_ENDPOINT, "
        "else this cluster's, else the kubeconfig's]",
    ),
    click.option("--namespace", "-n", default="", help="Of your profile, where there are several."),
    click.option("--token-file", default="", help="A file with a bearer token."),
    click.option("--cookie-file", default="", help="A file with a session: NAME=VALUE."),
    click.option("--ca-file", default="", help="Certificates of a private authority (PEM)."),
    click.option("--kube-context", default="", help="Of the kubeconfig."),
)
_SAY_WHERE = ("KF_PIPELINES_ENDPOINT", "KUBERNETES_SERVICE_HOST")
_NAMES = ("host", "namespace", "token_file", "cookie_file", "ca_file", "kube_context")


class Connect:
    """Makes the `Backend`; `named`: somebody has said where it is, or this is a pod beside it."""

    def __init__(self, options: dict[str, str]) -> None:
        """Of what the options say."""
        self._options = options
        said = (options["host"], options["kube_context"], *map(os.environ.get, _SAY_WHERE))
        self.named = any(said)

    def command(self, words: str) -> str:
        """`kfp-suite <words>`, with the options that were given: to be copied as it is."""
        given = [
            f"--{name.replace('_', '-')} {shlex.quote(value)}"
            for name, value in self._options.items()
            if value
        ]
        return " ".join(["kfp-suite", words, *given])

    @property
    def connection(self) -> Connection:
        """What the options say."""
        from kfp_suite.kubeflow.connection import Connection

        return Connection(**self._options)

    def __call__(self) -> Backend:
        from kfp_suite.kubeflow.connection import Backend

        backend = Backend(self.connection)
        if skew := backend.health().skew:
            click.echo(f"warning: {skew}", err=True)
        return backend


def on_kubeflow(command: F) -> F:
    """Gives a command the options, and `connect`: a `Connect`."""

    @functools.wraps(command)
    def connected(*args: Any, **given: Any) -> Any:
        connect = Connect({name: given.pop(name) for name in _NAMES})
        return command(*args, connect=connect, **given)

    for option in reversed(_OPTIONS):
        connected = option(connected)
    return connected  # type: ignore[return-value]
