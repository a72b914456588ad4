"""Validating Dataset artifacts: outputs, verdicts and errors."""

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from kfp_suite.components.validate.executor import validate
from kfp_suite.components.validate.outputs import Verdict
from kfp_suite.components.validate.parameters import ValidateOutputs, ValidateParameters
from kfp_suite.contracts.errors import ContractError, MissingError, ParameterError


def table(rows: Any = 60, seed: Any = 0, **columns: Any) -> Any:
    generator = np.random.default_rng(seed)
    return pa.table(
        {
            "id": pa.array(range(seed * 1000, seed * 1000 + rows)),
            "carrier": pa.array(generator.choice(["AA", "UA", "WN"], rows).tolist()),
            "temp": pa.array(generator.normal(50, 10, rows)),
            "late": pa.array(generator.random(rows) < 0.3),
        }
        | {name: pa.array(values) for name, values in columns.items()}
    )


@pytest.fixture
def run(tmp_path: Any, make_dataset: Any) -> Any:
    """Validate tables; the verdict, and what `validation.json` says."""
    made = iter(range(100))

    def run(train: Any = None, *others: Any, shard_rows: Any = 1_000_000, **parameters: Any) -> Any:
        splits = {"train": table() if train is None else train}
        splits |= dict(zip(("eval", "test"), others, strict=False))
        number = next(made)
        dataset = make_dataset(splits, f"dataset-{number}", shard_rows)
        out = tmp_path / f"out-{number}"
        outputs = ValidateOutputs(
            out / "statistics", out / "schema", out / "anomalies", out / "report"
        )
        found = validate(ValidateParameters(**parameters), dataset, outputs)
        verdict = json.loads((outputs.anomalies / "validation.json").read_text())
        severities = [anomaly["severity"] for anomaly in verdict["anomalies"]]
        assert found == Verdict(
            valid=verdict["valid"],
            errors=severities.count("error"),
            warnings=severities.count("warning"),
            hints=len(verdict["hints"]),
        )
        return verdict, outputs

    return run


def found(verdict: Any) -> Any:
    return [(a["feature"], a["kind"], a["split"], a["severity"]) for a in verdict["anomalies"]]


def test_good_data_is_valid_and_leaves_every_output(run: Any) -> None:
    verdict, outputs = run(table(), table(seed=1), table(seed=2), label="late")
    assert verdict["valid"] is True
    assert verdict["reasons"] == []
    assert verdict["format_version"] == 1
    assert verdict["dataset"]["digest"].startswith("sha256:")
    statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(
        (outputs.statistics / "statistics.pb").read_bytes()
    )
    assert [(d.name, d.num_examples) for d in statistics.datasets] == [
        ("train", 60),
        ("eval", 60),
        ("test", 60),
    ]
    for one in statistics.datasets:
        alone = statistics_pb2.DatasetFeatureStatisticsList.FromString(
            (outputs.statistics / f"Split-{one.name}" / "FeatureStats.pb").read_bytes()
        )
        assert alone.datasets[:] == [one]
    summary = json.loads((outputs.statistics / "statistics.json").read_text())
    assert summary["splits"]["train"]["columns"]["carrier"]["distinct"] == 3
    schema = text_format.Parse((outputs.schema / "schema.pbtxt").read_text(), schema_pb2.Schema())
    anomalies = text_format.Parse(
        (outputs.anomalies / "anomalies.pbtxt").read_text(), anomalies_pb2.Anomalies()
    )
    assert anomalies.baseline == schema
    assert not anomalies.anomaly_info
    assert {len(info.skew_measurements) for info in anomalies.drift_skew_info} == {2}
    assert outputs.report.read_text().startswith("<!doctype html>")


def test_the_same_data_gives_the_same_bytes_for_any_threads_and_shards(run: Any) -> None:
    tables = [table(5_000), table(3_000, seed=1)]
    one, two = (
        run(*tables, shard_rows=shard_rows, options={"threads": threads})[1]
        for shard_rows, threads in ((5_000, 1), (300, 4))
    )
    for name in (
        "statistics/statistics.pb",
        "statistics/statistics.json",
        "schema/schema.pbtxt",
        "anomalies/anomalies.pbtxt",
        "report",
    ):
        assert (one.report.parent / name).read_bytes() == (two.report.parent / name).read_bytes()


