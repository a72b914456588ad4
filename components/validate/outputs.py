"""The outputs of validate, from any engine: statistics, schema, anomalies, verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from kfp_suite.components.validate.anomaly import Anomaly
from kfp_suite.components.validate.anomaly_protos import anomalies_proto
from kfp_suite.components.validate.baseline import STATISTICS_FILE
from kfp_suite.components.validate.comparison_anomalies import add_distances
from kfp_suite.components.validate.comparisons import Comparison
from kfp_suite.components.validate.hints import Hint
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file, write_json
from kfp_suite.contracts.dataset import Dataset

VALIDATION_FORMAT = 1


@dataclass(frozen=True)
class Verdict:
    """The result of a validation: the verdict, and the numbers of anomalies and hints."""

    valid: bool
    errors: int
    warnings: int
    hints: int


def count_findings(verdict: Mapping[str, Any]) -> Verdict:
    """The verdict that `verdict_of` gave, in numbers."""
    severities = [anomaly["severity"] for anomaly in verdict["anomalies"]]
    return Verdict(
        valid=verdict["valid"],
        errors=severities.count("error"),
        warnings=severities.count("warning"),
        hints=len(verdict["hints"]),
    )


def verdict_of(
    data: Dataset,
    anomalies: list[Anomaly],
    comparisons: list[Comparison],
    warnings_are_errors: bool,
    hints: Sequence[Hint] = (),
) -> dict[str, Any]:
    """The content of `validation.json`."""
    reasons = [
        anomaly.sentence()
        for anomaly in anomalies
        if anomaly.severity == "error" or warnings_are_errors
    ]
    return {
        "format_version": VALIDATION_FORMAT,
        "valid": not reasons,
        "reasons": reasons,
        "dataset": {"uri": str(data.path), "digest": data.manifest.digest},
        "anomalies": [anomaly.to_json() for anomaly in anomalies],
        "distances": [
            {
                "feature": c.column,
                "kind": c.kind,
                "against": c.other,
                "metric": c.metric,
                "value": c.value,
                "threshold": c.threshold,
            }
            for c in comparisons
        ],
        "hints": [hint.to_json() for hint in hints],
    }


def write_anomalies(
    folder: Path,
    schema: schema_pb2.Schema,
    anomalies: list[Anomaly],
    comparisons: list[Comparison],
    verdict: dict[str, Any],
) -> None:
    """Write `anomalies.pbtxt` and `validation.json`."""
    proto = anomalies_proto(schema, anomalies)
    add_distances(proto, comparisons)
    _write_text(folder / "anomalies.pbtxt", proto)
    write_json(folder / "validation.json", verdict)


def write_schema(folder: Path, schema: schema_pb2.Schema) -> None:
    """Write `schema.pbtxt`."""
    with whole_folder(folder) as partial:
        _write_text(partial / "schema.pbtxt", schema)


def write_statistics(
    folder: Path, summary: Any, statistics: statistics_pb2.DatasetFeatureStatisticsList
) -> None:
    """Write `statistics.pb` (all splits), `Split-<name>/FeatureStats.pb` and `summary` as
    `statistics.json`."""
    with whole_folder(folder) as partial:
        write_json(partial / "statistics.json", summary)
        for dataset in statistics.datasets:
            one = statistics_pb2.DatasetFeatureStatisticsList(datasets=[dataset])
            write_file(partial / f"Split-{dataset.name}" / "FeatureStats.pb", _binary(one))
        write_file(partial / STATISTICS_FILE, _binary(statistics))


def _binary(proto: statistics_pb2.DatasetFeatureStatisticsList) -> bytes:
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _write_text(path: Path, proto: Any) -> None:
    write_file(path, text_format.MessageToString(proto, as_utf8=True).encode())
