"""Published versions and their aliases, in any store.

    <store>/<model>/_numbers/<n>.json      who owns version n: the digest of its model
    <store>/<model>/<n>/model-<edition>/…  the Model artifact
    <store>/<model>/<n>/saved_model-<edition>/<n>/…  a SavedModel as TensorFlow Serving lays
                                           versions out: the folder above is what it serves
    <store>/<model>/<n>/manifest.json      written last: a version is there when this is
    <store>/<model>/_aliases/<alias>/<n>.json   the alias's history, append-only
    <store>/<model>/_layouts/<key>/…       versions in the layout of another model server
    <store>/<model>/_layouts/<key>.json    its files and their digests, written last
    <store>/<model>/_rollouts/…            which rollouts were decided against, and why

The only primitive is exclusive create. A number is claimed for a *model digest*, and every
push looks at the numbers in order from 1 before it claims the first free one: so two
pushes of one model can never claim two numbers, and a push that is killed at any point is
finished by the next push of the same model.

An edition is named by the digest of its `model.json`: two runs that made the same model
may differ in what they record of themselves, and must not mix their files. The first
manifest wins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfp_suite.components.contracts.atomic import whole_folder
from kfp_suite.components.contracts.canonical import pretty_json
from kfp_suite.components.contracts.digests import (
    PREFIX,
    check_files,
    digest_bytes,
    digest_file,
    digest_files,
    files_below,
)
from kfp_suite.components.contracts.errors import (
    AlreadyExistsError,
    ContractError,
    IntegrityError,
    MissingError,
    ParameterError,
    did_you_mean,
)
from kfp_suite.components.contracts.model import MANIFEST as MODEL_MANIFEST
from kfp_suite.components.contracts.model import SAVED_MODEL, ModelManifest, read_model
from kfp_suite.components.contracts.parameters import parse
from kfp_suite.components.stores.store import Store

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
CHAMPION = "champion"
CHALLENGER = "challenger"
_NUMBERS = "_numbers"
_ALIASES = "_aliases"
_LAYOUTS = "_layouts"
_SAVED_MODEL = f"{SAVED_MODEL}/"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME_RULE = "lower-case letters, digits and '-', at most 63, as KServe names endpoints"


@dataclass(frozen=True)
class FileEntry:
    """A file of a version: its size and its digest."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class VersionManifest:
    """What `manifest.json` holds: everything known of a version.

    `path` is the folder of the Model artifact below the version; `files` are named below
    it. `recipe` is the model's lineage, `evaluation` the verdict it was published by,
    `run` the run that did.
    """

    model: str
    version: int
    digest: str
    path: str
    files: dict[str, FileEntry]
    recipe: dict[str, Any]
    evaluation: dict[str, Any]
    run: dict[str, Any]
    parameters: dict[str, Any]
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class Published:
    """A published version. `created` is False where an earlier push had published it."""

    model: str
    version: int
    uri: str
    digest: str
    manifest_digest: str
    created: bool


@dataclass(frozen=True)
class AliasRecord:
    """One move of an alias."""

    alias: str
    version: int
    reason: str
    moved: str | None = None


def check_model_name(name: str) -> str:
    """`name`, if it can name a model and an endpoint.

    Raises:
        ParameterError: with a name that would do.
    """
    if _NAME.fullmatch(name):
        return name
    near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-")
    raise ParameterError(
        "not a model name",
        got=name,
        expected=_NAME_RULE,
        fix=f"use '{near}'" if near else None,
    )


def _saved_model(path: str) -> str:
    """The folder, beside the Model artifact `path`, that TensorFlow Serving serves."""
    return path.replace("model-", f"{SAVED_MODEL}-", 1)