def test_what_contradicts_an_inferred_schema_is_a_warning(run: Any) -> None:
    other = table(carrier=["XX"] * 6 + ["UA"] * 54)
    verdict, _ = run(table(), other)
    assert verdict["valid"] is True
    (anomaly,) = verdict["anomalies"]
    assert anomaly == {
        "feature": "carrier",
        "kind": "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
        "description": "10% of the values are not in the domain in eval.",
        "got": "'XX' in 6 rows",
        "expected": "one of 'AA', 'UA', 'WN'",
        "split": "eval",
        "severity": "warning",
    }
    strict, _ = run(table(), other, options={"warnings_are_errors": True})
    assert strict["reasons"] == [
        "carrier: 10% of the values are not in the domain in eval; "
        "got 'XX' in 6 rows, expected one of 'AA', 'UA', 'WN'"
    ]


@pytest.mark.parametrize(
    ("columns", "declared", "kind", "got", "expected"),
    [
        (
            {"temp": [1.0] * 60},
            {"temp": {"type": "int64"}},
            "UNEXPECTED_DATA_TYPE",
            "float64",
            "int64",
        ),
        (
            {"temp": [None] * 3 + [1.0] * 57},
            {"temp": {"not_null": True}},
            "FEATURE_TYPE_LOW_FRACTION_PRESENT",
            "3 of 60 rows missing",
            "no value missing",
        ),
        (
            {"temp": [None] * 30 + [1.0] * 30},
            {"temp": {"min_fraction": 0.9}},
            "FEATURE_TYPE_LOW_FRACTION_PRESENT",
            "30 of 60 rows missing",
            "a value in at least 90% of the rows",
        ),
        (
            {"temp": pa.nulls(60, pa.float64())},
            {"temp": {}},
            "FEATURE_TYPE_NOT_PRESENT",
            "60 rows, all missing",
            "values",
        ),
        (
            {"carrier": ["AA"] * 59 + ["ZZ"]},
            {"carrier": {"domain": ["AA", "UA"]}},
            "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
            "'ZZ' in 1 row",
            "one of 'AA', 'UA'",
        ),
        (
            {"carrier": ["AA"] * 50 + ["ZZ"] * 10},
            {"carrier": {"domain": ["AA"], "min_domain_mass": 0.9}},
            "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
            "'ZZ' in 10 rows",
            "one of 'AA', in at least 90% of the values",
        ),
        (
            {"id": [-1, -2, *range(58)]},
            {"id": {"domain": {"min": 0}}},
            "INT_TYPE_SMALL_INT",
            "min -2, 2 rows below",
            "at least 0",
        ),
        (
            {"temp": [0.5] * 59 + [9.5]},
            {"temp": {"domain": {"min": 0.1, "max": 1.0}}},
            "FLOAT_TYPE_BIG_FLOAT",
            "max 9.5, 1 row above",
            "0.1 to 1",
        ),
        (
            {"temp": [0.5] * 59 + [math.nan]},
            {"temp": {"allow_nan": False}},
            "FLOAT_TYPE_HAS_NAN",
            "1 of 60 rows NaN",
            "no NaN",
        ),
        (
            {"id": [1] * 2 + [7] * 3 + list(range(100, 155))},
            {"id": {"unique": True}},
            "CUSTOM_VALIDATION",
            "repeated values such as 1",
            "each value at most once, over all splits",
        ),
    ],
)
def test_what_contradicts_a_declared_schema_is_an_error(
    run: Any, columns: Any, declared: Any, kind: Any, got: Any, expected: Any
) -> None:
    verdict, _ = run(table(**columns), schema={"columns": declared})
    assert verdict["valid"] is False
    (anomaly,) = verdict["anomalies"]
    assert (anomaly["kind"], anomaly["got"], anomaly["expected"], anomaly["severity"]) == (
        kind,
        got,
        expected,
        "error",
    )


