"""Who is told of a run, and by which channel: what a pipeline's parameter `notify` holds.

A secret is never in it: a parameter is shown in the UI. It names the environment variable
that has the secret, which `--resources` fills from a Kubernetes Secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from kfp_suite.contracts.errors import ParameterError

Outcome = Literal["succeeded", "unchanged", "refused", "failed", "cancelled"]
_ADDRESS_EXPECTED = "https://…"


@dataclass(frozen=True)
class Slack:
    """An incoming webhook of Slack, or of what speaks its format: Mattermost, Rocket.Chat.

    `url_env`: the variable with the address, which is itself the secret.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    url_env: str


@dataclass(frozen=True)
class Webhook:
    """An address that takes the run as JSON by POST.

    `url` or, where the address is the secret, `url_env`; `token_env`: the variable with the
    token of the `Authorization: Bearer` header.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    url: str = ""
    url_env: str = ""
    token_env: str = ""

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.url_env):
            raise ParameterError("either url or url_env", where="notify.webhooks")
        if self.url and not self.url.startswith(("https://", "http://")):
            raise ParameterError(
                "not an address", where="notify.webhooks", got=self.url, expected=_ADDRESS_EXPECTED
            )
        if self.token_env and self.url.startswith("http://"):
            raise ParameterError(
                "a token needs TLS", where="notify.webhooks", got=self.url, expected="https://…"
            )


@dataclass(frozen=True)
class Email:
    """A message by SMTP.

    Attributes:
        to: The recipients.
        sender: Its From.
        server: The SMTP server.
        port: Of the server; 0: 587, or 465 with `tls`.
        security: `starttls`, `tls` from the first byte, or `none`.
        user: Who logs in; empty: nobody.
        password_env: The variable with the password.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    to: tuple[str, ...]
    sender: str
    server: str
    port: int = 0
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_env: str = ""

    def __post_init__(self) -> None:
        if not self.to:
            raise ParameterError("nobody to write to", where="notify.emails.to")
        for address in (*self.to, self.sender):
            if "@" not in address or any(c.isspace() for c in address):
                raise ParameterError("not an address", where="notify.emails", got=address)
        if bool(self.user) != bool(self.password_env):
            raise ParameterError("user and password_env go together", where="notify.emails")
        if self.user and self.security == "none":
            raise ParameterError(
                "a password needs TLS", where="notify.emails.security", expected="starttls or tls"
            )


@dataclass(frozen=True)
class Notices:
    """The channels of notifications, and the runs that they are sent for.

    Attributes:
        slack, webhooks, emails: The channels.
        outcomes: Of which ends: `refused` is a run that ended well without a version, or
            with one rolled back; `unchanged` one that found nothing new, and is told only
            where it is asked for.
        ui: Address of the Kubeflow UI, for the link to the run; empty: no link.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    slack: tuple[Slack, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    emails: tuple[Email, ...] = ()
    outcomes: tuple[Outcome, ...] = ("succeeded", "refused", "failed", "cancelled")
    ui: str = ""

    def __post_init__(self) -> None:
        if self.ui and not self.ui.startswith(("https://", "http://")):
            raise ParameterError(
                "not an address", where="notify.ui", got=self.ui, expected=_ADDRESS_EXPECTED
            )