class ModelStore:
    """The published versions in a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def uri(self, model: str, version: int) -> str:
        """The URI of a version's folder."""
        return f"{self.store.uri.rstrip('/')}/{model}/{version}"

    def model_uri(self, manifest: VersionManifest) -> str:
        """The URI of a version's Model artifact: what a model server loads."""
        return f"{self.uri(manifest.model, manifest.version)}/{manifest.path}"

    def saved_model_uri(self, manifest: VersionManifest) -> str | None:
        """The URI that TensorFlow Serving serves: a folder that holds the SavedModel under
        the version's number; None where the model has none."""
        if not any(name.startswith(_SAVED_MODEL) for name in manifest.files):
            return None
        return f"{self.uri(manifest.model, manifest.version)}/{_saved_model(manifest.path)}"

    def models(self) -> list[str]:
        """The names of all models with a published version."""
        names = {i.name.split("/")[0] for i in self.store.list() if i.name.endswith(f"/{MANIFEST}")}
        return sorted(names)

    def versions(self, model: str) -> list[int]:
        """The published versions of a model, ascending; half-pushed ones are not there."""
        check_model_name(model)
        found = []
        for info in self.store.list(f"{model}/"):
            parts = info.name.split("/")
            if len(parts) == 3 and parts[2] == MANIFEST and parts[1].isdigit():
                found.append(int(parts[1]))
        return sorted(found)

    def created(self, model: str, version: int) -> str | None:
        """When a version was published, as the store tells."""
        return self.store.stat(f"{model}/{version}/{MANIFEST}").created

    def manifest(self, model: str, version: int) -> VersionManifest:
        """The manifest of a version.

        Raises:
            MissingError: there is no such version, with those there are.
        """
        return self._manifest(model, version)[0]

    def model_manifest(self, manifest: VersionManifest) -> ModelManifest:
        """What the `model.json` of a version holds.

        Raises:
            ContractError: it is of another format, or not ours.
        """
        name = f"{manifest.model}/{manifest.version}/{manifest.path}/{MODEL_MANIFEST}"
        where = f"{self.store.uri}/{name}"
        try:
            return parse(ModelManifest, json.loads(self.store.read(name)), where)
        except ValueError as error:
            raise ContractError("not valid JSON", where=where, got=str(error)) from error

    def manifest_digest(self, model: str, version: int) -> str:
        """The digest of a version's `manifest.json`."""
        return self._manifest(model, version)[1]

    def _manifest(self, model: str, version: int) -> tuple[VersionManifest, str]:
        check_model_name(model)
        where = f"{self.uri(model, version)}/{MANIFEST}"
        try:
            content = self.store.read(f"{model}/{version}/{MANIFEST}")
        except MissingError as error:
            known = self.versions(model)
            raise MissingError(
                f"no version {version} of '{model}'",
                where=self.store.uri,
                fix=f"versions: {', '.join(map(str, known))}"
                if known
                else did_you_mean(model, self.models()),
            ) from error
        try:
            value = json.loads(content)
        except ValueError as error:
            raise ContractError("not valid JSON", where=where, got=str(error)) from error
        if not isinstance(value, dict) or value.get("format_version") != FORMAT_VERSION:
            raise ContractError("unknown version format", where=where, got=value)
        return parse(VersionManifest, value, where), digest_bytes(content)

    def publish(
        self,
        model: str,
        folder: Path,
        evaluation: Mapping[str, Any],
        run: Mapping[str, Any],
        parameters: Mapping[str, Any],
    ) -> Published:
        """Publish the Model artifact in `folder` as a version.

        The same model, pushed again, is the version it was.

        Args:
            model: The model's name.
            folder: A Model artifact; it is verified first.
            evaluation: The verdict and the metrics it is published by.
            run: The run that publishes it.
            parameters: Anything else worth keeping.

        Raises:
            IntegrityError: the artifact is not what its manifest says.
            StoreError: the store refused.
        """
        check_model_name(model)
        artifact = read_model(folder)
        artifact.verify()
        digest = artifact.manifest.digest
        version = self._claim(model, digest)
        base = f"{model}/{version}"
        edition = digest_file(folder / MODEL_MANIFEST).removeprefix(PREFIX)[:8]
        path = f"model-{edition}"
        names = artifact.names
        files = {
            name: FileEntry((folder / name).stat().st_size, sha256)
            for name, sha256 in digest_files(folder, names).items()
        }
        if not self._exists(f"{base}/{MANIFEST}"):
            for name in names:
                self._create_same(f"{base}/{path}/{name}", folder / name)
                if name.startswith(_SAVED_MODEL):
                    below = f"{_saved_model(path)}/{version}/{name.removeprefix(_SAVED_MODEL)}"
                    self._create_same(f"{base}/{below}", folder / name)
        manifest = VersionManifest(
            model=model,
            version=version,
            digest=digest,
            path=path,
            files=files,
            recipe=asdict(artifact.manifest.recipe),
            evaluation=dict(evaluation),
            run=dict(run),
            parameters=dict(parameters),
        )
        try:
            self.store.create(f"{base}/{MANIFEST}", pretty_json(asdict(manifest)))
            created = True
        except AlreadyExistsError:
            created = False
        return Published(
            model=model,
            version=version,
            uri=self.uri(model, version),
            digest=digest,
            manifest_digest=self.manifest_digest(model, version),
            created=created,
        )

    def _claim(self, model: str, digest: str) -> int:
        """The number of `digest`: the one it has, or the first that is free."""
        number = 1
        while True:
            name = f"{model}/{_NUMBERS}/{number}.json"
            try:
                owner = json.loads(self.store.read(name))["digest"]
            except MissingError:
                try:
                    self.store.create(name, pretty_json({"digest": digest}))
                except AlreadyExistsError:
                    continue  # somebody was faster: look who
                return number
            if owner == digest:
                return number
            number += 1

    def _create_same(self, name: str, content: Path) -> None:
        """Create an object; one that an earlier try left must hold the same bytes."""
        try:
            self.store.create(name, content)
        except AlreadyExistsError as error:
            got = digest_bytes(self.store.read(name))
            if got != (expected := digest_file(content)):
                raise IntegrityError(
                    "another file is there", where=name, got=got, expected=expected
                ) from error

    def _exists(self, name: str) -> bool:
        try:
            self.store.stat(name)
        except MissingError:
            return False
        return True

    def fetch(self, model: str, version: int, folder: Path) -> VersionManifest:
        """Copy a version's Model artifact to `folder`, and check every digest.

        Raises:
            MissingError: there is no such version.
            IntegrityError: its bytes are not those that were published.
        """
        manifest = self.manifest(model, version)
        with whole_folder(folder) as partial:
            self.store.download(f"{model}/{version}/{manifest.path}", partial)
            check_files(partial, {name: entry.sha256 for name, entry in manifest.files.items()})
        return manifest

    def layout_uri(self, model: str, key: str) -> str | None:
        """The URI of a layout that was published whole, None where there is none."""
        if not self._exists(f"{model}/{_LAYOUTS}/{key}.json"):
            return None
        return f"{self.store.uri.rstrip('/')}/{model}/{_LAYOUTS}/{key}"

    def publish_layout(self, model: str, key: str, folder: Path) -> str:
        """Publish versions in the layout of a model server; the same again changes nothing.

        Args:
            model: The model's name.
            key: What the layout was made of: the same key is the same bytes.
            folder: The layout.

        Returns:
            Its URI.

        Raises:
            IntegrityError: other bytes are there under the same key.
        """
        check_model_name(model)
        base = f"{model}/{_LAYOUTS}/{key}"
        files = digest_files(folder, files_below(folder))
        for name in files:
            self._create_same(f"{base}/{name}", folder / name)
        with suppress(AlreadyExistsError):
            self.store.create(f"{base}.json", pretty_json({"files": files}))
        return f"{self.store.uri.rstrip('/')}/{base}"

    def fetch_layout(self, model: str, uri: str, folder: Path) -> None:
        """Copy a published layout to `folder`, and check every digest.

        Raises:
            MissingError: there is none at `uri`.
            IntegrityError: its bytes are not those that were published.
        """
        base = f"{check_model_name(model)}/{_LAYOUTS}/{uri.rstrip('/').rpartition('/')[2]}"
        files = json.loads(self.store.read(f"{base}.json"))["files"]
        with whole_folder(folder) as partial:
            self.store.download(base, partial)
            check_files(partial, files)

    def verify(self, model: str, version: int) -> VersionManifest:
        """Recompute every digest of a version, without keeping its files.

        Raises:
            IntegrityError: naming the first that does not match, or a file that was not
                published.
        """
        manifest = self.manifest(model, version)
        base = f"{model}/{version}/{manifest.path}"
        for info in self.store.list(f"{base}/"):
            if info.name.removeprefix(f"{base}/") not in manifest.files:
                raise IntegrityError(
                    "a file that was not published with the version",
                    where=f"{self.store.uri}/{info.name}",
                    fix="remove it; a published version is never added to",
                )
        for name, entry in manifest.files.items():
            got = digest_bytes(self.store.read(f"{base}/{name}"))
            if got != entry.sha256:
                raise IntegrityError(
                    "the bytes do not match the manifest",
                    where=f"{self.model_uri(manifest)}/{name}",
                    got=got,
                    expected=entry.sha256,
                    fix="roll back to another version; a published version is never edited",
                )
        owner = json.loads(self.store.read(f"{model}/{_NUMBERS}/{version}.json"))["digest"]
        recorded = json.loads(self.store.read(f"{base}/{MODEL_MANIFEST}"))["digest"]
        for got in (owner, recorded):
            if got != manifest.digest:
                raise IntegrityError(
                    "the model's digest is not the manifest's",
                    where=self.uri(model, version),
                    got=got,
                    expected=manifest.digest,
                )
        return manifest

    def aliases(self, model: str) -> dict[str, int]:
        """Every alias of a model and the version it names."""
        check_model_name(model)
        names = {i.name.split("/")[2] for i in self.store.list(f"{model}/{_ALIASES}/")}
        return {alias: self.alias_history(model, alias)[-1].version for alias in sorted(names)}

    def alias_history(self, model: str, alias: str) -> list[AliasRecord]:
        """Every move of an alias, oldest first; empty where it was never set."""
        prefix = f"{check_model_name(model)}/{_ALIASES}/{check_model_name(alias)}/"
        infos = sorted(
            self.store.list(prefix), key=lambda info: int(info.name[len(prefix) : -len(".json")])
        )
        history = []
        for info in infos:
            value = json.loads(self.store.read(info.name))
            history.append(AliasRecord(alias, value["version"], value["reason"], info.created))
        return history

    def set_alias(
        self,
        model: str,
        alias: str,
        version: int,
        reason: str,
        expected: int | None = None,
    ) -> None:
        """Move an alias to a version; where it is there already, nothing is written.

        Args:
            expected: The version it must name now, if it is not there already; 0 where it may
                name none yet; None moves it from wherever it is.

        Raises:
            MissingError: there is no such version.
            AlreadyExistsError: the alias does not name `expected`.
        """
        self.manifest(model, version)
        while True:
            history = self.alias_history(model, alias)
            current = history[-1].version if history else 0
            if current == version:
                return
            if expected is not None and current != expected:
                raise AlreadyExistsError(
                    f"alias '{alias}' was moved by somebody else",
                    where=f"{self.store.uri}/{model}",
                    got=f"version {current or 'none'}",
                    expected=f"version {expected or 'none'}",
                    fix="look at the new version, then set the alias again",
                )
            name = f"{model}/{_ALIASES}/{alias}/{len(history) + 1}.json"
            try:
                self.store.create(name, pretty_json({"version": version, "reason": reason}))
                return
            except AlreadyExistsError:
                continue  # another move came between: look again

    def rollback(self, model: str, alias: str = CHAMPION) -> int:
        """Move an alias back to the version it named before; return that version.

        Raises:
            MissingError: the alias never named another version.
        """
        history = self.alias_history(model, alias)
        current = history[-1].version if history else None
        before = next((r.version for r in reversed(history) if r.version != current), None)
        if before is None:
            raise MissingError(
                f"alias '{alias}' has no version to go back to",
                where=f"{self.store.uri}/{model}",
                got=f"history: {', '.join(str(r.version) for r in history) or 'none'}",
            )
        self.set_alias(model, alias, before, f"rollback from {current}", expected=current)
        return before

    def resolve(self, model: str, reference: str = "") -> int:
        """The version that a number, an alias or nothing names.

        Nothing names the champion, or the newest version where there is no champion.

        Raises:
            MissingError: it names none.
        """
        if reference.isdigit():
            return self.manifest(model, int(reference)).version
        aliases = self.aliases(model)
        if not reference:
            if CHAMPION in aliases:
                return aliases[CHAMPION]
            if versions := self.versions(model):
                return versions[-1]
            raise MissingError(
                f"no model '{model}'",
                where=self.store.uri,
                fix=did_you_mean(model, self.models()),
            )
        if reference not in aliases:
            raise MissingError(
                f"no alias '{reference}' of '{model}'",
                where=self.store.uri,
                fix=did_you_mean(reference, aliases),
            )
        return aliases[reference]


def parse_reference(reference: str) -> tuple[str, str, str]:
    """`STORE/MODEL[/VERSION|/ALIAS]` as store URI, model and version or alias (or "").

    The last part is a version where it is a number, or where the part before it names a
    model that the store has.

    Raises:
        ParameterError: it names no model.
    """
    from kfp_suite.components.stores.store import open_store

    trimmed = reference.rstrip("/")
    head, _, last = trimmed.rpartition("/")
    store, _, model = head.rpartition("/")
    if last.isdigit() and model:
        return store or "/", model, last
    if model and _NAME.fullmatch(model) and _NAME.fullmatch(last):
        known = ModelStore(open_store(store or "/"))
        if known.versions(model):
            return store or "/", model, last
    if not last or not head:
        raise ParameterError(
            "not a model reference", got=reference, expected="STORE/MODEL or STORE/MODEL/VERSION"
        )
    return head, check_model_name(last), ""