@pytest.mark.parametrize(
    ("columns", "declared"),
    [
        (
            {"carrier": ["AA"] * 57 + ["ZZ"] * 3},
            {"carrier": {"domain": ["AA"], "min_domain_mass": 0.9}},
        ),
        ({"temp": [0.1] * 60}, {"temp": {"domain": {"min": 0.1, "max": 0.1}}}),
        ({"temp": [math.inf] + [1.0] * 59}, {"temp": {"allow_infinite": True}}),
        ({"id": [None, None, *range(58)]}, {"id": {"unique": True}}),
        ({}, {"elsewhere": {"required": False}}),
    ],
)
def test_what_agrees_with_a_declared_schema_is_valid(run: Any, columns: Any, declared: Any) -> None:
    verdict, _ = run(table(**columns), schema={"columns": declared})
    assert verdict["anomalies"] == []


def test_a_value_in_two_splits_is_a_duplicate(run: Any) -> None:
    verdict, _ = run(table(), table(), schema={"columns": {"id": {"unique": True}}})
    assert verdict["reasons"] == [
        "id: 60 values occur more than once, in 120 rows; "
        "got repeated values such as 0, expected each value at most once, over all splits"
    ]


def test_missing_and_unexpected_columns(run: Any) -> None:
    declared = {"columns": {"carier": {}, "temp": {}}, "unexpected_columns": "warn"}
    verdict, _ = run(table(), schema=declared)
    assert verdict["reasons"] == [
        "carier: The column 'carier' is not in the data (did you mean 'carrier'?); "
        "got no such column, expected the column"
    ]
    assert [(a["feature"], a["kind"], a["severity"]) for a in verdict["anomalies"]] == [
        ("id", "SCHEMA_NEW_COLUMN", "warning"),
        ("carrier", "SCHEMA_NEW_COLUMN", "warning"),
        ("late", "SCHEMA_NEW_COLUMN", "warning"),
        ("carier", "SCHEMA_MISSING_COLUMN", "error"),
    ]


def test_too_few_rows(run: Any) -> None:
    verdict, _ = run(
        table(), table(5), table().slice(0, 0), schema={"min_rows": {"train": 50, "eval": 10}}
    )
    assert verdict["reasons"] == [
        "The split eval has too few rows; got 5 rows, expected at least 10 rows"
    ]
    assert found(verdict)[1] == ("", "DATASET_LOW_NUM_EXAMPLES", "test", "warning")


def test_an_empty_train_split_is_an_error(run: Any) -> None:
    verdict, _ = run(table().slice(0, 0))
    assert verdict["reasons"] == [
        "The split train has no rows; got 0 rows, expected at least 1 row"
    ]


def test_infinities_are_an_error(run: Any) -> None:
    verdict, _ = run(table(temp=[math.inf, -math.inf] + [1.0] * 58))
    assert verdict["reasons"] == [
        "temp: There are infinite values in train; "
        "got 2 of 60 rows infinite, expected finite values"
    ]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            pa.nulls(60, pa.bool_()),
            "late: The label has no value in any row of train; "
            "got 60 rows, all missing, expected a label in each row",
        ),
        (
            [True] * 60,
            "late: The label is constant in train: there is nothing to learn; "
            "got only true, expected two or more values",
        ),
    ],
)
def test_a_label_that_cannot_be_learned_is_a_verdict(run: Any, values: Any, reason: Any) -> None:
    verdict, _ = run(table(late=values), label="late")
    assert verdict["reasons"] == [reason]


def test_a_label_that_is_missing_here_and_there_is_a_warning(run: Any) -> None:
    verdict, _ = run(table(late=[None] + [True, False] * 29 + [True]), label="late")
    assert found(verdict) == [("late", "FEATURE_TYPE_LOW_FRACTION_PRESENT", "train", "warning")]


def test_distances_are_reported_and_limited_only_where_asked(run: Any) -> None:
    other = table(seed=1, carrier=["UA"] * 60)
    free, _ = run(table(), other)
    assert free["valid"] is True
    distances = {
        (d["feature"], d["against"]): d for d in free["distances"] if d["metric"] != "missing"
    }
    carrier = distances["carrier", "eval"]
    assert (carrier["metric"], carrier["kind"], carrier["threshold"]) == (
        "l_infinity",
        "skew",
        None,
    )
    assert carrier["value"] > 0.5
    assert distances["temp", "eval"]["metric"] == "jensen_shannon"
    limited, outputs = run(table(), other, options={"skew": {"l_infinity": 0.2}})
    assert limited["valid"] is False
    assert limited["reasons"] == [
        "carrier: The L-infinity distance between train and eval is above its threshold "
        f"(most for 'UA'); got {carrier['value']:.4g}, expected at most 0.2"
    ]
    proto = text_format.Parse(
        (outputs.anomalies / "anomalies.pbtxt").read_text(), anomalies_pb2.Anomalies()
    )
    info = proto.anomaly_info["carrier"]
    assert info.severity == anomalies_pb2.AnomalyInfo.ERROR
    assert info.short_description == "High Linfty distance"
    assert info.reason[0].type == anomalies_pb2.AnomalyInfo.COMPARATOR_L_INFTY_HIGH
    columns = {"skew": {"l_infinity": 0.2, "columns": {"carrier": None}}}
    exempt, _ = run(table(), other, options=columns)
    assert exempt["valid"] is True


