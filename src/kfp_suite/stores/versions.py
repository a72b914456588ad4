"""Published versions and their aliases, in any store.

    <store>/<model>/_numbers/…             the owner of each number: see `numbers.py`
    <store>/<model>/<n>/model-<edition>/…  the Model artifact
    <store>/<model>/<n>/saved_model-<edition>/<n>/…  a SavedModel as TensorFlow Serving lays
                                           versions out: the folder above is what it serves
    <store>/<model>/<n>/manifest.json      written last: a version is there when this is
    <store>/<model>/_aliases/<alias>/<n>.json   the alias's history: see `aliases.py`
    <store>/<model>/_layouts/<key>/…       versions in the layout of another model server
    <store>/<model>/_layouts/<key>.json    its files and their digests, written last
    <store>/<model>/_rollouts/…            which rollouts were decided against, and why
    <store>/<model>/_served/…              what has answered on which endpoint: see `kserve.served`

The only primitive is exclusive create. A number is claimed for a *model digest*, and a push
that has no number yet claims the one after the newest: so two pushes of one model can never
claim two numbers, and a push that is killed at any point is finished by the next push of the
same model.

What else lies in a store (empty objects named like folders, files of a desktop or of a file
system) is not ours and changes nothing: names are taken for what they match exactly, and files
are read by the names that a manifest has.

An edition is named by the digest of its `model.json`: two runs that made the same model
may differ in what they record of themselves, and must not mix their files. The first
manifest wins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import pretty_json
from kfp_suite.contracts.digests import (
    PREFIX,
    check_files,
    digest_bytes,
    digest_file,
    digest_files,
    files_below,
)
from kfp_suite.contracts.errors import (
    AlreadyExistsError,
    ContractError,
    IntegrityError,
    MissingError,
    ParameterError,
    did_you_mean,
)
from kfp_suite.contracts.model import MANIFEST as MODEL_MANIFEST
from kfp_suite.contracts.model import SAVED_MODEL, ModelManifest, read_model
from kfp_suite.contracts.parameters import parse
from kfp_suite.stores.aliases import Alias, AliasRecord
from kfp_suite.stores.numbers import Numbers
from kfp_suite.stores.records import parse_number, read_object
from kfp_suite.stores.store import Store, is_name

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
CHAMPION = "champion"
CHALLENGER = "challenger"
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
    """The content of `manifest.json`: everything known of a version.

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
    """A published version. `created` is False if an earlier push had published it."""

    model: str
    version: int
    uri: str
    digest: str
    manifest_digest: str
    created: bool


def is_model_name(name: str) -> bool:
    """Whether `name` can name a model and an endpoint."""
    return bool(_NAME.fullmatch(name))


def check_model_name(name: str) -> str:
    """`name`, if it can name a model and an endpoint.

    Raises:
        ParameterError: with a name that would do.
    """
    if is_model_name(name):
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


