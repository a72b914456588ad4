"""validate and transform against TensorFlow Data Validation and Transform, all in one image.

Both sides run in the container `tfx`, without a network, on more than a million rows: ours
on Parquet shards, TFDV on the CSV file that it reads itself, on the shards by way of our
component, and on a pandas frame in memory; TFT on the shards. All on Beam's local runner.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from kfp_suite.image_builder.families import tag
from tests.benchmarks.child import Cost
from tests.benchmarks.flights import flights_csv, raw_dataset
from tests.benchmarks.table import Row

TIMES = 8
_ROWS = TIMES * 336_776

_TIMED = """
import json, resource, sys, time, warnings, os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
warnings.simplefilter("ignore")
from pathlib import Path
data, out = Path("/data"), Path("/tmp/out")
{imports}
started = time.monotonic()
{work}
seconds = time.monotonic() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print("\\n" + json.dumps([seconds, peak]))
"""

_VALIDATE = (
    """
from kfp_suite.components.validate.parameters import ValidateOutputs, ValidateParameters
outputs = ValidateOutputs(out / "s", out / "schema", out / "a", out / "report.html")
from kfp_suite.components.validate.executor import validate
""",
    "validate(ValidateParameters(), data, outputs)",
)
_TFDV = (
    """
from kfp_suite.components.validate.parameters import ValidateOutputs, ValidateParameters
outputs = ValidateOutputs(out / "s", out / "schema", out / "a", out / "report.html")
from kfp_suite.beam.pipelines import BeamParameters
from kfp_suite.components.validate.tfdv.executor import validate_tfdv
""",
    "validate_tfdv(ValidateParameters(), BeamParameters(), data, outputs)",
)
_TFDV_PANDAS = (
    """
import pandas, tensorflow_data_validation as tfdv
""",
    """
for split in ("train", "eval", "test"):
    frame = pandas.concat(pandas.read_parquet(f) for f in sorted((data / split).glob("*.parquet")))
    found = tfdv.generate_statistics_from_dataframe(frame)
    if split == "train":
        schema = tfdv.infer_schema(found)
    tfdv.validate_statistics(found, schema)
""",
)
_TFDV_CSV = (
    "import tensorflow_data_validation as tfdv",
    """
found = tfdv.generate_statistics_from_csv("/csv/flights.csv")
tfdv.validate_statistics(found, tfdv.infer_schema(found))
""",
)
_FEATURES = """
NUMBERS = ["dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay",
           "flight", "air_time", "distance", "hour", "minute", "month"]
features = {"features": [
    {"columns": NUMBERS, "steps": [{"op": "impute", "with": "mean"}, "scale"]},
    {"column": "distance", "name": "d", "op": "bucketize", "quantiles": 10, "output": "one_hot"},
    {"columns": ["carrier", "origin", "dest", "tailnum"], "op": "one_hot", "max_categories": 64,
     "oov": 1, "missing": "indicator"},
]}
"""
_TRANSFORM = (
    _FEATURES
    + """
from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.components.transform.executor import TransformParameters, transform
import pyarrow
""",
    """
fitted = transform(TransformParameters(features=features), data, out, Path("/tmp/report.html"))
for batch in read_dataset(data).batches("train"):
    fitted.transform(pyarrow.Table.from_batches([batch]))
""",
)
# The same features in TFT's own words, written as a TFX user writes them, and applied to the
# rows that they were learned from.
_TFT = (
    _FEATURES
    + """
import apache_beam as beam, tensorflow as tf, tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from kfp_suite.beam.pipelines import BeamParameters, pipeline_options
from kfp_suite.beam.reading import read_split
from kfp_suite.contracts.dataset import read_dataset
from kfp_suite.contracts.columns import Column
from kfp_suite.components.transform.tft.learning import adapter, raw_batches
dataset = read_dataset(data)
TEXTS = ["carrier", "origin", "dest", "tailnum"]
kinds = {c.name: c for c in dataset.manifest.columns}
columns = [kinds[name] for name in dict.fromkeys([*NUMBERS, *TEXTS])]

