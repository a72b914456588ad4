"""Every command of the documents, run as a reader would: in their order, in one folder.

The flights are the penguins here, buckets are folders, and Kubeflow is the double. What is run
by other tests, or by nobody without a registry, says so in `ELSEWHERE`.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kfp_suite.contracts.errors import MissingError
from kfp_suite.image_builder.client import docker_client
from kfp_suite.image_builder.families import FAMILIES, image_name
from kfp_suite.image_builder.image_lock import write_lock
from kfp_suite.runtimes.local import free_port
from kfp_suite.testing.kfp_backend.backend import Behaviour, KfpDouble, running
from tests.contract.documented import ROOT, documents, lines, yaml_blocks

SECONDS = 240
START_SECONDS = 150.0
ELSEWHERE = {
    r"make (dev|demo|test|bench|help)": "CI calls demo and test, the others what is tested",
    r"\. \.venv/bin/activate": "of the shell",
    r"export ": "of the shell",
    r"eval .*_KFP_SUITE_COMPLETE": "tests/unit/cli/test_completion.py",
    r"pip install": "CI installs from the locked lists",
    r"kfp-suite images (build|fetch)": "tests/container; a registry cannot be had",
    r".*--runner docker": "tests/container",
    r".*--image-lock image-lock\.json -o": "tests/container/test_registry.py",
    r"kfp-suite run train_and_deploy_tensorflow": "tests/local/test_train_and_deploy_tensorflow.py",
    r"kfp-suite run progressive_delivery": "tests/serving/test_rollout.py, tests/cluster",
    r"kfp-suite run backfill": "tests/local/test_recurring.py",
    r"kfp-suite serve dog\.yaml": "tests/unit/gateway/test_graph.py",
    r"curl localhost:8080/graphs/": "tests/unit/gateway/test_graph.py",
    r"kubectl ": "of a cluster: tests/cluster",
    r"kfp-suite runs cluster trials": "tests/unit/kubeflow/test_ending.py",
}
"""Commands that are not run here: a pattern, and where they are."""

NEEDS_DOCKER = re.compile(r"kfp-suite images list")

INSTEAD = {
    "--params flights": "--params penguins",
    "flight-delays/7": "penguin-species/1",
    "flight-delays": "penguin-species",
    "roc_auc": "accuracy",
    "gs://bucket/models": "kfp-suite-runs/models",
}
SHORTER = {
    "run tune": ("--param", "trials=2", "--no-serve"),
    "run train_and_deploy": ("--no-serve",),
}


class Reader:
    """Somebody who types what the documents say, in a folder with their files."""

    def __init__(self, folder: Path, kubeflow: str) -> None:
        self.folder = folder
        self._port = free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "KF_PIPELINES_ENDPOINT": kubeflow,
            "KFP_SUITE_IMAGE_LOCK": "image-lock.json",
        }

    def types(self, line: str) -> None:
        words = self._words(line)
        if words[:2] == ["kfp-suite", "serve"]:
            self._serve(words)
            return
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"

    def _words(self, line: str) -> list[str]:
        words = [word for word in shlex.split(line, comments=True) if word != "&"]
        if ">" in words:
            words = words[: words.index(">")]
        to_cluster = words[1:2] in (["submit"], ["schedule"])
        text = "\0".join(words)
        for said, meant in INSTEAD.items():
            if not (to_cluster and said.startswith("gs://")):
                text = text.replace(said.replace(" ", "\0"), meant.replace(" ", "\0"))
        words = text.replace("127.0.0.1:8080", f"127.0.0.1:{self._port}").split("\0")
        if to_cluster and "my-data.yaml" in words:
            words[words.index("my-data.yaml")] = "cluster-data.yaml"
        more = next((m for k, m in SHORTER.items() if " ".join(words[1:]).startswith(k)), ())
        return [*words, *more]

    def _serve(self, words: list[str]) -> None:
        """In the background; until the next one, or the end."""
        self.stops()
        self._server = subprocess.Popen(
            [*words, "--port", str(self._port)],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                ready = f"http://127.0.0.1:{self._port}/v2/health/ready"
                urllib.request.urlopen(ready, timeout=2).close()
                return
            except (OSError, urllib.error.HTTPError):
                assert self._server.poll() is None, words
                assert time.monotonic() < deadline, words
                time.sleep(0.2)

    def stops(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            assert self._server.wait(30) == 0
            self._server = None


def files_of(folder: Path) -> None:
    """The files that the documents have their reader write."""
    readme, kubeflow = ROOT / "README.md", ROOT / "docs" / "kubeflow.md"
    data = next(text for text in yaml_blocks(readme) if "model_name:" in text)
    (folder / "my-data.yaml").write_text(data)
    on_a_cluster = {
        **yaml.safe_load(data),
        "store": "gs://bucket/models",
        "sources": {"penguins": "gs://bucket/penguins.csv"},
    }
    (folder / "cluster-data.yaml").write_text(yaml.safe_dump(on_a_cluster))
    resources = next(text for text in yaml_blocks(kubeflow) if text.startswith("defaults:"))
    (folder / "resources.yaml").write_text(resources)
    (folder / "requirements.txt").write_text("")
    digest = f"sha256:{'5' * 64}"
    pushed = {name: f"registry.example.com/{image_name(name)}@{digest}" for name in FAMILIES}
    write_lock(folder / "image-lock.json", pushed)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reader")
    files_of(folder)
    double = KfpDouble(live=True)
    double.behave(Behaviour(seconds=0.1))
    with running(double) as kubeflow:
        reader = Reader(folder, kubeflow.url)
        yield reader
        reader.stops()


def typed() -> Iterator[tuple[str, str]]:
    """Each line once, where it stands first."""
    seen = set()
    for document in documents():
        for line in lines(document):
            if line not in seen and not any(re.match(pattern, line) for pattern in ELSEWHERE):
                seen.add(line)
                yield str(document.relative_to(ROOT)), line


def test_what_is_run_elsewhere_is_in_the_documents() -> None:
    said = [line for document in documents() for line in lines(document)]
    for pattern, where in ELSEWHERE.items():
        assert any(re.match(pattern, line) for line in said), pattern
        for path in re.findall(r"tests/[\w/.]+", where):
            assert (ROOT / path).exists(), path


@pytest.mark.serving
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize(("document", "line"), list(typed()))
def test_it_does_what_the_document_says(reader: Reader, document: str, line: str) -> None:
    if NEEDS_DOCKER.match(line):
        try:
            docker_client()
        except MissingError as error:
            pytest.skip(f"{error}; to run this: {line}")
    reader.types(line)
