"""Which credentials an object store was tried with, for an error's line; never their values.

On a cluster they come from the pod's identity (Workload Identity, IRSA, Pod Identity), from a
mounted Secret, or, for KFP's own S3 store, from a Secret as environment variables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_ADC = "application_default_credentials.json"


def tried_for_s3(
    environment: Mapping[str, str] = os.environ, home: Path | None = None, server: str = ""
) -> str:
    """Where boto3 looked, in its order, and what was there; `server`: whom it was told to ask."""
    return "; ".join(_s3(environment, home or Path.home(), server))


def _s3(environment: Mapping[str, str], home: Path, server: str) -> Iterator[str]:
    yield _variable(environment, "AWS_ACCESS_KEY_ID")
    if token := environment.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        role = "" if environment.get("AWS_ROLE_ARN") else ", AWS_ROLE_ARN not set"
        yield f"IRSA: {_file(Path(token))}{role}"
    else:
        yield "IRSA: AWS_WEB_IDENTITY_TOKEN_FILE not set"
    shared = Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws/credentials")
    yield f"mounted file: {_file(shared)}"
    names = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    found = next((name for name in names if environment.get(name)), "")
    yield f"Pod Identity: {found} set" if found else f"Pod Identity: {names[0]} not set"
    if environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        yield "instance role: AWS_EC2_METADATA_DISABLED"
    else:
        yield "instance role: no answer"
    server = (
        server or environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL", "")
    )
    yield f"server: {server or 'Amazon S3, AWS_ENDPOINT_URL not set'}"


def tried_for_cloud_storage(
    environment: Mapping[str, str] = os.environ, home: Path | None = None
) -> str:
    """Where google-auth looked, in its order, and what was there."""
    return "; ".join(_cloud_storage(environment, home or Path.home()))


def _cloud_storage(environment: Mapping[str, str], home: Path) -> Iterator[str]:
    key = environment.get("GOOGLE_APPLICATION_CREDENTIALS")
    yield (
        f"mounted key: {_file(Path(key))}"
        if key
        else _variable(environment, "GOOGLE_APPLICATION_CREDENTIALS")
    )
    folder = Path(environment.get("CLOUDSDK_CONFIG") or home / ".config/gcloud")
    yield f"gcloud: {_file(folder / _ADC)}"
    host = environment.get("GCE_METADATA_HOST")
    yield f"Workload Identity: no metadata server{f' at {host}' if host else ''}"


def used_for_s3(session: Any) -> str:
    """Which credentials boto3 signed with, as it names them; empty if it had none."""
    found = session.get_credentials()
    return "" if found is None else str(found.method)


def used_for_cloud_storage(credentials: Any) -> str:
    """Whose credentials google-auth used, as far as they say."""
    account = getattr(credentials, "service_account_email", "")
    return str(account or type(credentials).__module__.rpartition(".")[2])


def _variable(environment: Mapping[str, str], name: str) -> str:
    return f"{name} {'set' if environment.get(name) else 'not set'}"


def _file(path: Path) -> str:
    try:
        with path.open("rb"):
            return f"{path} is there"
    except FileNotFoundError:
        return f"no {path}"
    except OSError as error:
        return f"{path}: {error.strerror}"