def preprocessing_fn(inputs):
    outputs = {}
    for name in NUMBERS:
        x = tf.cast(inputs[name], tf.float32)
        mean = tft.mean(tf.boolean_mask(x, ~tf.math.is_nan(x)))
        outputs[name] = tft.scale_to_z_score(tf.where(tf.math.is_nan(x), mean, x))
    bucket = tft.bucketize(tf.cast(inputs["distance"], tf.float32), 10)
    outputs["d"] = tf.one_hot(bucket, 10)
    for name in TEXTS:
        index = tft.compute_and_apply_vocabulary(inputs[name], top_k=64, num_oov_buckets=1)
        outputs[name] = tf.one_hot(index, 65)
    return outputs
""",
    """
with beam.Pipeline(options=pipeline_options(BeamParameters())) as p, \\
        tft_beam.Context(temp_dir="/tmp/tft", force_tf_compat_v1=False):
    names = [c.name for c in columns]
    batches = p | read_split(dataset, "train", names, raw_batches(columns))
    config = adapter(columns)
    function = (batches, config) | tft_beam.AnalyzeDataset(preprocessing_fn)
    rows, _ = ((batches, config), function) | tft_beam.TransformDataset(output_record_batches=True)
    rows | beam.Map(lambda pair: pair[0].num_rows) | beam.CombineGlobally(sum)
""",
)


def run() -> list[Row]:
    """Seconds and peak memory of ours against TFX's; nothing where there is no image."""
    import docker

    try:
        client = docker.from_env()
        client.images.get(tag("tfx"))
    except docker.errors.DockerException as error:
        return [Row("validate and transform against TFX", "not run", str(error), 0.0, "-")]
    with tempfile.TemporaryDirectory() as scratch:
        data = raw_dataset(Path(scratch), TIMES)
        csv = Path(scratch) / "csv"
        csv.mkdir()
        flights_csv(Path(scratch), TIMES).rename(csv / "flights.csv")
        ours, from_csv, beam, pandas, transform, tft = (
            _cost(client, data, csv, *script)
            for script in (_VALIDATE, _TFDV_CSV, _TFDV, _TFDV_PANDAS, _TRANSFORM, _TFT)
        )
    rows = f"{_ROWS / 1e6:.1f} million rows"
    return [
        Row(f"validate, {rows} x 19", str(ours), f"TFDV's own reading of CSV on Beam: {from_csv}",
            ours.seconds / from_csv.seconds, "at most 0.02"),
        Row(f"validate, {rows} x 19", str(ours), f"validate_tfdv, on Beam: {beam}",
            ours.seconds / beam.seconds, "-"),
        Row(f"validate, {rows} x 19", str(ours), f"TFDV on a pandas frame: {pandas}",
            ours.seconds / pandas.seconds, "at most 0.2"),
        Row("validate: peak memory", str(ours), f"TFDV on a pandas frame: {pandas}",
            ours.peak_bytes / pandas.peak_bytes, "at most 0.2"),
        Row(f"transform, fit and apply, {rows}", str(transform), f"TFT on Beam: {tft}",
            transform.seconds / tft.seconds, "at most 0.05"),
    ]  # fmt: skip


def _cost(client: Any, data: Path, csv: Path, imports: str, work: str) -> Cost:
    said = client.containers.run(
        tag("tfx"),
        ["python3", "-c", _TIMED.format(imports=imports, work=work)],
        volumes={
            str(data): {"bind": "/data", "mode": "ro"},
            str(csv): {"bind": "/csv", "mode": "ro"},
        },
        network_mode="none",
        read_only=True,
        tmpfs={"/tmp": "mode=1777,exec,size=8g"},
        remove=True,
    )
    seconds, peak = json.loads(said.decode().strip().splitlines()[-1])
    return Cost(seconds, peak)
