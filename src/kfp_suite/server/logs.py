"""The log of a server: models and their addresses, refused requests, and errors.

KServe and uvicorn describe their own start in some ten lines, and KServe times each request in
one more: they are left out unless `KSERVE_LOGLEVEL` enables them. So are probes and scrapes of
the metrics, which a cluster sends every few seconds: they were nearly all of the log.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterable, Mapping

from kfp_suite.runtimes.local import address_of

_LIBRARIES = ("kserve", "kserve.trace", "uvicorn.error")
_LEVEL = "KSERVE_LOGLEVEL"
_PROBE = re.compile(r"/metrics|/v2/health/(live|ready)|/v2/models/[^/]+/ready")
_FORMAT = "%(asctime)s %(process)d %(levelname)s %(message)s"


def show_own_log(*others: str) -> None:
    """Write the logs of this package, and of the loggers named `others`, to stderr."""
    for name in ("kfp_suite", *others):
        logger = logging.getLogger(name)
        if not logger.handlers:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter(_FORMAT))
            logger.addHandler(handler)
    logging.getLogger("kfp_suite").setLevel(logging.INFO)


def ignore_library_warnings() -> None:
    """Leave out FastAPI's warnings about KServe's own code, which a user cannot mend."""
    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")


def quiet_libraries() -> None:
    """Log warnings and above only; to be called after KServe has set its levels."""
    if not os.environ.get(_LEVEL):
        for name in _LIBRARIES:
            logging.getLogger(name).setLevel(logging.WARNING)


def leave_out_probes() -> None:
    """Leave probes and scrapes out of uvicorn's access log."""
    if not os.environ.get(_LEVEL):
        logging.getLogger("uvicorn.access").addFilter(_is_no_probe)


def _is_no_probe(record: logging.LogRecord) -> bool:
    """`record.args`: client, method, path with its query, HTTP version, status."""
    arguments = record.args
    path = arguments[2] if isinstance(arguments, tuple) and len(arguments) > 2 else ""
    return _PROBE.fullmatch(str(path).partition("?")[0]) is None


def say_served(
    served: Mapping[str, str],
    host: str,
    http_port: int,
    grpc_port: int | None = None,
    graphs: Iterable[str] = (),
) -> None:
    """Write the address of each model and graph to stdout, a line each.

    Args:
        served: Name of a model to its version.
        host: The address that the server listens on.
        http_port: Of HTTP.
        grpc_port: Of gRPC; None: it is not served.
        graphs: Names of InferenceGraphs.
    """
    url = f"http://{address_of(host, http_port)}"
    beside = f", gRPC at {address_of(host, grpc_port)}" if grpc_port else ""
    lines = [
        f"{name} version {version}: {url}/v1/models/{name}:predict{beside}"
        for name, version in served.items()
    ]
    lines += [f"graph {name}: {url}/graphs/{name}" for name in graphs]
    for line in lines or [f"no model yet: {url}{beside}"]:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