def test_drift_is_measured_against_earlier_statistics(run: Any) -> None:
    _, earlier = run(table())
    verdict, _ = run(
        table(seed=1, temp=[200.0] * 60),
        baseline_statistics=str(earlier.statistics),
        options={"drift": {"columns": {"temp": 0.3}}},
    )
    assert verdict["reasons"] == [
        "temp: The Jensen-Shannon divergence between train and the baseline is above its "
        "threshold; got 1, expected at most 0.3"
    ]
    assert {d["against"] for d in verdict["distances"]} == {"baseline"}
    file = earlier.statistics / "Split-train" / "FeatureStats.pb"
    same, _ = run(table(), baseline_statistics=f"file://{file}")
    assert {d["value"] for d in same["distances"]} == {0.0}


def test_drift_counts_random_halves_with_a_far_value_as_the_same(run: Any) -> None:
    values = np.random.default_rng(8).normal(5.7, 1.1, 6_000)
    far = values[::2].copy()
    far[7] = 58.9
    halves = [pa.table({"y": half}) for half in (far, values[1::2])]
    limits = {"jensen_shannon": 0.01}
    verdict, outputs = run(*halves, options={"skew": limits})
    assert verdict["reasons"] == []
    again, _ = run(
        halves[1], baseline_statistics=str(outputs.statistics), options={"drift": limits}
    )
    assert again["reasons"] == []


def earlier(run: Any, **columns: Any) -> Any:
    """The statistics of an earlier dataset, with these columns replaced or added."""
    return str(run(table(**columns))[1].statistics)


LIMITS = {"drift": {"jensen_shannon": 0.5, "l_infinity": 0.5}}
NO_VALUES = pa.nulls(60, pa.float64())


@pytest.mark.parametrize(
    ("before", "now", "kind", "got"),
    [
        ({"flag": [1, 2] * 30}, {}, "COMPARATOR_TREATMENT_DATA_MISSING", "no such column"),
        ({}, {"flag": ["a", "b"] * 30}, "COMPARATOR_CONTROL_DATA_MISSING", "a column of type"),
        ({"flag": [1, 0] * 30}, {"flag": ["1", "0"] * 30}, "UNEXPECTED_DATA_TYPE", "string"),
        ({"flag": [1, 0] * 30}, {"flag": [True, False] * 30}, "UNEXPECTED_DATA_TYPE", "bool"),
        ({"flag": [1, 0] * 30}, {"flag": [1.0, 0.5] * 30}, "UNEXPECTED_DATA_TYPE", "float64"),
        (
            {"flag": [1.0, 0.5] * 30},
            {"flag": NO_VALUES},
            "COMPARATOR_TREATMENT_DATA_MISSING",
            "all missing in train",
        ),
        (
            {"flag": [1.0, 0.5] * 30},
            {"flag": [math.nan] * 60},
            "COMPARATOR_TREATMENT_DATA_MISSING",
            "all missing in train",
        ),
        (
            {"flag": NO_VALUES},
            {"flag": [1.0, 0.5] * 30},
            "COMPARATOR_CONTROL_DATA_MISSING",
            "all missing in the baseline",
        ),
    ],
)
def test_a_column_that_cannot_be_compared_with_the_baseline_is_an_anomaly(
    run: Any, before: Any, now: Any, kind: Any, got: Any
) -> None:
    statistics = earlier(run, **before)
    limited, _ = run(table(**now), baseline_statistics=statistics, options=LIMITS)
    assert limited["valid"] is False
    (anomaly,) = limited["anomalies"]
    assert (anomaly["feature"], anomaly["kind"], anomaly["severity"]) == ("flag", kind, "error")
    assert anomaly["got"].startswith(got)
    assert "(to exempt the column: drift.columns.flag: null)" in anomaly["expected"]
    (distance,) = [d for d in limited["distances"] if d["feature"] == "flag"]
    assert distance["value"] is None
    free, _ = run(table(**now), baseline_statistics=statistics)
    assert found(free) == [("flag", kind, "train", "warning")]
    exempt = {"drift": {**LIMITS["drift"], "columns": {"flag": None}}}
    silent, _ = run(table(**now), baseline_statistics=statistics, options=exempt)
    assert silent["anomalies"] == []


