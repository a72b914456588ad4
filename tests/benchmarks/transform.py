"""Features fitted and applied, against scikit-learn's own transformers.

Both impute and scale 12 numbers, put one into 10 quantile buckets and one-hot encode four
texts, fit on the train split of the Parquet shards and apply it to the same rows, 100,000
at a time. scikit-learn fits on a pandas frame of the whole split, and is compared on a
quarter of the rows, since more do not fit; ours streams.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.benchmarks.child import cost
from tests.benchmarks.flights import raw_dataset
from tests.benchmarks.table import Row

TIMES = 20
_FEWER = 5

_COLUMNS = """
ROWS = 100_000
NUMBERS = ["dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay",
           "flight", "air_time", "distance", "hour", "minute", "month"]
TEXTS = ["carrier", "origin", "dest", "tailnum"]
"""

_OURS = (
    _COLUMNS
    + """
from pathlib import Path
from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.components.transform.executor import TransformParameters, transform
features = [
    {"columns": NUMBERS, "steps": [{"op": "impute", "with": "mean"}, "scale"]},
    {"column": "distance", "op": "bucketize", "quantiles": 10, "output": "one_hot"},
    {"columns": TEXTS, "op": "one_hot", "max_categories": 64, "oov": 1, "missing": "indicator"},
]
data, out = Path(sys.argv[1]), Path(sys.argv[2])
fitted = transform(TransformParameters(features={"features": features}), data, out,
                   Path(sys.argv[2] + ".html"))
import pyarrow as pa
for batch in read_dataset(data).batches("train", rows=ROWS):
    fitted.transform(pa.Table.from_batches([batch]))
"""
)

_SKLEARN = (
    _COLUMNS
    + """
import glob
import pyarrow as pa, pyarrow.parquet as pq
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler
shards = sorted(glob.glob(sys.argv[1] + "/train/*.parquet"))
frame = pa.concat_tables(pq.read_table(shard) for shard in shards).to_pandas()
frame[TEXTS] = frame[TEXTS].fillna("")
fitted = ColumnTransformer([
    ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
    ("buckets", KBinsDiscretizer(10, encode="onehot-dense", subsample=None,
                                 quantile_method="averaged_inverted_cdf"), ["distance"]),
    ("texts", OneHotEncoder(max_categories=64, handle_unknown="infrequent_if_exist",
                            sparse_output=False, dtype="f4"), TEXTS),
]).fit(frame)
for start in range(0, len(frame), ROWS):
    fitted.transform(frame.iloc[start : start + ROWS])
"""
)


def run() -> list[Row]:
    """Seconds against scikit-learn, and our peak memory at 20x against 5x."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        small, big = (raw_dataset(folder, times) for times in (_FEWER, TIMES))
        fewer = cost(_OURS, str(small), str(folder / "fewer"))
        ours = cost(_OURS, str(big), str(folder / "ours"))
        plain = cost(_SKLEARN, str(small))
    return [
        Row(
            f"transform, fit and apply, {_FEWER * 336_776:,} rows: seconds",
            str(fewer),
            f"scikit-learn: {plain}",
            fewer.seconds / plain.seconds,
            "at most 1",
        ),
        Row(
            f"transform: peak memory at {TIMES}x against {_FEWER}x",
            str(ours),
            str(fewer),
            ours.peak_bytes / fewer.peak_bytes,
            "flat",
        ),
    ]
