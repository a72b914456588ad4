"""No secret in a manifest: who can read the run, or the endpoint, can read it.

By name (`DB_PASS`, `--api-key`) and by value (`postgres://user:password@host`, a private key).
What is referred to, by `secretKeyRef` or a file's path, is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kfp_suite.components.contracts.errors import ParameterError

_NAME = re.compile(
    r"PASSW(OR)?D|PASSPHRASE|SECRET|CREDENTIAL|(API|ACCESS|PRIVATE|SIGNING|ENCRYPTION)_?KEY"
    r"|(^|_)(PASS|PWD|PW|TOKEN|AUTH|AUTHORIZATION|BEARER|COOKIE)$"
)
# A name that ends so is of where a secret is, or of what is known about it.
_OF_ONE = re.compile(r"_(NAME|FILE|PATH|DIR|REF|KIND|TYPE|MODE|TTL|SECONDS|EXPIRATION|VERSION)$")
_VALUE = re.compile(
    r"\w://[^/\s:@]*:[^/\s@]+@"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\b(password|passwd|pwd|secret|token|api_?key)=[^\s&;]"
    r"|\bBearer \S{8}|\bAKIA[0-9A-Z]{16}\b|\beyJ[\w-]{8,}\.eyJ",
    re.IGNORECASE,
)
_NO_SECRET = re.compile(r"|true|false|none|(/[\w.-]+){2,}", re.IGNORECASE)
_NAMED = ("annotations", "labels")
# Vault's annotations name where in Vault a secret is.
_REFERRING = ("vault.hashicorp.com/",)
_OWN = "kfp-suite.io/"


def check_no_secrets(content: Mapping[str, Any], where: str) -> None:
    """Raises ParameterError, naming the field and never its value, where there is a secret.

    Args:
        content: A manifest, or a part of one.
        where: What to call it in the error.
    """
    for field in _secrets(content, where):
        raise ParameterError(
            "looks like a secret",
            where=field,
            expected="a reference: settings.env {secret: NAME, key: KEY}, or "
            "valueFrom.secretKeyRef in an overlay",
            fix="a manifest is read by everybody who can read the run",
        )


def is_secret(name: str, value: str) -> bool:
    """Whether a value, called so, is one that nobody should read."""
    if _VALUE.search(value):
        return True
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.rpartition("/")[2])
    words = re.sub(r"\W+", "_", words).upper()
    if not _NAME.search(words) or _OF_ONE.search(words):
        return False
    return not _NO_SECRET.fullmatch(value)


def _secrets(content: Any, where: str) -> Iterator[str]:
    """The fields that hold one."""
    if isinstance(content, str):
        if is_secret("", content):
            yield where
    elif isinstance(content, (list, tuple)):
        for position, one in enumerate(content):
            yield from _secrets(one, f"{where}[{position}]")
        yield from _arguments(content, where)
    elif isinstance(content, Mapping):
        name, value = content.get("name"), content.get("value")
        if isinstance(name, str) and isinstance(value, str):  # of an environment, or a header
            if is_secret(name, value):
                yield f"{where}.{name}"
            return
        for key, one in content.items():
            if key in (*_NAMED, "env") and isinstance(one, Mapping):
                yield from _named(one, f"{where}.{key}")
            else:
                yield from _secrets(one, f"{where}.{key}")


def _named(content: Mapping[str, Any], where: str) -> Iterator[str]:
    for name, value in content.items():
        own = name.startswith((*_REFERRING, _OWN))
        if isinstance(value, str) and is_secret("" if own else name, value):
            yield f"{where}.{name}"


def _arguments(content: list[Any] | tuple[Any, ...], where: str) -> Iterator[str]:
    """Of a command line: `--name=value`, or `--name` and the value after it."""
    for position, one in enumerate(content):
        if not isinstance(one, str) or not one.startswith("--"):
            continue
        name, separator, value = one.partition("=")
        if not separator:
            after = content[position + 1] if position + 1 < len(content) else ""
            value = after if isinstance(after, str) and not after.startswith("-") else ""
        if is_secret(name.lstrip("-"), value):
            yield f"{where}[{position}] {name}"
