"""Validating long texts in bounded memory."""

import subprocess
import sys
from pathlib import Path

from kfp_suite.contracts.dataset import (
    DatasetManifest,
    Shard,
    Split,
    write_dataset_manifest,
)
from kfp_suite.contracts.tables import columns_of
from tests.unit.contracts.long_texts import write_texts

ROWS, LENGTH = 20_000, 3_000
MAX_MEGABYTES = 450
"""Beyond what the interpreter and its libraries take: 200 as measured; a row group's texts
at once, with arrays of their bytes, take more than 2,000."""

VALIDATE = """
import sys
from pathlib import Path
from kfp_suite.components.validate.executor import validate
from kfp_suite.components.validate.parameters import ValidateOutputs, ValidateParameters

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024

out = Path(sys.argv[2])
before = peak()
validate(
    ValidateParameters(options={"threads": 2}),
    Path(sys.argv[1]),
    ValidateOutputs(out / "statistics", out / "schema", out / "anomalies", out / "report"),
)
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    file = dataset / "train" / "part-00000.parquet"
    file.parent.mkdir(parents=True)
    schema = write_texts(file, ROWS, LENGTH)
    size = file.stat().st_size
    assert size > 60_000_000
    shard = Shard("train/part-00000.parquet", ROWS, size, "sha256:0")
    splits = {"train": Split(ROWS, size, "sha256:0", (shard,))}
    write_dataset_manifest(
        dataset, DatasetManifest("sha256:0", columns_of(schema), splits, sources={}, parameters={})
    )
    done = subprocess.run(  # a process of its own, whose peak is validate's
        [sys.executable, "-c", VALIDATE, str(dataset), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < MAX_MEGABYTES
