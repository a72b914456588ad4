"""TensorFlow Serving's own protos, to read what is written for it.

The wheel leaves two messages out. Their fields (name, number, type) are those of
TensorFlow Serving 2.21: `session_bundle_config` and `monitoring_config`.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.wrappers_pb2 import DESCRIPTOR as WRAPPERS

_PACKAGE = "tensorflow.serving"
_FIELDS: dict[str, tuple[tuple[str, int, str], ...]] = {
    "BatchingParameters": (
        ("max_batch_size", 1, "Int64Value"),
        ("batch_timeout_micros", 2, "Int64Value"),
        ("max_enqueued_batches", 3, "Int64Value"),
        ("num_batch_threads", 4, "Int64Value"),
        ("thread_pool_name", 5, "StringValue"),
        ("allowed_batch_sizes", 6, "repeated int64"),
        ("pad_variable_length_inputs", 7, "bool"),
        ("enable_large_batch_splitting", 8, "BoolValue"),
        ("max_execution_batch_size", 9, "Int64Value"),
    ),
    "PrometheusConfig": (("enable", 1, "bool"), ("path", 2, "string")),
    "MonitoringConfig": (("prometheus_config", 1, "PrometheusConfig"),),
}


def parse(text: str, kind: str) -> Any:
    """The message that a file holds; `kind`: of the package `tensorflow.serving`."""
    if kind == "ModelServerConfig":
        from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

        return text_format.Parse(text, ModelServerConfig())
    found = _pool().FindMessageTypeByName(f"{_PACKAGE}.{kind}")
    return text_format.Parse(text, message_factory.GetMessageClass(found)())


@functools.cache
def _pool() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="serving", package=_PACKAGE, syntax="proto3", dependency=[WRAPPERS.name]
    )
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            _add(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(WRAPPERS.serialized_pb)
    pool.Add(file)
    return pool


def _add(message: Any, name: str, number: int, kind: str) -> None:
    field = descriptor_pb2.FieldDescriptorProto
    scalar = kind.removeprefix("repeated ")
    label = field.LABEL_OPTIONAL if kind == scalar else field.LABEL_REPEATED
    made = message.field.add(name=name, number=number, label=label)
    types = {"int64": field.TYPE_INT64, "bool": field.TYPE_BOOL, "string": field.TYPE_STRING}
    if scalar in types:
        made.type = types[scalar]
        return
    made.type = field.TYPE_MESSAGE
    package = _PACKAGE if scalar in _FIELDS else "google.protobuf"
    made.type_name = f".{package}.{scalar}"
