"""The container's command: serve the Model artifact that KServe mounted."""

from __future__ import annotations

import argparse
import socket
import sys
from functools import partial
from pathlib import Path

from kfp_suite.runtimes.local import check_grpc_port, every_address
from kfp_suite.server.limits import PREDICT_SECONDS, drain_seconds


def main() -> None:
    """Serve one model, or many; the names of the arguments are KServe's, which adds some of
    its own."""
    parser = argparse.ArgumentParser(prog="python -m kfp_suite.server")
    parser.add_argument("--model_name")
    parser.add_argument("--model_dir", type=Path, required=True)
    parser.add_argument("--model_version")
    parser.add_argument(
        "--multi_model", action="store_true", help="serve what is loaded from folders below"
    )
    parser.add_argument("--host", help="address to bind to; all there are, of IPv6, too")
    parser.add_argument("--http_port", type=int, default=8080)
    parser.add_argument("--grpc_port", type=int, default=8081, help="0: no gRPC")
    parser.add_argument("--predictor_host", help="serve as the transformer before this server")
    parser.add_argument("--predictor_outputs", default="", help="the tensor to ask it for")
    parser.add_argument(
        "--predict-timeout",
        type=_seconds,
        default=PREDICT_SECONDS,
        help="seconds a prediction may take; then 504, and no sign of life while it goes on: 60",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes behind the port")
    parser.add_argument(
        "--cors_origin",
        action="append",
        default=[],
        help="origin of web pages that may send requests, * for all; may be repeated; none",
    )
    # Given to a worker.
    parser.add_argument("--socket", type=int, action="append", default=[], help=argparse.SUPPRESS)
    given, _ = parser.parse_known_args()
    host = given.host or every_address()
    if not given.multi_model and not (given.model_name and given.model_version):
        parser.error("give --model_name and --model_version, or --multi_model")
    if given.workers < 1 or (given.multi_model and given.workers > 1):
        parser.error("--workers: 1 or more, and 1 with --multi_model")
    if given.workers > 1 and not given.socket:
        from kfp_suite.server.logs import say_served, show_own_log
        from kfp_suite.server.workers import run_workers

        show_own_log()
        drain = drain_seconds(given.predict_timeout)
        check_grpc_port(host, given.grpc_port or None, given.http_port)
        named = {given.model_name: given.model_version}
        where = host, given.http_port
        started = partial(say_served, named, *where, given.grpc_port or None)
        code = run_workers(given.workers, sys.argv[1:], *where, drain=drain, started=started)
        sys.exit(code)
    sys.argv = sys.argv[:1]  # kserve reads the command line when it is imported
    from kfp_suite.server.model import ServedVersion, VersionedModel
    from kfp_suite.server.remote_predictor import RemoteScores
    from kfp_suite.server.serving import serve

    if given.multi_model:
        serve(
            {},
            host=host,
            http_port=given.http_port,
            grpc_port=given.grpc_port or None,
            folder=given.model_dir,
            predict_seconds=given.predict_timeout,
            cors_origins=given.cors_origin,
        )
        return
    remote = None
    if given.predictor_host:
        remote = RemoteScores(given.predictor_host, given.model_name, given.predictor_outputs)
    served = ServedVersion.load(given.model_version, given.model_dir, estimator=remote is None)
    serve(
        {VersionedModel(given.model_name, served, remote, given.predict_timeout): None},
        host=host,
        http_port=given.http_port,
        grpc_port=given.grpc_port or None,
        predict_seconds=given.predict_timeout,
        listeners=[socket.socket(fileno=number) for number in given.socket],
        cors_origins=given.cors_origin,
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("not above 0")
    return seconds


if __name__ == "__main__":
    main()
