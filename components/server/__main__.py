"""The container's command: serve the Model artifact that KServe mounted."""

from __future__ import annotations

import argparse
from pathlib import Path

from kfp_suite.components.server.model import ServedVersion, VersionedModel
from kfp_suite.components.server.serving import serve


def main() -> None:
    """Serve one model; the names of the arguments are KServe's."""
    parser = argparse.ArgumentParser(prog="python -m kfp_suite.components.server")
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--model_dir", type=Path, required=True)
    parser.add_argument("--model_version", required=True)
    parser.add_argument("--http_port", type=int, default=8080)
    parser.add_argument("--grpc_port", type=int, default=8081)
    given = parser.parse_args()
    served = ServedVersion.load(given.model_version, given.model_dir)
    serve(
        {VersionedModel(given.model_name, served): None},
        host="0.0.0.0",  # noqa: S104 - the pod's network is the boundary
        http_port=given.http_port,
        grpc_port=given.grpc_port,
    )


if __name__ == "__main__":
    main()
