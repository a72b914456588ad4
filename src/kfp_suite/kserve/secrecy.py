"""Detection of secrets in manifests, which everyone who can read the run or the endpoint sees.

By name (`DB_PASS`, `--api-key`) and by value (`postgres://user:password@host`, a private key).
References (`secretKeyRef`, `$(VARIABLE)`, a file's path) are not secrets, nor are tokens of a
text, such as `<pad>`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kfp_suite.contracts.errors import ParameterError

_NAME = re.compile(
    r"PASSW(OR)?D|PASSPHRASE|SECRET|CREDENTIAL|(API|ACCESS|PRIVATE|SIGNING|ENCRYPTION)_?KEY"
    r"|(^|_)(PASS|PWD|PW|TOKEN|AUTH|AUTHORIZATION|BEARER|COOKIE)$"
)
# Names with these endings hold the location or a property of a secret.
_OF_ONE = re.compile(r"_(NAME|FILE|PATH|DIR|REF|KIND|TYPE|MODE|TTL|SECONDS|EXPIRATION|VERSION)$")
# Tokens of a text, not credentials.
_OF_TEXT = re.compile(r"(^|_)(PAD|BOS|EOS|UNK|SEP|CLS|MASK|STOP|START|END)_TOKEN$")
_REFERENCE = r"\$\([\w.-]+\)"  # to another variable, which may be a Secret's
_WORD = r"<[|/]?\w{1,24}\|?>|\[[A-Z]+\]"  # <pad>, </s>, <|endoftext|>, [MASK]
_VALUE = re.compile(
    rf"\w://[^/\s:@]*:(?!{_REFERENCE}@)[^/\s@]+@"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    rf"|\b(password|passwd|pwd|secret|token|api_?key)=(?!{_REFERENCE}|{_WORD})[^\s&;]"
    r"|\b(Shared)?(Account|Access)Key=[^\s;]"  # Azure's connection strings
    r"|\bBearer \S{8}|\b(AKIA|ASIA)[0-9A-Z]{16}\b|\beyJ[\w-]{8,}\.eyJ"
    r"|\b(gh[opsur]_|github_pat_|glpat-|hf_|xox[a-z]-)[\w-]{10}|\bAIza[\w-]{35}",
    re.IGNORECASE,
)
_BASIC = re.compile(r"\bBasic ([A-Za-z0-9+/]{4,}={0,2})(?![\w+/=])")
_NO_SECRET = re.compile(rf"|true|false|none|(/[\w.-]+){{2,}}|{_REFERENCE}|{_WORD}", re.IGNORECASE)
_NAMED = ("annotations", "labels")
# Vault's annotations hold the path of a secret in Vault.
_REFERRING = ("vault.hashicorp.com/",)
_OWN = "kfp-suite.io/"


def check_no_secrets(content: Mapping[str, Any], where: str) -> None:
    """Raises ParameterError, naming the field and never its value, if there is a secret.

    Args:
        content: A manifest, or a part of one.
        where: The name of the manifest, for the error.
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
    """Whether a value of this name is a secret."""
    if _VALUE.search(value) or any(map(_is_user_and_password, _BASIC.findall(value))):
        return True
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.rpartition("/")[2])
    words = re.sub(r"\W+", "_", words).upper()
    if not _NAME.search(words) or _OF_ONE.search(words) or _OF_TEXT.search(words):
        return False
    return not _NO_SECRET.fullmatch(value)


def _is_user_and_password(text: str) -> bool:
    """Whether a text is `user:password`, as HTTP packs it: "Basic research" is not."""
    try:
        return b":" in base64.b64decode(text, validate=True)
    except ValueError:
        return False


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
