"""The InferenceService of a published version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kfp_suite.components.contracts.errors import ContractError, store_error

MODEL = "kfp-suite.io/model"
VERSION = "kfp-suite.io/version"
DIGEST = "kfp-suite.io/digest"
MANIFEST_DIGEST = "kfp-suite.io/manifest-digest"
STORE = "kfp-suite.io/store"
SERVER_IMAGE = "kfp-suite-python-serving:0.1.0"
MOUNT = "/mnt/models"
_API_VERSION = "serving.kserve.io/v1beta1"


@dataclass(frozen=True)
class Served:
    """What an InferenceService serves, as its annotations say."""

    name: str
    model: str
    version: int
    digest: str
    manifest_digest: str
    store: str
    model_uri: str


def inference_service(
    served: Served, *, namespace: str, image: str = SERVER_IMAGE
) -> dict[str, Any]:
    """The InferenceService manifest, as a mapping.

    The container is non-root with a read-only root; KServe's storage initializer mounts
    the Model artifact at `/mnt/models`.
    """
    return {
        "apiVersion": _API_VERSION,
        "kind": "InferenceService",
        "metadata": {
            "name": served.name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "kfp-suite"},
            "annotations": {
                MODEL: served.model,
                VERSION: str(served.version),
                DIGEST: served.digest,
                MANIFEST_DIGEST: served.manifest_digest,
                STORE: served.store,
            },
        },
        "spec": {
            "predictor": {
                "containers": [
                    {
                        "name": "kserve-container",
                        "image": image,
                        "args": [
                            f"--model_name={served.name}",
                            f"--model_dir={MOUNT}",
                            f"--model_version={served.version}",
                        ],
                        "env": [{"name": "STORAGE_URI", "value": served.model_uri}],
                        "resources": {
                            "requests": {"cpu": "1", "memory": "1Gi"},
                            "limits": {"cpu": "1", "memory": "2Gi"},
                        },
                        "securityContext": {
                            "runAsNonRoot": True,
                            "readOnlyRootFilesystem": True,
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }
                ]
            }
        },
    }


def to_yaml(manifest: Mapping[str, Any]) -> str:
    """The manifest as `kubectl apply -f` takes it."""
    text: str = yaml.safe_dump(dict(manifest), sort_keys=False)
    return text


def read_served(path: Path) -> Served:
    """What the InferenceService manifest in a file serves.

    Raises:
        MissingError: there is no such file.
        ContractError: it is not an InferenceService of a published version.
    """
    try:
        manifest = yaml.safe_load(path.read_text())
    except OSError as error:
        raise store_error(error, path) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ContractError("not YAML", where=path, got=str(error)) from error
    try:
        if manifest["kind"] != "InferenceService":
            raise KeyError("kind: InferenceService")
        annotations = manifest["metadata"]["annotations"]
        container = manifest["spec"]["predictor"]["containers"][0]
        uri = next(e["value"] for e in container["env"] if e["name"] == "STORAGE_URI")
        return Served(
            name=manifest["metadata"]["name"],
            model=annotations[MODEL],
            version=int(annotations[VERSION]),
            digest=annotations[DIGEST],
            manifest_digest=annotations[MANIFEST_DIGEST],
            store=annotations[STORE],
            model_uri=uri,
        )
    except (KeyError, TypeError, IndexError, StopIteration, ValueError) as error:
        raise ContractError(
            "not an InferenceService of a published version",
            where=path,
            got=f"{type(error).__name__}: {error}",
            expected="what the deploy step writes",
        ) from error
