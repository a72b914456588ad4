"""Anomalies as TensorFlow Data Validation writes them."""

from __future__ import annotations

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from kfp_suite.components.validate.anomaly import Anomaly


def anomalies_proto(schema: schema_pb2.Schema, anomalies: list[Anomaly]) -> anomalies_pb2.Anomalies:
    """The anomalies as TFDV writes them, without the distances."""
    proto = anomalies_pb2.Anomalies(
        baseline=schema, anomaly_name_format=anomalies_pb2.Anomalies.SERIALIZED_PATH
    )
    for anomaly in anomalies:
        if anomaly.feature:
            info = proto.anomaly_info[anomaly.feature]
            info.path.step[:] = [anomaly.feature]
        else:
            info = proto.dataset_anomaly_info
        info.severity = max(
            info.severity,
            anomalies_pb2.AnomalyInfo.ERROR
            if anomaly.severity == "error"
            else anomalies_pb2.AnomalyInfo.WARNING,
        )
        info.reason.add(
            type=anomalies_pb2.AnomalyInfo.Type.Value(anomaly.kind),
            short_description=_SHORT.get(anomaly.kind, "Anomaly"),
            description=f"{anomaly.sentence()}.",
        )
    for info in [*proto.anomaly_info.values(), proto.dataset_anomaly_info]:
        if info.reason:
            short = {reason.short_description for reason in info.reason}
            info.short_description = short.pop() if len(short) == 1 else "Multiple errors"
            info.description = " ".join(reason.description for reason in info.reason)
    return proto


_SHORT = {
    "BOOL_TYPE_BIG_INT": "Invalid value for bool",
    "BOOL_TYPE_SMALL_INT": "Invalid value for bool",
    "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH": "High approximate Jensen-Shannon divergence",
    "COMPARATOR_L_INFTY_HIGH": "High Linfty distance",
    "COMPARATOR_CONTROL_DATA_MISSING": "No baseline data",
    "CUSTOM_VALIDATION": "Values occur more than once",
    "COMPARATOR_HIGH_NUM_EXAMPLES": "High num examples in dataset",
    "COMPARATOR_LOW_NUM_EXAMPLES": "Low num examples in dataset",
    "COMPARATOR_TREATMENT_DATA_MISSING": "Column dropped",
    "DATASET_HIGH_NUM_EXAMPLES": "High num examples in dataset",
    "DATASET_LOW_NUM_EXAMPLES": "Low num examples in dataset",
    "ENUM_TYPE_UNEXPECTED_STRING_VALUES": "Unexpected string values",
    "FEATURE_TYPE_HIGH_UNIQUE": "High number of unique values",
    "FEATURE_TYPE_LOW_FRACTION_PRESENT": "Column dropped",
    "FEATURE_TYPE_LOW_NUMBER_PRESENT": "Column dropped",
    "FEATURE_TYPE_LOW_UNIQUE": "Low number of unique values",
    "FEATURE_TYPE_NOT_PRESENT": "Column dropped",
    "FLOAT_TYPE_BIG_FLOAT": "Out-of-range values",
    "FLOAT_TYPE_HAS_INF": "Invalid values",
    "FLOAT_TYPE_HAS_NAN": "Invalid values",
    "FLOAT_TYPE_SMALL_FLOAT": "Out-of-range values",
    "INT_TYPE_BIG_INT": "Out-of-range values",
    "INT_TYPE_SMALL_INT": "Out-of-range values",
    "SCHEMA_MISSING_COLUMN": "Column dropped",
    "SCHEMA_NEW_COLUMN": "New column",
    "UNEXPECTED_DATA_TYPE": "Unexpected data type",
}
