"""`docs/deploying.md` names every setting of an endpoint, with its default."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

from kfp_suite.kserve.images import IMAGE_VARIABLES
from kfp_suite.kserve.settings import EndpointSettings
from kfp_suite.kserve.storage import STORE_VARIABLE

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "deploying.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| `([^`]*)` \|", re.MULTILINE)


def test_every_setting_is_documented_with_its_default() -> None:
    documented = [(name, json.loads(default)) for name, default in ROW.findall(TEXT)]
    assert documented == list(json.loads(json.dumps(asdict(EndpointSettings()))).items())


def test_every_variable_is_named() -> None:
    for name in (*IMAGE_VARIABLES.values(), STORE_VARIABLE):
        assert f"`{name}" in TEXT
