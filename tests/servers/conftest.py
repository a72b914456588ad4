"""The real servers, each in an environment of its own from its locked requirements.

They are made once, beside the environment that runs the tests.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.serving.conftest import KEEPS_MISSING, publish

_HERE = Path(__file__).parent
_PROGRAMS = {"mlserver": "mlserver", "triton": "python", "torchserve": "torchserve"}
_INSTALL_SECONDS = 180
_reasons: dict[str, str] = {}


def environment(name: str) -> Path:
    """The environment of a server; skips the test where it cannot be made."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the servers' requirements are locked for Python 3.11")
    if name == "torchserve" and shutil.which("java") is None:
        pytest.skip("no Java here: apt-get install openjdk-17-jre-headless")
    lock = _HERE / f"{name}.txt"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    home = Path(sys.prefix) / "servers" / f"{name}-{digest}"
    if not (home / "complete").exists():
        if name not in _reasons:
            _reasons[name] = _install(home, lock)
        if _reasons[name]:
            pytest.skip(f"{name} cannot be installed here: {_reasons[name]}")
        (home / "complete").touch()
    return home


def _install(home: Path, lock: Path) -> str:
    """Make an environment; why it cannot be made, or nothing. Once in a session: what takes too
    long for one test does for the next. It goes on where it was ended."""
    install = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    install += ["--no-deps", "--require-hashes", "-r", str(lock)]
    for command in ([sys.executable, "-m", "venv", str(home)], install):
        try:
            made = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS
            )
        except subprocess.TimeoutExpired:
            return f"not within {_INSTALL_SECONDS} s; run it first: {shlex.join(command)}"
        if made.returncode != 0:
            said = (made.stderr or made.stdout).strip().splitlines()
            return said[-1] if said else "no word"
    return ""


def use(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the suite find a server in its own environment."""
    program = environment(name) / "bin" / _PROGRAMS[name]
    monkeypatch.setenv(f"KFP_SUITE_{name.upper()}", str(program))
    if os.environ.get("KFP_SUITE_JAVA") is None and (java := shutil.which("java")):
        monkeypatch.setenv("KFP_SUITE_JAVA", java)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """Versions that every server can serve: two with the same inputs and other answers, and one
    whose estimator takes missing numbers."""
    folder = tmp_path_factory.mktemp("servers")
    found = ModelStore(FolderStore(folder / "store"))
    publish(found, "wings", folder / "1", "logistic_regression")
    publish(found, "wings", folder / "2", "random_forest")
    publish(found, "wings", folder / "3", "hist_gradient_boosting", features=KEEPS_MISSING)
    return found
