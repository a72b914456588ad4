"""Declared, inferred and given schemas."""

import datetime
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2 as pb

from kfp_suite.components.validate.partial import SplitPartial
from kfp_suite.components.validate.schema import dataset_schema, read_schema
from kfp_suite.components.validate.schema_checks import (
    Domains,
    check_schema,
    unchecked_constraints,
)
from kfp_suite.components.validate.schema_features import column_type, is_unique
from kfp_suite.components.validate.schema_spec import parse_schema
from kfp_suite.contracts.errors import ContractError, MissingError, ParameterError
from kfp_suite.contracts.tables import columns_of

TABLE = pa.table(
    {
        "carrier": ["UA", "AA", "UA"],
        "distance": [200, None, 900],
        "temp": [1.5, 2.5, 3.5],
        "late": [True, False, True],
        "day": [datetime.date(2013, 1, 1)] * 3,
        "at": pa.array([datetime.datetime(2013, 1, 1, 6)] * 3, pa.timestamp("us")),
    }
)


def schema_of(declared: Any, table: Any = TABLE) -> Any:
    columns = columns_of(table.schema)
    partial = SplitPartial(columns)
    for batch in table.to_batches():
        partial.update(batch, 0)
    return dataset_schema(parse_schema(declared), columns, partial)


def feature(declared: Any, name: Any, table: Any = TABLE) -> Any:
    return next(f for f in schema_of(declared, table).proto.feature if f.name == name)


def test_a_schema_is_inferred_as_tfdv_infers_it() -> None:
    schema = schema_of({})
    assert schema.declared == frozenset()
    expected = """
        feature {
          name: "carrier" type: BYTES domain: "carrier"
          presence { min_fraction: 1.0 min_count: 1 } shape { dim { size: 1 } }
        }
        feature {
          name: "distance" type: INT
          presence { min_count: 1 } value_count { min: 1 max: 1 }
        }
        feature {
          name: "temp" type: FLOAT float_domain { disallow_inf: true }
          presence { min_fraction: 1.0 min_count: 1 } shape { dim { size: 1 } }
        }
        feature {
          name: "late" type: INT bool_domain { }
          presence { min_fraction: 1.0 min_count: 1 } shape { dim { size: 1 } }
        }
        feature {
          name: "day" type: INT time_domain { integer_format: UNIX_DAYS }
          annotation { tag: "kfp-suite:date" }
          presence { min_fraction: 1.0 min_count: 1 } shape { dim { size: 1 } }
        }
        feature {
          name: "at" type: INT time_domain { integer_format: UNIX_MICROSECONDS }
          annotation { tag: "kfp-suite:timestamp" }
          presence { min_fraction: 1.0 min_count: 1 } shape { dim { size: 1 } }
        }
        string_domain { name: "carrier" value: "AA" value: "UA" }
    """
    assert schema.proto == text_format.Parse(expected, pb.Schema())


def test_what_is_declared_replaces_what_is_inferred() -> None:
    schema = schema_of(
        {
            "columns": {
                "carrier": {"domain": ["AA"], "min_domain_mass": 0.9, "unique": True},
                "distance": {"type": "int64", "not_null": True, "domain": {"min": 0.0}},
                "extra": {"type": "string", "required": False},
            },
            "min_rows": {"train": 2.0},
        }
    )
    by_name = {f.name: f for f in schema.proto.feature}
    assert schema.declared == {"carrier", "distance", "extra"}
    assert is_unique(by_name["carrier"])
    assert by_name["carrier"].distribution_constraints.min_domain_mass == 0.9
    assert schema.proto.string_domain[0].value[:] == ["AA"]
    assert by_name["distance"].int_domain == pb.IntDomain(min=0)
    assert by_name["distance"].presence.min_fraction == 1
    assert not by_name["extra"].HasField("presence")
    assert by_name["temp"].type == pb.FLOAT
    assert schema.proto.dataset_constraints.min_examples_count == 2


def test_types_survive_the_text_format(tmp_path: Any) -> None:
    schema = schema_of({"columns": {"day": {"domain": {"min": "2013-01-01", "max": "2013-12-31"}}}})
    file = tmp_path / "schema.pbtxt"
    file.write_text(text_format.MessageToString(schema.proto))
    read = read_schema(tmp_path)
    assert read == schema.proto
    assert [column_type(f) for f in read.feature] == [
        "string",
        "int64",
        "float64",
        "bool",
        "date",
        "timestamp",
    ]
    assert read.feature[4].int_domain == pb.IntDomain(min=15706, max=16070)