def test_a_renamed_column_is_named(run: Any) -> None:
    statistics = earlier(run, colour=["red", "blue"] * 30)
    now = table(color=["red", "blue"] * 30)
    verdict, _ = run(now, baseline_statistics=statistics, options=LIMITS)
    assert [a["feature"] for a in verdict["anomalies"]] == ["color", "colour"]
    assert "did you mean 'color'?" in verdict["anomalies"][1]["description"]


def test_a_limit_of_a_column_without_values_on_either_side_is_not_passed(run: Any) -> None:
    statistics = earlier(run, flag=NO_VALUES)
    now = table(flag=NO_VALUES)
    assert run(now, baseline_statistics=statistics, options=LIMITS)[0]["anomalies"] == []
    explicit = {"drift": {"columns": {"flag": 0.3}}}
    verdict, _ = run(now, baseline_statistics=statistics, options=explicit)
    assert verdict["reasons"] == [
        "flag: 'flag' has no value, neither in train nor in the baseline: its limit could not be "
        "checked; got all missing, expected values (to exempt the column: drift.columns.flag: null)"
    ]


def test_a_jump_of_the_missing_values_is_an_anomaly(run: Any) -> None:
    statistics = earlier(run)
    now = table(temp=[None] * 57 + [50.0, 60.0, 70.0])
    free, _ = run(now, baseline_statistics=statistics)
    assert free["valid"] is True
    (warning,) = [a for a in free["anomalies"] if "missing" in a["description"]]
    assert (warning["feature"], warning["severity"]) == ("temp", "warning")
    assert warning["got"] == "0.95 (95% missing in train, 0% in the baseline)"
    limit = {"drift": {"missing": 0.2}}
    limited, _ = run(now, baseline_statistics=statistics, options=limit)
    assert limited["reasons"] == [
        "temp: The difference between the shares of missing values between train and the baseline "
        "is above its threshold; got 0.95 (95% missing in train, 0% in the baseline), expected "
        "at most 0.2"
    ]
    nan = table(temp=[math.nan] * 57 + [50.0, 60.0, 70.0])
    assert run(nan, baseline_statistics=statistics, options=limit)[0]["valid"] is False
    assert run(table(), baseline_statistics=statistics, options=limit)[0]["anomalies"] == []
    skewed, _ = run(table(), now, options={"skew": {"missing": 0.2}})
    assert [a["severity"] for a in skewed["anomalies"]] == ["warning", "error"]


def test_limits_of_which_nothing_was_measured_are_not_passed(run: Any) -> None:
    alone, _ = run(table(), options={"skew": {"l_infinity": 0.1}})
    assert alone["reasons"] == [
        "Nothing was measured for the limits of skew: there is no other split; "
        "got only train, expected another split"
    ]
    empty, _ = run(table(), table().slice(0, 0), options={"skew": {"l_infinity": 0.1}})
    assert empty["reasons"] == [
        "Nothing was measured for the limits of skew: eval is empty; "
        "got no rows in eval, expected rows"
    ]
    first, _ = run(table(), options=LIMITS)
    assert first["valid"] is True
    assert [(a["severity"], a["got"]) for a in first["anomalies"]] == [
        ("warning", "no baseline_statistics")
    ]
    strict, _ = run(table(), options={**LIMITS, "warnings_are_errors": True})
    assert strict["valid"] is False
    hollow = str(run(table().slice(0, 0))[1].statistics)
    verdict, _ = run(table(), baseline_statistics=hollow, options=LIMITS)
    assert verdict["reasons"] == [
        "Nothing was measured for the limits of drift: the baseline is empty; "
        "got 0 rows, expected rows"
    ]


