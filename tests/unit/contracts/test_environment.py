"""What computed an artifact."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kfp_suite.contracts.environment import available_cpus


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
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert available_cpus(tmp_path) == cpus
    assert available_cpus(tmp_path / "none") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cpus"), [("-1", len(os.sched_getaffinity(0))), ("100000", 1), ("30000", 1)]
)
def test_a_container_of_cgroup_version_1_too(tmp_path: Path, quota: str, cpus: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(tmp_path) == cpus
