"""The image of our server, from the settings or the pipeline's image lock; and the models that
KServe's own images cannot run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.runtimes.layout import imports_suite
from kfp_suite.runtimes.runtime import MLSERVER, SKLEARN, SUITE

IMAGE_VARIABLES = {
    "serving": "KFP_SUITE_SERVING_IMAGE",
    "tensorflow": "KFP_SUITE_TENSORFLOW_IMAGE",
}
"""By family; `compile --image-lock` sets them in the steps that make endpoints."""

STOCK_SKLEARN = {SKLEARN: "1.5.2", MLSERVER: "1.5.2"}
"""The scikit-learn of KServe's own images: kserve/sklearnserver 0.20, seldonio/mlserver 1.7.1."""


def default_image(framework: str) -> str:
    """The image with the very libraries that trained a model of `framework`."""
    family = _family(framework)
    return os.environ.get(IMAGE_VARIABLES[family]) or f"kfp-suite-python-{family}:0.1.0"


def check_pullable(framework: str, chosen: str) -> None:
    """Raises ParameterError if the image of our server names no registry.

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


def check_stock(runtime: str, options: Mapping[str, Any], sklearn: str, chosen: str) -> None:
    """Raises ParameterError if KServe's own image cannot run the model.

    Args:
        runtime: The server.
        options: The server's own.
        sklearn: The scikit-learn that trained the model; empty: none did.
        chosen: The image that the settings name, which is not ours to judge.
    """
    if chosen or runtime == SUITE:
        return
    if imports_suite(runtime, options):
        raise ParameterError(
            f"KServe's own image for runtime '{runtime}' has no kfp_suite, which the model imports",
            where="settings.image",
            got="none",
            expected="the server's image with kfp_suite in it",
            fix="make one: docs/runtimes.md, Images",
        )
    stock = STOCK_SKLEARN.get(runtime, "")
    if stock and _minor(sklearn) > _minor(stock):
        raise ParameterError(
            f"scikit-learn {sklearn} trained the model, and KServe's own image for runtime "
            f"'{runtime}' has {stock}, which cannot load it",
            where="settings.image",
            got="none",
            expected=f"the server's image with scikit-learn {sklearn}",
            fix=f"make one: docs/runtimes.md, Images; or use runtime '{SUITE}'",
        )


def _minor(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:2]]


def _family(framework: str) -> str:
    return "tensorflow" if framework == "tensorflow" else "serving"
