"""What computed an artifact."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kfp_suite.components.contracts.environment import available_cpus


@pytest.mark.parametrize(
    ("limit", "cpus"),
    [
        ("max 100000", len(os.sched_getaffinity(0))),
        ("100000 100000", 1),
        ("25000 100000", 1),
        ("6400000 100000", len(os.sched_getaffinity(0))),
        ("what?", len(os.sched_getaffinity(0))),
    ],
)
def test_a_container_uses_no_more_cpus_than_its_limit(
    tmp_path: Path, limit: str, cpus: int
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(f"{limit}\n")
    assert available_cpus(file) == cpus
    assert available_cpus(tmp_path / "none") == len(os.sched_getaffinity(0))
