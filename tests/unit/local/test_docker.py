"""What local containers are made of."""

from types import SimpleNamespace

import pytest

from kfp_suite.contracts.errors import MissingError
from kfp_suite.local.docker import image_ids

docker = pytest.importorskip("docker")


def test_images_are_known_by_what_is_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that was built again has its old name."""
    ids = {"kfp-suite-python-deploy:0.1.0": "sha256:1"}

    def get(image: str) -> SimpleNamespace:
        if image not in ids:
            raise docker.errors.ImageNotFound(f"No such image: {image}")
        return SimpleNamespace(id=ids[image])

    client = SimpleNamespace(images=SimpleNamespace(get=get), close=lambda: None)
    monkeypatch.setattr(docker, "from_env", lambda: client)
    assert image_ids(list(ids)) == ["sha256:1"]
    ids["kfp-suite-python-deploy:0.1.0"] = "sha256:2"
    assert image_ids(list(ids)) == ["sha256:2"]
    with pytest.raises(MissingError, match="an image is gone"):
        image_ids(["other"])
