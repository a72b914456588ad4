"""TensorFlow Serving's own protos, to read what is written for it."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.wrappers_pb2 import DESCRIPTOR as WRAPPERS

_PROTO = Path(__file__).with_name("serving.proto")


def parse(text: str, kind: str) -> Any:
    """The message that a file holds; `kind`: of the package `tensorflow.serving`."""
    if kind == "ModelServerConfig":
        from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

        return text_format.Parse(text, ModelServerConfig())
    found = _pool().FindMessageTypeByName(f"tensorflow.serving.{kind}")
    return text_format.Parse(text, message_factory.GetMessageClass(found)())


@functools.cache
def _pool() -> Any:
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch) / "serving.bin"
        subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc"),
                f"--proto_path={_PROTO.parent}",
                f"--descriptor_set_out={compiled}",
                _PROTO.name,
            ],
            check=True,
        )
        files = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(WRAPPERS.serialized_pb)
    for file in files.file:
        pool.Add(file)
    return pool
