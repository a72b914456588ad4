"""A lock names every step's image, and tells steps that make endpoints the servers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_suite.contracts.environment import IMAGE_DIGEST_VARIABLE, code_digest
from kfp_suite.contracts.errors import ContractError, MissingError
from kfp_suite.image_builder.families import FAMILIES
from kfp_suite.image_builder.image_lock import ImageLock, apply_lock, read_lock, write_lock
from kfp_suite.kserve.images import IMAGE_VARIABLES, default_image

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
LOCK = ImageLock({one: f"r.example.com/kfp-suite-python-{one}@sha256:{one}" for one in FAMILIES})


def locked(pipeline: str, lock: ImageLock = LOCK) -> dict[str, dict[str, str]]:
    """By executor, its environment."""
    (spec, *_) = yaml.safe_load_all((GOLDEN / f"{pipeline}.yaml").read_text())
    apply_lock(spec, lock, Path("lock.json"))
    found: dict[str, Any] = spec["deploymentSpec"]["executors"]
    containers = {name: one["container"] for name, one in found.items() if "container" in one}
    assert all("@sha256:" in one["image"] for one in containers.values())
    return {
        name: {variable["name"]: variable["value"] for variable in one["env"]}
        for name, one in containers.items()
    }


@pytest.mark.parametrize(
    ("pipeline", "makers"),
    [
        ("train_and_deploy", {"exec-deploy", "exec-infra-validate"}),
        ("train_and_deploy_tensorflow", {"exec-deploy", "exec-infra-validate"}),
        ("progressive_delivery", {"exec-rollout"}),
    ],
)
def test_who_makes_endpoints_is_told_the_servers_images(pipeline: str, makers: set[str]) -> None:
    found = locked(pipeline)
    told = {name for name, env in found.items() if set(IMAGE_VARIABLES.values()) & set(env)}
    assert told == makers
    for name in makers:
        for family, variable in IMAGE_VARIABLES.items():
            assert found[name][variable] == LOCK.images[family]
    assert all(IMAGE_DIGEST_VARIABLE in env for env in found.values())


def test_what_is_not_in_the_lock_is_not_told() -> None:
    found = locked("progressive_delivery", ImageLock({"deploy": LOCK.images["deploy"]}))
    assert not set(IMAGE_VARIABLES.values()) & set(found["exec-rollout"])
    with pytest.raises(MissingError, match="no image of family 'deploy' in the lock"):
        locked("progressive_delivery", ImageLock())


def test_what_is_told_is_what_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in locked("train_and_deploy")["exec-deploy"].items():
        monkeypatch.setenv(name, value)
    assert default_image("sklearn") == LOCK.images["serving"]
    assert default_image("xgboost") == LOCK.images["serving"]
    assert default_image("tensorflow") == LOCK.images["tensorflow"]


def test_an_image_of_other_code_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "image-lock.json"
    write_lock(file, LOCK.images)
    locked("progressive_delivery", read_lock(file))
    file.write_text(file.read_text().replace(code_digest(), "sha256:before"))
    with pytest.raises(ContractError, match="'deploy' was built of other code than this kfp-suite"):
        locked("progressive_delivery", read_lock(file))
    write_lock(file, {"deploy": LOCK.images["deploy"]})  # the others stay of other code
    locked("progressive_delivery", read_lock(file))
    with pytest.raises(ContractError, match="images build sklearn --push"):
        locked("train_and_deploy", read_lock(file))