def test_a_comparator_of_a_schema_that_is_not_measured_is_not_passed(
    run: Any, tmp_path: Any
) -> None:
    file = tmp_path / "schema.pbtxt"
    file.write_text(
        """
        feature { name: "temp" type: FLOAT skew_comparator { infinity_norm { threshold: 0.1 } } }
        feature { name: "carrier" type: BYTES
          skew_comparator { normalized_abs_difference { threshold: 0.1 } } }
        feature { name: "id" type: INT }
        feature { name: "late" type: INT bool_domain {} }
        """
    )
    verdict, _ = run(table(), table(seed=1), schema={"uri": str(file)})
    assert found(verdict) == [
        ("carrier", "COMPARATOR_CONTROL_DATA_MISSING", "eval", "error"),
        ("temp", "COMPARATOR_CONTROL_DATA_MISSING", "eval", "error"),
    ]


def test_the_number_of_rows_is_compared_where_the_schema_asks(run: Any, tmp_path: Any) -> None:
    _, first = run(table())
    schema = (first.schema / "schema.pbtxt").read_text()
    file = tmp_path / "schema.pbtxt"
    file.write_text(
        schema + "dataset_constraints { max_examples_count: 40 num_examples_drift_comparator "
        "{ min_fraction_threshold: 0.8 max_fraction_threshold: 1.2 } }"
    )
    statistics = str(first.statistics)
    fewer, _ = run(table(30), schema={"uri": str(file)}, baseline_statistics=statistics)
    assert [a["kind"] for a in fewer["anomalies"]] == ["COMPARATOR_LOW_NUM_EXAMPLES"]
    more, _ = run(table(90), schema={"uri": str(file)}, baseline_statistics=statistics)
    assert [a["kind"] for a in more["anomalies"]] == [
        "DATASET_HIGH_NUM_EXAMPLES",
        "COMPARATOR_HIGH_NUM_EXAMPLES",
    ]


def test_the_schema_of_one_run_is_enforced_in_the_next(run: Any) -> None:
    _, earlier = run(table())
    given = {"uri": str(earlier.schema)}
    good, outputs = run(table(), schema=given)
    assert good["anomalies"] == []
    assert (outputs.schema / "schema.pbtxt").read_bytes() == (
        earlier.schema / "schema.pbtxt"
    ).read_bytes()
    bad, _ = run(table(carrier=["XX"] * 60, extra=[1] * 60), schema=given)
    assert found(bad) == [
        ("extra", "SCHEMA_NEW_COLUMN", "", "error"),
        ("carrier", "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "train", "error"),
    ]


def test_integer_codes_are_compared_by_value(run: Any) -> None:
    declared = {"columns": {"id": {"categorical": True}}}
    verdict, _ = run(table(id=[1, 2] * 30), table(id=[1, 1, 1, 2] * 15), schema=declared)
    distance = next(d for d in verdict["distances"] if d["feature"] == "id")
    assert (distance["metric"], distance["value"]) == ("l_infinity", 0.25)


def test_a_schema_of_tfdv_is_enforced(run: Any, tmp_path: Any) -> None:
    file = tmp_path / "tfdv.pbtxt"
    file.write_text(
        """
        feature { name: "id" type: INT bool_domain {} unique_constraints { max: 3 } }
        feature { name: "carrier" type: BYTES
          unique_constraints { min: 5 }
          skew_comparator { jensen_shannon_divergence { threshold: 0.0001 } } }
        feature { name: "temp" type: FLOAT
          skew_comparator { jensen_shannon_divergence { threshold: 0.0001 } } }
        feature { name: "late" type: INT lifecycle_stage: DEPRECATED presence { min_count: 99 } }
        feature { name: "gone" type: INT deprecated: true presence { min_count: 1 } }
        dataset_constraints { min_examples_count: 100 }
        """
    )
    verdict, _ = run(table(), table(seed=1), schema={"uri": str(file)})
    assert [(a["feature"], a["kind"], a["split"]) for a in verdict["anomalies"]] == [
        ("", "DATASET_LOW_NUM_EXAMPLES", "train"),
        ("id", "BOOL_TYPE_BIG_INT", "train"),
        ("id", "FEATURE_TYPE_HIGH_UNIQUE", "train"),
        ("id", "BOOL_TYPE_BIG_INT", "eval"),
        ("id", "FEATURE_TYPE_HIGH_UNIQUE", "eval"),
        ("carrier", "FEATURE_TYPE_LOW_UNIQUE", "train"),
        ("carrier", "FEATURE_TYPE_LOW_UNIQUE", "eval"),
        ("carrier", "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH", "eval"),
        ("temp", "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH", "eval"),
    ]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"label": "lat"},
            "label: the label 'lat' is not a column of the dataset; did you mean 'late'?",
        ),
        (
            {"options": {"skw": {}}},
            "options: unknown key 'skw'; did you mean 'skew'?",
        ),
        (
            {"options": {"skew": {"l_infinity": 2}}},
            "options: skew: the threshold 'l_infinity' is out of range; got 2.0; expected 0 to 1",
        ),
        (
            {"options": {"drift": {"columns": {"tmp": 0.1}}}},
            "options: drift: a threshold for an unknown column 'tmp'; did you mean 'temp'?",
        ),
        (
            {"options": {"threads": -1}},
            "options: 'threads' is out of range; got -1; expected 0 or more",
        ),
        (
            {"schema": {"min_rows": {"trian": 5}}},
            "schema: min_rows: unknown split 'trian'; did you mean 'train'?",
        ),
    ],
)
def test_a_wrong_parameter_is_one_line(run: Any, parameters: Any, message: Any) -> None:
    with pytest.raises(ParameterError) as error:
        run(table(), **parameters)
    assert str(error.value) == message


