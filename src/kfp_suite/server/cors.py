"""Requests of web pages (Cross-Origin Resource Sharing): refused, unless their origin is named."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware

from kfp_suite.runtimes.http_client import VERSION_HEADER

_MAX_AGE_SECONDS = 600


def add_cors(app: Starlette, origins: Sequence[str]) -> None:
    """Accept requests of pages of `origins`; `*`: any. To be called after all other middleware."""
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],
            expose_headers=[VERSION_HEADER, "inference-header-content-length"],
            max_age=_MAX_AGE_SECONDS,
        )
