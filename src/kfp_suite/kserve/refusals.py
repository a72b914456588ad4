"""Errors for refusals of the Kubernetes API, and whether another try may help."""

from __future__ import annotations

import json
import ssl

import urllib3
from kubernetes.client.exceptions import ApiException

from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    KfpSuiteError,
    MissingError,
    StoreError,
)

_TRANSIENT = (429, 500, 502, 503, 504)
# A field that no schema knows, in a server-side apply, is a 500 (kubernetes#122480).
_MISTYPED = "failed to create typed patch object"
# KServe's own refusals are a 403, as those of rights are.
_WEBHOOK = "admission webhook"


def is_transient(error: ApiException) -> bool:
    """Whether the same request may succeed a moment later."""
    return error.status in _TRANSIENT and _MISTYPED not in str(error.body)


def refused(error: ApiException, where: str) -> KfpSuiteError:
    """The error for a refusal, with its remedy.

    Args:
        error: As the client raised it.
        where: The object of the request.
    """
    try:
        said = json.loads(error.body or "")
    except ValueError:
        said = {}
    message = said.get("message") or f"{error.status} {error.reason}"
    if error.status == 404:
        return MissingError("not there", where=where, got=message)
    if error.status == 409:
        return AlreadyExistsError(
            "somebody else set what this deploy would change",
            where=where,
            got=message,
            fix="leave these fields out, or take them with force; of a pipeline that trains: "
            "deploy_force",
        )
    if error.status in (401, 403) and _WEBHOOK not in message:
        return StoreError(
            "the Kubernetes API refused",
            where=where,
            got=message,
            fix="give the step's service account what `kfp-suite endpoints access` prints",
        )
    if error.status in (400, 403, 422) or _MISTYPED in message:
        return StoreError(
            "the Kubernetes API does not take the manifest",
            where=where,
            got=message,
            fix="mend settings or overlay; dry_run shows what would be applied",
        )
    return StoreError(
        "the Kubernetes API refused",
        where=where,
        got=message,
        fix="check that KServe is installed: kubectl get crd inferenceservices.serving.kserve.io",
    )


def certificate_refused(error: urllib3.exceptions.HTTPError, where: str) -> StoreError | None:
    """The error for a certificate that does not verify, which is permanent; None for other errors.

    Args:
        error: Of the connection.
        where: The object of the request.
    """
    cause = getattr(error, "reason", error)
    if not isinstance(cause, urllib3.exceptions.SSLError):
        return None
    (found, *_) = (*cause.args, None)
    if not isinstance(found, ssl.SSLCertVerificationError):
        return None
    return StoreError(
        "the certificate of the Kubernetes API does not verify",
        where=where,
        got=str(found),
        fix="give the kubeconfig the certificate-authority-data of this cluster",
    )