def _saved_model_file(path: str, version: int, name: str) -> str:
    """Where a file of the SavedModel lies for TensorFlow Serving, below the version."""
    return f"{_saved_model(path)}/{version}/{name.removeprefix(_SAVED_MODEL)}"


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
        the version's number; None if the model has none."""
        if not any(name.startswith(_SAVED_MODEL) for name in manifest.files):
            return None
        return f"{self.uri(manifest.model, manifest.version)}/{_saved_model(manifest.path)}"

    def models(self) -> list[str]:
        """The names of all models with a published version."""
        return sorted({model for model, _ in self._list_published("")})

    def versions(self, model: str) -> list[int]:
        """The published versions of a model, ascending; half-pushed ones are not there."""
        return sorted(version for _, version in self._list_published(f"{check_model_name(model)}/"))

    def _list_published(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Model and number of each published version below a prefix."""
        for info in self.store.list(prefix):
            model, _, rest = info.name.partition("/")
            text, _, name = rest.partition("/")
            version = parse_number(text)
            if version is not None and name == MANIFEST and _NAME.fullmatch(model):
                yield model, version

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
        return parse(ModelManifest, read_object(self.store, name), where)

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
        version = self._numbers(model).claim(digest)
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
                    below = _saved_model_file(path, version, name)
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

    def _numbers(self, model: str) -> Numbers:
        return Numbers(self.store, model, MANIFEST)

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
            self.store.download(f"{model}/{version}/{manifest.path}", manifest.files, partial)
            check_files(partial, {name: entry.sha256 for name, entry in manifest.files.items()})
        return manifest

    def layout_uri(self, model: str, key: str) -> str | None:
        """The URI of a layout that was published whole, None if there is none."""
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
        files = read_object(self.store, f"{base}.json")["files"]
        with whole_folder(folder) as partial:
            self.store.download(base, files, partial)
            check_files(partial, files)

    def verify(self, model: str, version: int) -> VersionManifest:
        """Recompute every digest of a version, without keeping its files.

        Raises:
            IntegrityError: naming the first that does not match, or a file that was not
                published.
        """
        manifest = self.manifest(model, version)
        base = f"{model}/{version}"
        for info in self.store.list(f"{base}/{manifest.path}/"):
            name = info.name.removeprefix(f"{base}/{manifest.path}/")
            # What consoles and file systems leave (`folder/`, `.DS_Store`) is no file of a model.
            hidden = not is_name(name) or name.rpartition("/")[2].startswith(".")
            if name not in manifest.files and not hidden:
                raise IntegrityError(
                    "a file that was not published with the version",
                    where=f"{self.store.uri}/{info.name}",
                    fix="remove it; a published version is never added to",
                )
        for name, entry in manifest.files.items():
            copies = [f"{manifest.path}/{name}"]
            if name.startswith(_SAVED_MODEL):
                copies.append(_saved_model_file(manifest.path, version, name))
            for copy in copies:
                got = digest_bytes(self.store.read(f"{base}/{copy}"))
                if got != entry.sha256:
                    raise IntegrityError(
                        "the bytes do not match the manifest",
                        where=f"{self.uri(model, version)}/{copy}",
                        got=got,
                        expected=entry.sha256,
                        fix="roll back to another version; a published version is never edited",
                    )
        owner = self._numbers(model).owner(version)
        recorded = read_object(self.store, f"{base}/{manifest.path}/{MODEL_MANIFEST}")["digest"]
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
        start = f"{check_model_name(model)}/{_ALIASES}/"
        names = {info.name.removeprefix(start).partition("/")[0] for info in self.store.list(start)}
        found = {}
        for alias in sorted(name for name in names if _NAME.fullmatch(name)):
            current = self.alias(model, alias)
            if current is not None:
                found[alias] = current
        return found

    def alias(self, model: str, alias: str) -> int | None:
        """The version that an alias names; None if it was never set."""
        current = self._alias(model, alias).current()
        return current.version if current else None

    def alias_history(self, model: str, alias: str) -> list[AliasRecord]:
        """Every move of an alias, oldest first; empty if it was never set."""
        return self._alias(model, alias).history()

    def alias_taken_from(self, model: str, alias: str, version: int) -> AliasRecord | None:
        """The move that an alias is at now, if a rollback or a person took the alias away from
        `version`, however often it has moved since; else None."""
        return self._alias(model, alias).taken_from(version)

    def _alias(self, model: str, alias: str) -> Alias:
        folder = f"{check_model_name(model)}/{_ALIASES}"
        return Alias(self.store, model, folder, check_model_name(alias))

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
            expected: The version it must name now, if it is not there already; 0 if it may
                name none yet; None moves it from wherever it is.

        Raises:
            MissingError: there is no such version.
            AlreadyExistsError: the alias does not name `expected`.
        """
        self.manifest(model, version)
        self._alias(model, alias).move(version, reason, expected)

    def rollback(self, model: str, alias: str = CHAMPION) -> AliasRecord:
        """Move an alias back to the version it named before. One that was rolled back already
        stays where it is: two reactions to one alarm take one version back.

        Returns:
            The move that the alias is at now, its reason naming the version it came from.

        Raises:
            MissingError: there is no such model, or the alias never named another version.
        """
        if not self.has_model(model):
            raise self.no_model(model)
        return self._alias(model, alias).roll_back()

    def resolve(self, model: str, reference: str = "") -> int:
        """The version that a number, an alias or nothing names.

        Nothing names the champion, or the newest version if there is no champion.

        Raises:
            MissingError: it names none.
        """
        number = parse_number(reference)
        if number is not None:
            return self.manifest(model, number).version
        if not reference:
            champion = self.alias(model, CHAMPION)
            if champion is not None:
                return champion
            if versions := self.versions(model):
                return versions[-1]
            raise self.no_model(model)
        named = self.alias(model, reference)
        if named is None:
            raise MissingError(
                f"no alias '{reference}' of '{model}'",
                where=self.store.uri,
                fix=did_you_mean(reference, self.aliases(model)),
            )
        return named

    def no_model(self, model: str) -> MissingError:
        """The error for a model without a version, with the models that there are."""
        return MissingError(
            f"no model '{model}'", where=self.store.uri, fix=did_you_mean(model, self.models())
        )

    def has_model(self, model: str) -> bool:
        """Whether a version of a model was ever pushed, by one listing of a small folder."""
        return self._numbers(check_model_name(model)).any()


def parse_reference(reference: str) -> tuple[str, str, str]:
    """`STORE/MODEL[/VERSION|/ALIAS]` as store URI, model and version or alias (or "").

    The last part is a version where it is a number, or where the part before it names a
    model that the store has.

    Raises:
        ParameterError: it names no model.
    """
    from kfp_suite.stores.store import open_store

    trimmed = reference.rstrip("/")
    head, _, last = trimmed.rpartition("/")
    store, _, model = head.rpartition("/")
    store = store or ("/" if trimmed.startswith("/") else "")
    is_number = parse_number(last) is not None
    if is_number and model and store:
        return store, model, last
    named = is_model_name(model) and is_model_name(last)
    if named and store and ModelStore(open_store(store)).has_model(model):
        return store, model, last
    if not last or not head or (is_number and not store):
        raise ParameterError(
            "not a model reference", got=reference, expected="STORE/MODEL or STORE/MODEL/VERSION"
        )
    return head, check_model_name(last), ""