def test_bounds_of_timestamps_are_microseconds() -> None:
    bound = {"domain": {"max": "1970-01-01T00:00:01.5"}}
    assert feature({"columns": {"at": bound}}, "at").int_domain.max == 1_500_000


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"colunms": {}},
            "schema: unknown key 'colunms'; did you mean 'columns'?",
        ),
        (
            {"columns": {"a": {"requird": True}}},
            "schema: columns.a: unknown key 'requird'; did you mean 'required'?",
        ),
        (
            {"columns": {"a": {"domain": {"mn": 1}}}},
            "schema: columns.a.domain: unknown key 'mn'; did you mean 'min'?",
        ),
        (
            {"columns": {"a": {"type": "integer"}}},
            "schema: columns.a: unknown type 'integer'; "
            "known: bool, date, float64, int64, string, timestamp",
        ),
        (
            {"columns": {"a": {"type": "int"}}},
            "schema: columns.a: unknown type 'int'; did you mean 'int64'?",
        ),
        (
            {"columns": {"a": {"min_fraction": 1.5}}},
            "schema: columns.a: 'min_fraction' is out of range; got 1.5; expected 0 to 1",
        ),
        (
            {"columns": {"a": {"min_fraction": 0.5, "not_null": True}}},
            "schema: columns.a: 'not_null' contradicts 'min_fraction'; "
            "got not_null: true and min_fraction: 0.5; keep one of the two",
        ),
        (
            {"columns": {"a": {"min_domain_mass": 0.5}}},
            "schema: columns.a: 'min_domain_mass' without 'domain'; add 'domain'",
        ),
        (
            {"columns": {"a": {"domain": []}}},
            "schema: columns.a: 'domain' is empty: no value could be right; list the values",
        ),
        (
            {"columns": {"a": {"domain": ["x", "y", "x"]}}},
            "schema: columns.a: 'domain' lists a value twice; got x",
        ),
        (
            {"columns": {"a": {"type": "int64", "domain": ["x"]}}},
            "schema: columns.a: a list of values is a domain for strings; got type int64; "
            "use domain: {min: …, max: …}",
        ),
        (
            {"columns": {"a": {"type": "int64", "domain": {"min": 5, "max": 1}}}},
            "schema: columns.a: 'domain' has min above max: no value could be right; "
            "got min 5 and max 1",
        ),
        (
            {"columns": {"a": {"domain": {}}}},
            "schema: columns.a: 'domain' has neither min nor max",
        ),
        (
            {"columns": {"a": {"type": "string", "domain": {"min": 5}}}},
            "schema: columns.a: a range is a domain for numbers, dates and timestamps; "
            "got type string; list the values: domain: [a, b]",
        ),
        (
            {"columns": {"a": {"type": "int64", "domain": {"min": 0.5}}}},
            "schema: columns.a: a bound of 'domain' is not a whole number, "
            "but the column is int64; got 0.5",
        ),
        (
            {"columns": {"a": {"type": "float64", "domain": {"min": "low"}}}},
            "schema: columns.a: a bound of 'domain' is not a number; got low; expected a number",
        ),
        (
            {"columns": {"a": {"type": "date", "domain": {"min": "1.1.2013"}}}},
            "schema: columns.a: a bound of 'domain' is not a date; got 1.1.2013; "
            "expected 2013-01-31",
        ),
        (
            {"columns": {"a": {"type": "string", "categorical": True}}},
            "schema: columns.a: 'categorical' is for columns of type int64 "
            "(strings always are); got type string",
        ),
        (
            {"columns": {"a": {"domain": [1, 2]}}},
            "schema: columns.a: a list of values is a domain for strings; got 1; "
            "quote it, or use domain: {min: …, max: …}",
        ),
        (
            {"columns": {"a": {"domain": "x"}}},
            "schema: columns.a: 'domain' is neither a list of strings nor a range; got x; "
            "expected [a, b] or {min: …, max: …}",
        ),
        (
            {"unexpected_columns": "fail"},
            "schema: 'unexpected_columns' is not allowed; got fail; "
            "expected input should be 'error', 'warn' or 'allow'",
        ),
        (
            {"uri": "s.pbtxt", "columns": {"a": {}}},
            "schema: both 'uri' and 'columns' or 'min_rows' are given; "
            "edit the schema at the uri, or declare all of it here",
        ),
    ],
)
def test_a_schema_that_cannot_be_is_refused_in_one_line(declared: Any, message: Any) -> None:
    with pytest.raises(ParameterError) as error:
        parse_schema(declared)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"carrier": {"domain": {"max": 3}}},
            "schema: columns.carrier: a range is a domain for numbers, dates and timestamps; "
            "got type string; list the values: domain: [a, b]",
        ),
        (
            {"distance": {"domain": ["x"]}},
            "schema: columns.distance: a list of values is a domain for strings; "
            "got the column is int64; use domain: {min: …, max: …}",
        ),
    ],
)
def test_a_domain_must_fit_the_column_of_the_data(declared: Any, message: Any) -> None:
    with pytest.raises(ParameterError) as error:
        schema_of({"columns": declared})
    assert str(error.value) == message


