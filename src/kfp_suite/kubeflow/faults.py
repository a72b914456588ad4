"""Errors of calls to Kubeflow Pipelines, translated to ours."""

from __future__ import annotations

import json
from typing import Any

import urllib3
from google.auth.exceptions import GoogleAuthError
from kfp_server_api import ApiException

from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    KfpSuiteError,
    MissingError,
    ParameterError,
    StoreError,
    TransientError,
    store_error,
)

_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
# Pauses are not shown: a longer one would look like a hang.
_MAX_PAUSE_SECONDS = 60.0
_NETWORK = (urllib3.exceptions.HTTPError, OSError)
FAULTS = (ApiException, GoogleAuthError, *_NETWORK)
"""What kfp's client raises where a call fails."""


def fault(error: Exception, what: str, host: str) -> KfpSuiteError:
    """The error for one of `FAULTS`.

    Args:
        error: As it was raised.
        what: The subject of the request, for the message.
        host: The address of the API.
    """
    if isinstance(error, ApiException) and error.status:
        return _refused(error, what, host)
    if isinstance(error, GoogleAuthError):
        return StoreError(
            "not signed in at Google",
            where=host,
            got=str(error),
            fix="gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS; IAP "
            "also needs its own KF_PIPELINES_IAP_OAUTH2_CLIENT_ID",
        )
    if isinstance(error, OSError) and error.filename:  # a token that is read for each call
        return store_error(error, error.filename)
    return _unreachable(error, host)


def sign_in(host: str) -> StoreError:
    """A page to sign in instead of an answer."""
    return StoreError(
        "not signed in",
        where=host,
        got="a page to sign in, or another web page",
        expected="Kubeflow Pipelines' API",
        fix="give --cookie-file with the browser's session (authservice_session=…, or "
        "oauth2_proxy_kubeflow=…), or --token-file; and check --host",
    )


def retry_after(error: Exception) -> float | None:
    """The server's Retry-After in seconds, at most a minute; None if there is none."""
    headers = getattr(error, "headers", None) or {}
    said = str(headers.get("Retry-After", ""))
    return min(float(said), _MAX_PAUSE_SECONDS) if said.isdigit() else None


# By status: the class, the meaning, and the remedy.
_REFUSALS: dict[int, tuple[type[KfpSuiteError], str, str | None]] = {
    400: (ParameterError, "Kubeflow Pipelines does not take this", None),
    401: (
        StoreError,
        "not signed in, or the sign-in has expired",
        "give --token-file or --cookie-file anew; in a pod, mount a token for the audience "
        "pipelines.kubeflow.org",
    ),
    403: (
        StoreError,
        "not allowed",
        "check --namespace; the account needs the role kubeflow-edit there",
    ),
    404: (MissingError, "not there", None),
    409: (AlreadyExistsError, "there already", None),
}


def _refused(error: ApiException, what: str, host: str) -> KfpSuiteError:
    where, message = f"{what} at {host}", _message(error)
    if error.status == 500:
        # Of a passing failure, or of this request each time: only its log tells.
        return TransientError(
            "Kubeflow Pipelines failed at this",
            where=where,
            got=f"{error.status} {message}",
            fix="if it fails again, see why: kubectl logs -n kubeflow deployment/ml-pipeline",
        )
    if error.status in _TRANSIENT:
        return TransientError(
            "Kubeflow Pipelines does not answer",
            where=where,
            got=f"{error.status} {message}",
            fix="try again when it does",
        )
    kind, means, fix = _REFUSALS.get(error.status, (StoreError, "refused", None))
    return kind(means, where=where, got=f"{error.status} {message}", fix=fix)


def _message(error: ApiException) -> str:
    try:
        found: Any = json.loads(error.body or "")
        return str(found.get("message") or found.get("error") or found)
    except (ValueError, AttributeError):
        return str(error.reason or error.body or "no reason given")


def _unreachable(error: Exception, host: str) -> KfpSuiteError:
    reason: Any = getattr(error, "reason", None) or error
    if isinstance(reason, urllib3.exceptions.SSLError) or "SSLError" in str(reason):
        return StoreError(
            "the certificate is not trusted",
            where=host,
            got=str(reason),
            fix="give --ca-file with the certificate of your own authority",
        )
    return TransientError(
        "cannot be reached",
        where=host,
        got=str(reason),
        fix="check --host (or KF_PIPELINES_ENDPOINT); from outside the cluster: "
        "kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80",
    )
