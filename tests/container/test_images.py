"""What an image is, whichever family: small, locked, without a way in; and lists of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.image_builder.bases import Bases
from kfp_suite.image_builder.build import BuildOptions, build
from kfp_suite.image_builder.client import build_image, docker_client
from kfp_suite.image_builder.families import FAMILIES, tag
from tests.container.conftest import SOURCE, Image, Inside, kfp_suite

# What each family is for.
WORK = {
    "sklearn": "import kfp_suite.components.ingest.executor, kfp_suite.components.train.executor,"
    " kfp_suite.components.validate.executor, kfp_suite.components.evaluate.executor,"
    " kfp_suite.components.transform.executor, kfp_suite.components.resolve.executor",
    "tensorflow": "import kfp_suite.components.train.keras.executor,"
    " kfp_suite.components.evaluate.executor, kfp_suite.server.serving",
    "tfx": "import kfp_suite.components.transform.tft.executor,"
    " kfp_suite.components.validate.tfdv.executor, kfp_suite.components.evaluate.tfma.executor",
    "deploy": "import kfp_suite.components.push.executor, kfp_suite.components.deploy.executor,"
    " kfp_suite.components.record.executor, kfp_suite.kserve.cluster,"
    " google.cloud.storage, boto3",
    "serving": "import kfp_suite.server.serving",
}
MAX_BYTES = {"sklearn": 900e6, "tensorflow": 1.6e9, "tfx": 2.15e9, "deploy": 250e6,
              "serving": 1e9}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_it_does_its_work_as_nobody_on_a_read_only_root(
    client: Any, image: Image, inside: Inside, family: str
) -> None:
    name = image(family)
    found = client.images.get(name)
    assert found.attrs["Config"]["User"] == "65532:65532"
    assert found.attrs["Size"] < MAX_BYTES[family]
    assert inside(name, WORK[family]) == 0
    executor = "import os; os.environ['_KFP_RUNTIME'] = 'true'; import kfp.dsl.executor_main"
    assert inside(name, executor) == 0
    assert inside(name, "open('/opt/kfp-suite/x', 'w')") == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_it_holds_no_installer_no_compiler_and_no_secret(
    client: Any, image: Image, inside: Inside, family: str
) -> None:
    name = image(family)
    assert inside(name, "import pip") == 1
    code = "import shutil, sys; sys.exit(any(map(shutil.which, ['gcc', 'g++', 'cc', 'ld'])))"
    assert inside(name, code) == 0
    told = json.dumps([client.images.get(name).attrs["Config"], client.api.history(name)])
    for word in ("password", "token", "secret", "proxy", "index-url"):
        assert word not in told.lower(), word


@pytest.mark.parametrize("family", FAMILIES)
def test_its_bytecode_is_compiled_in(image: Image, inside: Inside, family: str) -> None:
    code = (
        "import kfp_suite.contracts.errors as e, pydantic, os, sys\n"
        "sys.exit(not all(os.path.exists(m.__cached__) for m in (e, pydantic)))"
    )
    assert inside(image(family), code) == 0


def test_labels_say_what_it_is(client: Any, image: Image) -> None:
    labels = client.images.get(image("deploy")).labels
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}title"] == "kfp-suite deploy"
    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    for name in ("version", "revision", "source", "base.name", "description"):
        assert labels[prefix + name]


def test_the_same_inputs_give_the_same_layers(
    client: Any, found_bases: Bases, tmp_path: Path
) -> None:
    layers = []
    options = BuildOptions(str(SOURCE), wheelhouse=tmp_path / "wheels")
    build("deploy", found_bases, options, tmp_path / "sbom")
    layers.append(client.images.get(tag("deploy")).attrs["RootFS"]["Layers"])
    # Again, from the wheelhouse alone.
    again = BuildOptions(str(SOURCE), wheelhouse=tmp_path / "wheels", offline=True, cache=False)
    build("deploy", found_bases, again, tmp_path / "sbom2")
    layers.append(client.images.get(tag("deploy")).attrs["RootFS"]["Layers"])
    assert layers[0] == layers[1]
    boms = [p.read_bytes() for p in sorted(tmp_path.glob("sbom*/*.cdx.json"))]
    assert boms[0] == boms[1]
    _check_bill(json.loads(boms[0]))


def _check_bill(bom: dict[str, Any]) -> None:
    purls = {component["purl"].partition("?")[0] for component in bom["components"]}
    names = {purl.partition("@")[0] for purl in purls}
    assert {"pkg:pypi/kubernetes", "pkg:pypi/kfp-suite", "pkg:deb/debian/libc6"} <= names
    assert "pkg:pypi/tensorflow-cpu" not in names
    wheels = [c for c in bom["components"] if c["purl"].startswith("pkg:pypi")]
    assert all(c["hashes"][0]["alg"] == "SHA-256" for c in wheels)


def test_users_bring_libraries(
    client: Any, found_bases: Bases, inside: Inside, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("humanize>=4\n")
    options = BuildOptions(str(SOURCE), registry="example.org/mine", extend=tmp_path / "mine.txt")
    build("deploy", found_bases, options)
    try:
        assert inside("example.org/mine/" + tag("deploy"), "import humanize, kubernetes") == 0
    finally:
        build("deploy", found_bases, BuildOptions(str(SOURCE)))
    assert inside(tag("deploy"), "import humanize") == 1


def test_images_are_listed(image: Image) -> None:
    built = image("deploy")
    found = {one["family"]: one for one in json.loads(kfp_suite("images", "list", "--json").stdout)}
    assert found.keys() == FAMILIES.keys()
    assert found["deploy"]["image"] == built
    assert found["deploy"]["digest"].startswith("sha256:")
    assert 10 < found["deploy"]["packages"] < found["tfx"]["packages"]
    table = kfp_suite("images", "list").stdout
    assert "push, deploy, deploy_graph, rollout, record" in table


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "sklaern"], "images: unknown family 'sklaern'; did you mean 'sklearn'"),
        (["build", "deploy", "--push"], "--push: where to?"),
        (["build", "deploy", "--offline"], "--offline: an offline build needs wheels"),
        (["build", "deploy", "--base", "x", "--offline", "--wheelhouse", "/nowhere"],
            "--wheelhouse: no wheelhouse; got /nowhere"),
        (["build", "deploy", "--base", "x", "--extend", "/nowhere"], "--extend: no such file"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(client: Any, arguments: list[str], said: str) -> None:
    done = kfp_suite("images", *arguments)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: {said}")


def test_a_build_says_what_its_step_printed(found_bases: Bases, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {found_bases.base}\nRUN echo one; echo two >&2; exit 3\n"
    )
    with pytest.raises(KfpSuiteError) as failed:
        build_image(docker_client(), ["--network", "none", "--no-cache", str(tmp_path)])
    assert set(str(failed.value.got).split(" / ")) == {"one", "two", "exit code 3"}


def test_a_base_that_cannot_be_had_is_said(found_bases: Bases) -> None:
    with pytest.raises(
        KfpSuiteError, match=r"deploy, on no\.such\.host/base: docker build failed; .+--base debian"
    ):
        build("deploy", Bases("no.such.host/base", "no.such.host/base"), BuildOptions(str(SOURCE)))