def test_a_baseline_that_cannot_be_read_is_one_line(run: Any, tmp_path: Any) -> None:
    with pytest.raises(MissingError) as missing:
        run(table(), baseline_statistics=str(tmp_path / "none"))
    assert str(missing.value) == (
        f"baseline_statistics: {tmp_path}/none: no such file or folder; check the path"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingError) as nothing:
        run(table(), baseline_statistics=str(empty))
    assert str(nothing.value) == (
        f"baseline_statistics: {empty}: no statistics in the folder; expected statistics.pb or "
        "Split-train/FeatureStats.pb or FeatureStats.pb; "
        "give the statistics artifact of an earlier validate step"
    )
    torn = tmp_path / "torn.pb"
    torn.write_bytes(b"\x0a\xff\xff")
    with pytest.raises(ContractError) as wrong:
        run(table(), baseline_statistics=str(torn))
    assert str(wrong.value) == (
        f"baseline_statistics: {torn}: not a TensorFlow Metadata DatasetFeatureStatisticsList; "
        "give the statistics artifact of an earlier validate step"
    )
    torn.write_bytes(b"")
    with pytest.raises(ContractError) as hollow:
        run(table(), baseline_statistics=str(torn))
    assert str(hollow.value) == f"baseline_statistics: {torn}: the statistics hold no dataset"


def test_a_torn_shard_is_named(tmp_path: Any, make_dataset: Any) -> None:
    dataset = make_dataset({"train": table()})
    shard = dataset / "train" / "part-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-100])
    out = ValidateOutputs(*(tmp_path / name for name in ("s", "c", "a", "r")))
    with pytest.raises(ContractError) as error:
        validate(ValidateParameters(), dataset, out)
    assert str(error.value).startswith(f"{shard}: not a readable Parquet file; got ")
    assert str(error.value).endswith("; ingest the data again")
    assert not any(path.exists() for path in (out.statistics, out.schema, out.anomalies))


def test_a_dataset_without_train_is_refused(tmp_path: Any, make_dataset: Any) -> None:
    dataset = make_dataset({"eval": table()})
    out = ValidateOutputs(*(tmp_path / name for name in ("s", "c", "a", "r")))
    with pytest.raises(ParameterError) as error:
        validate(ValidateParameters(), dataset, out)
    assert str(error.value) == (
        "dataset: the dataset has no train split; got eval; ingest with a split named train"
    )


def test_the_report_of_a_wide_table_stays_small(run: Any) -> None:
    wide = pa.table({f"c{i:04}": np.arange(50) * i for i in range(600)})
    _, outputs = run(wide, wide)
    html = outputs.report.read_text()
    assert "100 of 600 columns: those with findings first." in html
    assert len(html) < 1_500_000
    assert "<script" not in html
