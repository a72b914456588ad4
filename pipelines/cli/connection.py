"""The options of every command that talks to a Kubeflow."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from kfp_suite.pipelines.kubeflow.connection import Backend

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
_NAMES = ("host", "namespace", "token_file", "cookie_file", "ca_file", "kube_context")


def on_kubeflow(command: F) -> F:
    """Gives a command the options, and `connect`: a function that makes the `Backend`."""

    @functools.wraps(command)
    def connected(*args: Any, **given: Any) -> Any:
        found = {name: given.pop(name) for name in _NAMES}

        def connect() -> Backend:
            from kfp_suite.pipelines.kubeflow.connection import Backend, Connection

            return Backend(Connection(**found))

        return command(*args, connect=connect, **given)

    for option in reversed(_OPTIONS):
        connected = option(connected)
    return connected  # type: ignore[return-value]