def test_a_schema_file_that_is_none_is_named(tmp_path: Any) -> None:
    with pytest.raises(MissingError) as missing:
        read_schema(tmp_path / "none.pbtxt")
    assert str(missing.value) == f"{tmp_path}/none.pbtxt: no such file or folder; check the path"
    file = tmp_path / "schema.pbtxt"
    file.write_text('feature { nmae: "x" }')
    with pytest.raises(ContractError) as wrong:
        read_schema(file)
    assert str(wrong.value) == (
        f"{file}: not a TensorFlow Metadata schema in the text format; "
        'got 1:11 : Message type "tensorflow.metadata.v0.Feature" has no field named "nmae".'
    )


NAMED = 'feature { name: "carrier" type: BYTES %s } string_domain { name: "carriers" value: "AA" }'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'feature { name: "d" type: INT int_domain { min: 10 max: 1 } }',
            "feature 'd': min is above max: nothing could be right; "
            "got min 10 and max 1; swap the two",
        ),
        (
            'feature { name: "d" type: FLOAT float_domain { min: nan } }',
            "feature 'd': 'min' is not a number; got nan",
        ),
        (
            NAMED % 'domain: "carier"',
            "feature 'carrier': unknown domain 'carier'; "
            "expected one of the schema's string_domains; did you mean 'carriers'?",
        ),
        (
            'feature { name: "d" type: INT domain: "nosuch" }',
            "feature 'd': unknown domain 'nosuch'; expected one of the schema's int_domains; "
            "add it, or remove 'domain'",
        ),
        (
            NAMED % "int_domain { min: 1 }",
            "feature 'carrier': 'int_domain' does not fit the feature's type; "
            "got type BYTES; expected string_domain",
        ),
        (
            'feature { name: "d" } feature { name: "d" }',
            "the feature 'd' is there twice",
        ),
        (
            'feature { name: "d" presence { min_fraction: 1.5 } }',
            "feature 'd': presence: 'min_fraction' is out of range; got 1.5; expected 0 to 1",
        ),
        (
            'feature { name: "d" unique_constraints { min: 5 max: 2 } }',
            "feature 'd': unique_constraints: min is above max: nothing could be right; "
            "got min 5 and max 2; swap the two",
        ),
        (
            'feature { name: "d" drift_comparator { infinity_norm { threshold: -1 } } }',
            "feature 'd': drift_comparator: infinity_norm: 'threshold' is out of range; got -1.0; "
            "expected 0 to 1",
        ),
        (
            "dataset_constraints { min_examples_count: -5 }",
            "dataset_constraints: 'min_examples_count' is out of range; got -5; expected 0 or more",
        ),
    ],
)
def test_a_schema_file_that_contradicts_itself_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "schema.pbtxt"
    file.write_text(text)
    with pytest.raises(ContractError) as error:
        read_schema(file)
    assert str(error.value) == f"{file}: {message}"


def test_a_range_of_the_schema_that_a_column_names_is_enforced(tmp_path: Path) -> None:
    schema = text_format.Parse(
        """
        feature { name: "d" type: INT domain: "hours" }
        feature { name: "f" type: FLOAT domain: "hours" }
        int_domain { name: "hours" min: 0 max: 23 }
        float_domain { name: "hours" min: 0 max: 24 }
        """,
        pb.Schema(),
    )
    check_schema(schema, tmp_path)
    domains = Domains(schema)
    assert [domains.range(feature).max for feature in schema.feature] == [23, 24]


def test_what_a_schema_asks_and_nothing_checks_is_named() -> None:
    schema = text_format.Parse(
        """
        feature { name: "text" type: BYTES natural_language_domain {} }
        feature { name: "d" type: INT not_in_environment: "SERVING" }
        feature { name: "plain" type: INT presence { min_count: 1 } }
        weighted_feature { name: "w" }
        """,
        pb.Schema(),
    )
    assert unchecked_constraints(schema) == {
        "text": ["natural_language_domain"],
        "d": ["not_in_environment"],
        "": ["weighted_feature"],
    }


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"min_rows": {"train": -5}},
            "schema: min_rows: 'train' is out of range; got -5; expected 0 or more",
        ),
        (
            {"columns": {"x": {"type": "float64", "domain": {"min": math.nan}}}},
            "schema: columns.x: a bound of 'domain' is not a number; got nan; expected a number",
        ),
        (
            {"columns": {"x": {"type": "int64", "domain": {"max": 2**63}}}},
            "schema: columns.x: a bound of 'domain' is beyond int64; got 9223372036854775808; "
            "leave it out",
        ),
        (
            {"columns": {"x": {"type": "date", "domain": {"min": "2013-01-31T06:00"}}}},
            "schema: columns.x: a bound of 'domain' has a time, but the column holds dates; "
            "got 2013-01-31T06:00; expected 2013-01-31",
        ),
        (
            {"columns": {"x": {"domain": ["a", "\ud800"]}}},
            "schema: columns.x: domain: not a text in Unicode; got '\\ud800'",
        ),
    ],
)
def test_a_value_that_no_schema_can_hold_is_refused_in_one_line(
    declared: dict[str, object], message: str
) -> None:
    with pytest.raises(ParameterError) as error:
        parse_schema(declared)
    assert str(error.value) == message
    assert error.value.exit_code == 2
