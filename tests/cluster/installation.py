"""The Kubeflow that the exam is for, as `make test-cluster` was told; see docs/cluster.md."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from kfp_suite.kubeflow.connection import Connection

VARIABLES = {
    "kubeconfig": ("KUBECONFIG", "KFP_SUITE_KUBECONFIG"),
    "host": ("HOST", "KFP_SUITE_KFP_HOST"),
    "store": ("STORE", "KFP_SUITE_STORE"),
    "ingress": ("INGRESS", "KFP_SUITE_INGRESS"),
    "image_lock": ("IMAGE_LOCK", "KFP_SUITE_IMAGE_LOCK"),
}
"""By attribute: what make calls it, and the environment variable that the tests read."""


@dataclass(frozen=True)
class Installation:
    """A Kubeflow and a KServe, and the way to them. What is not known is empty.

    Attributes:
        kubeconfig: The kubeconfig of the cluster that has KServe.
        host: The address of Kubeflow Pipelines.
        store: A folder in object storage that both this machine and the cluster read and write.
        ingress: The address of the cluster's ingress, as seen from this machine.
        image_lock: The file that names the suite's images by digest.
        namespace: The namespace of the endpoints.
        resources: A resources file with the steps' credentials for the store.
        account: The service account that runs use; empty: the installation's own.
        reader: The service account that the endpoints' pods read the store with.
        profile, token_file, cookie_file, ca_file: As `Connection` takes them.
    """

    kubeconfig: str = ""
    host: str = ""
    store: str = ""
    ingress: str = ""
    image_lock: str = ""
    namespace: str = "kfp-suite-test"
    resources: str = ""
    account: str = ""
    reader: str = ""
    profile: str = ""
    token_file: str = ""
    cookie_file: str = ""
    ca_file: str = ""

    @classmethod
    def from_environment(cls) -> Installation:
        """The installation that the environment names.

        Returns:
            It, with every file by its absolute path.
        """

        def read(variable: str, default: str = "") -> str:
            return os.environ.get(f"KFP_SUITE_{variable}") or default

        def file(variable: str) -> str:
            found = read(variable)
            return str(Path(found).expanduser().resolve()) if found else ""

        return cls(
            kubeconfig=file("KUBECONFIG"),
            host=read("KFP_HOST"),
            store=read("STORE").rstrip("/"),
            ingress=read("INGRESS").rstrip("/"),
            image_lock=file("IMAGE_LOCK"),
            namespace=read("NAMESPACE", cls.namespace),
            resources=file("KFP_RESOURCES"),
            account=read("KFP_ACCOUNT"),
            reader=read("READER"),
            profile=read("KFP_NAMESPACE"),
            token_file=file("KFP_TOKEN_FILE"),
            cookie_file=file("KFP_COOKIE_FILE"),
            ca_file=file("KFP_CA_FILE"),
        )

    @property
    def connection(self) -> Connection:
        """The way to Kubeflow Pipelines."""
        return Connection(
            host=self.host,
            namespace=self.profile,
            token_file=self.token_file,
            cookie_file=self.cookie_file,
            ca_file=self.ca_file,
        )


def require(*names: str) -> Installation:
    """The installation, if the environment names these attributes of it.

    A test that needs another is skipped, with the line that would run it.
    """
    found = Installation.from_environment()
    missing = [name for name in names if not getattr(found, name)]
    if missing:
        words = " ".join(f"{VARIABLES[name][0]}=…" for name in names)
        pytest.skip(f"no {' or '.join(missing)}: make test-cluster {words}")
    return found
