"""The image of our server: said by the settings, or by the image lock of the pipeline."""

from __future__ import annotations

import os

from kfp_suite.components.contracts.errors import ParameterError

IMAGE_VARIABLES = {
    "serving": "KFP_SUITE_SERVING_IMAGE",
    "tensorflow": "KFP_SUITE_TENSORFLOW_IMAGE",
}
"""By family; `compile --image-lock` sets them in the steps that make endpoints."""


def default_image(framework: str) -> str:
    """The image with the very libraries that trained a model of `framework`."""
    family = _family(framework)
    return os.environ.get(IMAGE_VARIABLES[family]) or f"kfp-suite-python-{family}:0.1.0"


def check_pullable(framework: str, chosen: str) -> None:
    """Raises ParameterError where nobody says which registry a cluster pulls the image from.

    Args:
        framework: Of the model.
        chosen: The image that the settings name: one without a registry, too, for nodes that
            have it already.
    """
    family = _family(framework)
    if chosen or os.environ.get(IMAGE_VARIABLES[family]):
        return
    raise ParameterError(
        "no registry to pull the model server's image from",
        where="settings.image",
        got=default_image(framework),
        expected="registry/name@sha256:…",
        fix=f"kfp-suite images build {family} --push --registry REGISTRY --lock LOCK, and compile "
        f"with --image-lock LOCK; or set settings.image, or {IMAGE_VARIABLES[family]}",
    )


def _family(framework: str) -> str:
    return "tensorflow" if framework == "tensorflow" else "serving"
