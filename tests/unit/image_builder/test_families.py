"""Every component is said to be in the family whose image it runs in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kfp_suite.image_builder.families import FAMILIES

ROOT = Path(__file__).resolve().parents[3]
_COMPONENT = re.compile(
    r'@dsl\.component\(\s*base_image="kfp-suite-python-(\w+):[^"]*"[^@]*?\ndef (\w+)\(', re.S
)
# Of a family whose line says it in other words.
_IN_OTHER_WORDS = {
    "evaluate_tensorflow": "evaluate",
    "infra_validate_tensorflow": "infra_validate",
    "plan_trials": "tune",
    "best_trial": "tune",
}
COMPONENTS = [
    pair
    for file in sorted((ROOT / "components").rglob("component.py"))
    for pair in _COMPONENT.findall(file.read_text())
]


def test_the_components_are_found() -> None:
    assert len(COMPONENTS) >= 20
    assert {family for family, _ in COMPONENTS} == set(FAMILIES)


@pytest.mark.parametrize(("family", "component"), COMPONENTS)
def test_a_family_names_its_components(family: str, component: str) -> None:
    named = _IN_OTHER_WORDS.get(component, component)
    row = next(
        line
        for line in (ROOT / "README.md").read_text().splitlines()
        if line.startswith(f"| `{family}` |")
    )
    for text in (FAMILIES[family], row):
        assert re.search(rf"\b{named}\b", text), (component, text)
