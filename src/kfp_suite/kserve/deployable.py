"""A published version, ready for the server that it is deployed on."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_suite.contracts.digests import PREFIX, digest_value
from kfp_suite.contracts.errors import AlreadyExistsError
from kfp_suite.contracts.model import MANIFEST, Field, Signature
from kfp_suite.contracts.parameters import parse
from kfp_suite.contracts.sample import Sample, read_sample
from kfp_suite.kserve.manifests import Served, takes_features
from kfp_suite.runtimes.layout import LayoutRequest, lay_out
from kfp_suite.runtimes.protocol import Question, finite, question_for
from kfp_suite.runtimes.runtime import SUITE, find_runtime
from kfp_suite.stores.versions import CHAMPION, ModelStore


@dataclass(frozen=True)
class Deployable:
    """A version with its server's storage URI, its signature and its sample."""

    models: ModelStore
    served: Served
    options: Mapping[str, Any]
    inputs: tuple[Field, ...]
    sample: Sample

    @classmethod
    def find(
        cls,
        models: ModelStore,
        model: str,
        version: int,
        *,
        runtime: str = SUITE,
        options: Mapping[str, Any] | None = None,
        name: str = "",
        beside: Sequence[int] = (),
    ) -> Deployable:
        """A published version; laid out for another server than ours, once.

        Args:
            models: The store of versions.
            model: The model's name.
            version: The version.
            runtime: The server.
            options: The server's own.
            name: The endpoint's; empty: the model's.
            beside: More versions, for a server that serves several.

        Raises:
            MissingError: there is no such version.
            ParameterError: the server cannot serve it, or not several.
        """
        options, name = dict(options or {}), name or model
        manifest = models.manifest(model, version)
        base = f"{model}/{version}/{manifest.path}"

        def read(file: str) -> bytes:
            return models.store.read(f"{base}/{file}")

        described = _Described.read(read(MANIFEST))
        served = Served(
            name=name,
            model=model,
            version=version,
            digest=manifest.digest,
            manifest_digest=models.manifest_digest(model, version),
            store=models.store.uri,
            model_uri=models.model_uri(manifest),
            runtime=runtime,
            storage_uri=_storage_uri(
                models, model, version, beside, LayoutRequest(runtime, name, options)
            ),
            framework=described.framework,
            probabilities=len(described.signature.outputs) > 1,
            sklearn=described.sklearn,
        )
        return cls(models, served, options, described.signature.inputs, read_sample(read))

    def question(self, manifest: Mapping[str, Any]) -> tuple[Sample, Question]:
        """The sample, and the request for it that the endpoint `manifest` takes."""
        features = takes_features(self.served, self.options) and not manifest["spec"].get(
            "transformer"
        )
        sample = finite(self.sample) if features else self.sample
        return sample, question_for(
            self.served.runtime,
            self.served.name,
            sample,
            features=features,
            inputs=self.inputs,
            probabilities=self.served.probabilities,
        )

    def make_champion(self, reason: str, check_in_place: Callable[[], None]) -> None:
        """Make the version champion while its endpoint is in place.

        The alias follows the endpoint: of two deployments at once, the one whose version
        serves in the end is champion, whichever of them ends first.

        Args:
            reason: For the alias's history.
            check_in_place: Raises SupersededError if the endpoint is of another version.

        Raises:
            SupersededError: from `check_in_place`.
        """
        while True:
            before = self.models.alias(self.served.model, CHAMPION) or 0
            check_in_place()
            try:
                self.models.set_alias(
                    self.served.model, CHAMPION, self.served.version, reason, expected=before
                )
                return
            except AlreadyExistsError:
                continue  # moved meanwhile: is it still ours?


@dataclass(frozen=True)
class _Described:
    """The parts of `model.json` that a deployment needs."""

    framework: str
    signature: Signature
    sklearn: str

    @classmethod
    def read(cls, content: bytes) -> _Described:
        found = json.loads(content)
        wanted = {key: found[key] for key in ("framework", "signature")}
        libraries = found["recipe"]["environment"]["libraries"]
        return parse(cls, {**wanted, "sklearn": libraries.get("scikit-learn", "")}, MANIFEST)


def _storage_uri(
    models: ModelStore, model: str, version: int, beside: Sequence[int], request: LayoutRequest
) -> str:
    versions = sorted({version, *beside})
    if request.runtime == SUITE and len(versions) == 1:
        return models.model_uri(models.manifest(model, version))
    made_of = {
        "format": find_runtime(request.runtime).layout_format,
        "runtime": request.runtime,
        "name": request.name,
        "options": dict(request.options),
        "versions": {str(n): models.manifest_digest(model, n) for n in versions},
        "deployed": version,
    }
    key = f"{request.runtime}-{digest_value(made_of).removeprefix(PREFIX)[:16]}"
    found = models.layout_uri(model, key)
    if found is not None:
        return found
    with tempfile.TemporaryDirectory(prefix="kfp-suite-layout-") as scratch:
        artifacts = {}
        for number in versions:
            artifacts[number] = Path(scratch) / "versions" / str(number)
            models.fetch(model, number, artifacts[number])
        folder = Path(scratch) / "layout"
        folder.mkdir()
        lay_out(request, artifacts, folder, deployed=version)
        return models.publish_layout(model, key, folder)
