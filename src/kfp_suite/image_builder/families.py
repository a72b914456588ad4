"""The families of images: which steps run in which, and what each installs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version

from kfp_suite.contracts.errors import MissingError, did_you_mean

FAMILIES: Mapping[str, str] = {
    "sklearn": "resolve, changed, ingest, validate, transform, train, tune, evaluate",
    "tensorflow": "train_tensorflow, evaluate and infra_validate of its models, and their server",
    "tfx": "transform_tft, validate_tfdv, evaluate_tfma, on Apache Beam",
    "deploy": "windows, push, deploy, deploy_graph, rollout, record",
    "serving": "infra_validate, and the server of scikit-learn models",
}
"""By name, which is also the extra of the distribution that it installs."""

PREFIX = "kfp-suite-python-"


def image_name(family: str) -> str:
    """The name, without tag, of a family's image."""
    return f"{PREFIX}{family}"


def tag(family: str, registry: str = "") -> str:
    """The image that a family's components name; of a registry, as it is pushed there."""
    name = f"{image_name(family)}:{version('kfp-suite')}"
    return f"{registry.rstrip('/')}/{name}" if registry else name


def family_of(image: str) -> str | None:
    """The family whose image this is, None for another's."""
    name = image.rpartition("/")[2].partition("@")[0].partition(":")[0]
    family = name.removeprefix(PREFIX)
    return family if name.startswith(PREFIX) and family in FAMILIES else None


def check_families(names: Iterable[str]) -> tuple[str, ...]:
    """These families, or all where none is named.

    Raises:
        MissingError: an unknown one, with the near miss.
    """
    chosen = tuple(names) or tuple(FAMILIES)
    for name in chosen:
        if name not in FAMILIES:
            raise MissingError(
                f"unknown family '{name}'", where="images", fix=did_you_mean(name, FAMILIES)
            )
    return chosen
