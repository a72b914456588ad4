"""Tell people how a run ended. Whatever goes wrong here is told, and fails nothing."""

from __future__ import annotations

import os
import smtplib
import ssl
from collections.abc import Iterator, Mapping
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

from kfp_suite.components.record.delivery import Delivery, failed, sent
from kfp_suite.components.record.message import Message, message_of
from kfp_suite.components.record.notification_config import Email, Notices, Slack, Webhook
from kfp_suite.contracts.errors import EndpointError, MissingError
from kfp_suite.contracts.parameters import parse
from kfp_suite.contracts.run_record import RunRecord

Channel = Slack | Webhook | Email
_SECONDS = 10.0
_TRIES = 3
_TRANSIENT = (408, 429, 500, 502, 503, 504)


def notify(notices: Mapping[str, Any], record: RunRecord, *, pause: float = 1.0) -> list[Delivery]:
    """Send what `notices` asks for; each channel alone, and never an exception.

    Args:
        notices: `Notices` as a mapping; empty: none are sent.
        record: The run.
        pause: Seconds before the first of two further tries; each next is twice as long.

    Returns:
        What became of each; one entry called `notify` where `notices` cannot be read.
    """
    try:
        asked = parse(Notices, notices, "notify")
        message = message_of(record, asked.ui)
        channels = list(_channels(asked)) if message.outcome in asked.outcomes else []
    except Exception as error:
        return [failed("notify", error)]
    return [_tell(name, channel, message, pause) for name, channel in channels]


def _channels(notices: Notices) -> Iterator[tuple[str, Channel]]:
    for kind in ("slack", "webhooks", "emails"):
        for number, channel in enumerate(getattr(notices, kind)):
            yield f"{kind}.{number}", channel


def _tell(name: str, channel: Channel, message: Message, pause: float) -> Delivery:
    try:
        match channel:
            case Slack(url_env):
                _post(_secret(url_env, name), message.slack(), {}, pause)
            case Webhook(url, url_env, token_env):
                token = _secret(token_env, name) if token_env else ""
                address = url or _secret(url_env, name)
                if token and not address.startswith("https://"):
                    raise MissingError("a token needs TLS", where=name, expected="https://…")
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                _post(address, message.to_json(), headers, pause)
            case Email():
                _mail(channel, message, name)
    except Exception as error:
        return failed(name, error)
    return sent(name)


def _secret(variable: str, where: str) -> str:
    try:
        return os.environ[variable]
    except KeyError:
        raise MissingError(
            f"no environment variable '{variable}'",
            where=where,
            fix="give the task `record` the Secret, with --resources: docs/kubeflow.md",
        ) from None


def _post(url: str, body: Mapping[str, Any], headers: Mapping[str, str], pause: float) -> None:
    """POST `body` as JSON. Errors name the host alone: an address may be a secret."""
    import urllib3

    host = urlsplit(url).hostname or "?"
    retry = urllib3.Retry(
        total=_TRIES - 1,
        backoff_factor=pause,
        status_forcelist=_TRANSIENT,
        allowed_methods=None,
        redirect=False,
        raise_on_redirect=False,
        raise_on_status=False,
    )
    try:
        with urllib3.PoolManager(timeout=_SECONDS, retries=retry) as pool:
            answer = pool.request("POST", url, json=dict(body), headers=dict(headers))
    except urllib3.exceptions.HTTPError as error:
        cause = getattr(error, "reason", None) or error
        raise EndpointError("did not answer", where=host, got=type(cause).__name__) from None
    if not 200 <= answer.status < 300:
        raise EndpointError("did not take it", where=host, got=answer.status, expected="2xx")


def _mail(email: Email, message: Message, where: str) -> None:
    letter = EmailMessage()
    letter["Subject"], letter["From"] = message.title, email.sender
    letter["To"] = ", ".join(email.to)
    letter.set_content(message.text())
    tls = ssl.create_default_context()
    port = email.port or (465 if email.security == "tls" else 587)
    try:
        with (
            smtplib.SMTP_SSL(email.server, port, timeout=_SECONDS, context=tls)
            if email.security == "tls"
            else smtplib.SMTP(email.server, port, timeout=_SECONDS)
        ) as server:
            if email.security == "starttls":
                server.starttls(context=tls)
            if email.user:
                server.login(email.user, _secret(email.password_env, where))
            server.send_message(letter)
    except smtplib.SMTPAuthenticationError as error:
        # The server's own text may hold what was sent.
        raise EndpointError(
            "refused the password", where=email.server, got=error.smtp_code
        ) from None
    except (OSError, smtplib.SMTPException) as error:
        raise EndpointError(
            "did not take the message", where=f"{email.server}:{port}", got=error
        ) from None
