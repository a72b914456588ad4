"""Versions and repository of V2 (Open Inference Protocol), for which KServe answers 501 and 503.

`/v2/models/{name}/versions/{version}…` and `?model_version=` name the version that serves, or
nothing; models are loaded and unloaded by request in a server of many alone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

import kserve
from kserve.errors import InvalidInput, ModelNotFound
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from starlette.types import Receive, Scope, Send

from kfp_suite.contracts.errors import KfpSuiteError, ParameterError
from kfp_suite.contracts.model import MANIFEST as MODEL_MANIFEST
from kfp_suite.contracts.model import read_model
from kfp_suite.kserve.manifests import artifact_version
from kfp_suite.server.errors import (
    NotLoadable,
    VersionNotServed,
)
from kfp_suite.server.limits import PREDICT_SECONDS
from kfp_suite.server.model import ServedVersion, VersionedModel
from kfp_suite.server.refusals import refusal
from kfp_suite.stores.versions import check_model_name

_VERSIONED = re.compile(r"(?P<model>/v2/models/(?P<name>[^/]+))/versions/(?P<version>[^/]+)")
_QUERY = "model_version"


class VersionInPath:
    """ASGI middleware: takes the version out of a request, or answers 404.

    Args:
        app: The application, which gets requests without a version.
        version_of: The version of a model, None for an unknown model.
    """

    def __init__(self, app: Any, version_of: Callable[[str], str | None]) -> None:
        self._app, self._version_of = app, version_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (
            "/versions/" in scope["path"] or _QUERY.encode() in scope["query_string"]
        ):
            wanted = self._taken_out(scope)
            if wanted is not None:
                name, version = wanted
                served = self._version_of(name)
                if served is not None and version != served:
                    error = VersionNotServed(name, version, served)
                    answer = refusal(scope, error.code, str(error.details))
                    await answer(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _taken_out(self, scope: Scope) -> tuple[str, str] | None:
        """The model and the version that a request names; None if it names none."""
        path, version = scope["path"], ""
        if found := _VERSIONED.match(path):
            version, path = found["version"], found["model"] + path[found.end() :]
            scope["path"], scope["raw_path"] = path, path.encode()
        pairs = parse_qsl(scope["query_string"].decode(errors="replace"), keep_blank_values=True)
        for key, value in pairs:
            version = value if key == _QUERY else version
        rest = [pair for pair in pairs if pair[0] != _QUERY]
        if len(rest) < len(pairs):
            scope["query_string"] = urlencode(rest).encode()
        model = re.match(r"/v2/models/([^/]+)", path)
        return (unquote(model[1]), version) if model and version else None


class Repository(kserve.ModelRepository):  # type: ignore[misc]
    """The models of a server. With a folder, the models below it are loaded and unloaded by
    request, in the layout of KServe's agent."""

    def __init__(
        self, folder: Path | None = None, predict_seconds: float = PREDICT_SECONDS
    ) -> None:
        super().__init__()
        self._predict_seconds = predict_seconds
        self._folder = folder

    @property
    def shared(self) -> bool:
        """Whether models come and go."""
        return self._folder is not None

    def version(self, name: str) -> str | None:
        """The version of a model that is served, None for one that is not."""
        model = self.get_model(name)
        return model.version if model is not None else None

    def read(self, name: str) -> ServedVersion:
        """A model of the folder, as it is now. Raises ModelNotFound, and as
        `ServedVersion.load`."""
        try:
            place = self._folder / check_model_name(name) if self._folder is not None else None
        except ParameterError as error:
            raise ModelNotFound(name) from error
        if place is None or not (place / MODEL_MANIFEST).is_file():
            raise ModelNotFound(name)
        digest = read_model(place).manifest.digest
        return ServedVersion.load(artifact_version(digest), place)

    def put(self, name: str, found: ServedVersion) -> None:
        """Serve it."""
        served = self.get_model(name)
        if served is None:
            self.update(VersionedModel(name, found, predict_seconds=self._predict_seconds))
        else:
            served.replace(found)

    def read_all(self) -> None:
        """Serve the models that are below the folder."""
        for place in sorted(self._folder.iterdir()) if self._folder is not None else ():
            if (place / MODEL_MANIFEST).is_file():
                self.put(place.name, self.read(place.name))


class RepositoryExtension(ModelRepositoryExtension):  # type: ignore[misc]
    """KServe's, for models that come and go; all others stay."""

    async def index(self, filter_ready: bool | None = False) -> list[dict[str, str]]:
        """The models, as V2 lists them.

        Args:
            filter_ready: Only those that answer.
        """
        found = []
        for name in self._model_registry.get_models():
            ready = await self._model_registry.is_model_ready(name)
            if ready or not filter_ready:
                version = self._model_registry.version(name)
                state = "READY" if ready else "UNAVAILABLE"
                found.append({"name": name, "version": version, "state": state, "reason": ""})
        return found

    async def load(self, model_name: str) -> None:
        """Serve a model from the present content of its folder.

        Raises:
            NotLoadable: this server's models are fixed.
            ModelNotFound: there is none.
            InvalidInput: it is not as it was published, or does not predict its own sample;
                the version before goes on serving.
        """
        if not self._model_registry.shared:
            raise NotLoadable(model_name)
        try:
            found = await asyncio.to_thread(self._model_registry.read, model_name)
        except ModelNotFound:
            raise
        except Exception as error:  # a model is code: it may raise anything
            told = error if isinstance(error, KfpSuiteError) else f"{type(error).__name__}: {error}"
            raise InvalidInput(f"model '{model_name}' cannot be loaded: {told}") from error
        self._model_registry.put(model_name, found)

    async def unload(self, model_name: str) -> None:
        """Serve a model no longer.

        Raises:
            NotLoadable: models do not come and go here.
            ModelNotFound: there is none.
        """
        if not self._model_registry.shared:
            raise NotLoadable(model_name)
        await super().unload(model_name)
