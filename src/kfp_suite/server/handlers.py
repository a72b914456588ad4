"""Which answer the server gives to each exception of KServe's, FastAPI's and ours."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request
from fastapi.responses import Response
from kserve import errors
from starlette.exceptions import HTTPException

from kfp_suite.server.errors import Unanswered
from kfp_suite.server.refusals import refusal, refuse_path, tell_defect

_STATUS: dict[type[Exception], int] = {
    errors.InvalidInput: 400,
    errors.ModelNotFound: 404,
    errors.ModelNotReady: 503,
    errors.ServerNotReady: 503,
    errors.ServerNotLive: 503,
    errors.UnsupportedProtocol: 501,
    NotImplementedError: 501,
}


def status_of(error: BaseException) -> int:
    """The HTTP status that answers an exception; 500: it is a defect."""
    if isinstance(error, Unanswered):
        return error.code
    if isinstance(error, asyncio.CancelledError):  # the server ends
        return 503
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def add_handlers(app: FastAPI) -> None:
    """Let `app` answer each exception in our form, and no longer in KServe's."""
    for kind in _STATUS:
        app.add_exception_handler(kind, _refuse_known)
    app.add_exception_handler(Unanswered, _refuse_unanswered)
    app.add_exception_handler(HTTPException, refuse_path)
    app.add_exception_handler(errors.InferenceError, tell_defect)
    app.add_exception_handler(Exception, tell_defect)


async def _refuse_known(request: Request, error: Exception) -> Response:
    return refusal(request.scope, status_of(error), str(error))


async def _refuse_unanswered(request: Request, error: Exception) -> Response:
    assert isinstance(error, Unanswered)
    return refusal(request.scope, error.code, str(error.details))
