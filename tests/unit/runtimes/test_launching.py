"""Where the environment of a server is looked into before it is started."""

from __future__ import annotations

from pathlib import Path

from kfp_suite.runtimes.launching import _site


def test_an_environment_may_lie_below_a_path_with_a_space(tmp_path: Path) -> None:
    home = tmp_path / "an environment"
    python = home / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho '{home}/lib/site-packages'\necho '/opt/a b/lib'\n")
    python.chmod(0o755)
    assert _site(home) == (home / "lib" / "site-packages", "/opt/a b/lib")
