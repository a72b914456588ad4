"""URIs of the store in the form of KServe's storage initializer."""

from __future__ import annotations

import os

from kfp_suite.contracts.errors import ParameterError

STORE_VARIABLE = "KFP_SUITE_STORE_URI"
"""The store as the cluster reads it, where that is another URI: `pvc://claim/path` for a folder
of a PersistentVolumeClaim that the steps have mounted."""


def on_cluster(uri: str, store: str) -> str:
    """`uri` as the cluster reads it.

    Args:
        uri: Of a Model artifact or a layout.
        store: The store that it is in, empty if it is in none.

    Raises:
        ParameterError: it is a folder, which no pod can see.
    """
    elsewhere = os.environ.get(STORE_VARIABLE, "")
    if elsewhere and store and f"{uri}/".startswith(f"{store}/"):
        return elsewhere.rstrip("/") + uri[len(store) :]
    scheme, separator, rest = uri.partition("://")
    if scheme == "minio":  # KFP's word for its own S3 store
        return f"s3://{rest}"
    if separator and scheme != "file":
        return uri
    raise ParameterError(
        "no pod of the cluster sees a folder of this machine",
        where="store",
        got=uri,
        expected="gs://…, s3://… or minio://…",
        fix=f"push to a bucket; for a folder of a PersistentVolumeClaim set {STORE_VARIABLE} to "
        "pvc://CLAIM/PATH",
    )
