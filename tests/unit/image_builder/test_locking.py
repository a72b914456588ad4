"""The lists of what is installed: one version of everything, but for listed exceptions."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from kfp_suite.contracts.errors import MissingError
from kfp_suite.image_builder.families import FAMILIES
from kfp_suite.image_builder.locking import EXCEPTIONS, read_pins
from kfp_suite.image_builder.wheels import REQUIREMENTS, SOURCES

ROOT = Path(__file__).parents[3]
DEV = ROOT / "requirements" / "dev.txt"


IMAGES_PYTHON = {"python_version": "3.13", "python_full_version": "3.13.0"}


def versions_in(*lists: Path) -> dict[str, str]:
    """The version of each distribution that the images' Python gets."""
    found = [Requirement(pin) for file in lists for pin in read_pins(file)]
    return {
        one.name: str(one.specifier)
        for one in found
        if one.marker is None or one.marker.evaluate(IMAGES_PYTHON)
    }


def of_family(family: str) -> dict[str, str]:
    folder = ROOT / "images" / family
    return versions_in(*(p for p in (folder / REQUIREMENTS, folder / SOURCES) if p.is_file()))


@pytest.mark.parametrize("family", FAMILIES)
def test_images_have_the_versions_that_the_tests_run_with(family: str) -> None:
    tested, found = versions_in(DEV), of_family(family)
    different = {name for name in found.keys() & tested.keys() if found[name] != tested[name]}
    assert different == EXCEPTIONS.get(family, {}).keys()


def test_images_have_one_version_of_what_the_tests_do_not_have() -> None:
    tested = versions_in(DEV)
    found: dict[str, set[str]] = {}
    for family in FAMILIES:
        for name, version in of_family(family).items():
            if name not in tested:
                found.setdefault(name, set()).add(version)
    assert {name: versions for name, versions in found.items() if len(versions) > 1} == {}


def test_a_laptop_has_the_versions_that_the_tests_run_with() -> None:
    laptop, tested = (
        {pin.partition(";")[0].strip() for pin in read_pins(file)}
        for file in (ROOT / "requirements" / "local.txt", DEV)
    )
    assert laptop - tested == set()


def test_a_list_that_is_not_there_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="make lock"):
        read_pins(tmp_path / "dev.txt")
