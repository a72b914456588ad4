"""What the server does to objects: create, read, update, patch, delete, list."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from kfp_suite.testing.kubernetes.access import Access, action_on
from kfp_suite.testing.kubernetes.answers import (
    Cause,
    Refusal,
    already_exists,
    bad_request,
    conflict,
    deleted,
    invalid,
    not_found,
)
from kfp_suite.testing.kubernetes.apply import (
    Manager,
    applied_object,
    written_object,
)
from kfp_suite.testing.kubernetes.kinds import (
    ACCESS_REVIEW,
    INFERENCE_GRAPH,
    INFERENCE_SERVICE,
    NAMESPACE,
    USER_REVIEW,
    Json,
    Kind,
    clone,
)
from kfp_suite.testing.kubernetes.objects import Store, Stored, desired, random_name
from kfp_suite.testing.kubernetes.patches import json_patch, merge_patch
from kfp_suite.testing.kubernetes.schemas import METADATA, Schemas
from kfp_suite.testing.kubernetes.selectors import field_test, label_test
from kfp_suite.testing.kubernetes.webhook import admit, admit_graph, default

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_BARE_PATCHES = {"application/json": MERGE, "": MERGE}


@dataclass(frozen=True)
class Asked:
    """A request on the objects of a kind.

    Attributes:
        kind: Of the objects.
        namespace: Empty for every namespace, or for a kind without.
        name: Of the object; empty for a collection.
        subresource: `status`, or empty.
        query: Of the path.
        body: As it came.
        content_type: Of the body, without its parameters.
        token: Who asks.
        agent: The client program.
    """

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = ""
    token: str = ""
    agent: str = ""

    def flag(self, name: str) -> bool:
        """Whether a flag of the query is set: to anything but what says no."""
        return self.query.get(name, "0").lower() not in ("0", "false")


@dataclass(frozen=True)
class Answer:
    """An HTTP status, an object, and warnings about it."""

    code: int
    content: Json
    warnings: tuple[str, ...] = ()


class Verbs:
    """The verbs of the API on a store. Hold the store's lock while calling them."""

    def __init__(self, store: Store, schemas: Schemas, access: Access, mode: str) -> None:
        """`mode`: of InferenceServices that do not say theirs."""
        self._store, self._schemas, self._access, self._mode = store, schemas, access, mode

    def get(self, asked: Asked) -> Answer:
        """One object."""
        return Answer(200, self._found(asked).view())

    def collection(self, asked: Asked) -> Answer:
        """A collection, or a part of it."""
        items = self.selected(asked)
        metadata: Json = {"resourceVersion": str(self._store.version)}
        token, limit = asked.query.get("continue", ""), int(asked.query.get("limit") or 0)
        if token:
            version, *last = json.loads(base64.urlsafe_b64decode(token))
            if version < self._store.forgotten:
                raise Refusal(
                    410,
                    "Expired",
                    "The provided continue parameter is too old to display a consistent list "
                    "result. You can start a new list without the continue parameter.",
                )
            items = [item for item in items if item.key > tuple(last)]
            metadata["resourceVersion"] = str(version)
        if limit and len(items) > limit:
            rest, items = items[limit:], items[:limit]
            place = json.dumps([int(metadata["resourceVersion"]), *items[-1].key])
            metadata["continue"] = base64.urlsafe_b64encode(place.encode()).decode()
            metadata["remainingItemCount"] = len(rest)
        content = {
            "kind": f"{asked.kind.kind}List",
            "apiVersion": asked.kind.api_version,
            "metadata": metadata,
            "items": [item.view() for item in items],
        }
        return Answer(200, content)

    def selected(self, asked: Asked) -> list[Stored]:
        """The objects that the selectors of a request choose."""
        labels = label_test(asked.query.get("labelSelector", ""))
        fields = field_test(asked.query.get("fieldSelector", ""), asked.kind)
        found = self._store.all(asked.kind, asked.namespace)
        return [one for one in found if labels(one.content) and fields(one.content)]

    def create(self, asked: Asked) -> Answer:
        """POST."""
        content = self._body(asked)
        if asked.kind in (ACCESS_REVIEW, USER_REVIEW):
            return Answer(201, self._access.review(asked.token, content))
        metadata = content.setdefault("metadata", {})
        if metadata.get("namespace", asked.namespace) != asked.namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName']}{random_name()}"
        if metadata.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        self._check_name(asked.kind, metadata.get("name", ""))
        content, warnings = self._read(asked, content)
        if self._store.get(asked.kind, asked.namespace, metadata["name"]) is not None:
            raise already_exists(asked.kind, metadata["name"])
        if asked.kind.status:
            content.pop("status", None)
        stored = self._write(asked, None, content)
        return Answer(201, stored.view(), warnings)

    def update(self, asked: Asked) -> Answer:
        """PUT."""
        content = self._body(asked)
        stored = self._found(asked)
        metadata = content.setdefault("metadata", {})
        if metadata.get("name", asked.name) != asked.name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL "
                f"({asked.name})"
            )
        version = metadata.get("resourceVersion", "")
        if not version and asked.kind.custom:
            cause = Cause(
                "metadata.resourceVersion",
                "FieldValueInvalid",
                "Invalid value: 0: must be specified for an update",
            )
            raise invalid(asked.kind.kind, asked.kind.group, asked.name, [cause])
        self._check_version(asked, stored, version)
        content, warnings = self._read(asked, content)
        return Answer(200, self._write(asked, stored, content).view(), warnings)

    def patch(self, asked: Asked) -> Answer:
        """PATCH, in any of its four ways."""
        sort = _BARE_PATCHES.get(asked.content_type, asked.content_type)
        if sort == APPLY:
            return self._apply(asked)
        if "force" in asked.query:
            raise _patch_options("force", "FieldValueForbidden", "Forbidden: may not be specified")
        if sort not in (MERGE, STRATEGIC, JSON_PATCH):
            raise Refusal(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: "
                f"{JSON_PATCH}, {MERGE}, {APPLY}",
            )
        stored = self._found(asked)
        patch = _json(asked.body)
        before = stored.view()
        content = json_patch(before, patch) if sort == JSON_PATCH else merge_patch(before, patch)
        self._check_version(asked, stored, content["metadata"].get("resourceVersion", ""))
        content, warnings = self._read(asked, content)
        return Answer(200, self._write(asked, stored, content).view(), warnings)

    def delete(self, asked: Asked) -> Answer:
        """DELETE."""
        options = _json(asked.body) if asked.body else {}
        stored = self._found(asked)
        metadata = stored.content["metadata"]
        wanted = options.get("preconditions") or {}
        if wanted.get("uid", metadata["uid"]) != metadata["uid"]:
            raise conflict(
                asked.kind,
                asked.name,
                f"Precondition failed: UID in precondition: {wanted['uid']}, UID in object meta: "
                f"{metadata['uid']}",
            )
        self._check_version(asked, stored, wanted.get("resourceVersion") or "")
        dry = asked.query.get("dryRun") == "All" or "All" in (options.get("dryRun") or ())
        policy = asked.query.get("propagationPolicy") or options.get("propagationPolicy")
        if not dry:
            if policy == "Orphan":
                self._orphan(metadata["uid"])
            dying = self._let_go(stored)
            if dying is not None:
                return Answer(200, dying.view())
        # A pod's deletion answers with the pod, as that of few other kinds.
        if asked.kind.plural == "pods":
            return Answer(200, stored.view())
        return Answer(200, deleted(asked.kind, asked.name, metadata["uid"]))

    def delete_all(self, asked: Asked) -> Answer:
        """DELETE of a collection."""
        content = self.collection(asked).content
        if asked.query.get("dryRun") != "All":
            for stored in self.selected(asked):
                self._let_go(stored)
        return Answer(200, content)

    def _let_go(self, stored: Stored) -> Stored | None:
        """Take an object out; one that has finalizers stays until they are gone."""
        metadata = stored.content["metadata"]
        if not metadata.get("finalizers"):
            self._store.drop(stored)
            return None
        if metadata.get("deletionTimestamp"):
            return stored
        content = clone(stored.content)
        content["metadata"] |= {
            "deletionTimestamp": self._store.stamp(),
            "deletionGracePeriodSeconds": 0,
        }
        return self._store.put(replace(stored, content=content))

    def _apply(self, asked: Asked) -> Answer:
        if not asked.query.get("fieldManager"):
            raise _patch_options(
                "fieldManager", "FieldValueRequired", "Required value: is required for apply patch"
            )
        kind, name = asked.kind, asked.name
        content = _json(asked.body, patch=True)
        if not isinstance(content, dict):
            raise bad_request("error decoding YAML: not an object")
        self._check_identity(asked, content)
        metadata = content.setdefault("metadata", {})
        if metadata.get("managedFields") is not None:
            raise bad_request("metadata.managedFields must be nil")
        stored = self._store.get(kind, asked.namespace, name)
        version = metadata.pop("resourceVersion", "")
        if stored is not None:
            self._check_version(asked, stored, version)
        elif version:
            raise conflict(kind, name, "the object has been deleted")
        elif asked.subresource:
            raise not_found(kind, name)
        else:
            self._check_name(kind, name)
            self._namespace_must_exist(asked)
            action = action_on(kind, "create", asked.namespace, name)
            self._access.check(asked.token, action)
        schema = self._schemas.of(kind)
        if wrong := list(schema.mistyped(content)):
            said = wrong[0] if len(wrong) == 1 else "errors:\n" + "\n".join(f"  {w}" for w in wrong)
            # Not a mistake of this double: kubernetes/kubernetes#139253.
            raise Refusal(
                500,
                "",
                f"failed to create typed patch object ({asked.namespace}/{name}; "
                f"{kind.api_version}, Kind={kind.kind}): {said}",
            )
        self._only_own_part(asked, content)
        live = {} if stored is None else stored.content
        manager = Manager(asked.query["fieldManager"], "Apply", asked.subresource, kind.api_version)
        merged, owners = applied_object(
            live,
            content,
            {} if stored is None else stored.owners,
            manager,
            schema=schema,
            force=asked.flag("force"),
            now=self._store.stamp(),
        )
        merged["metadata"] = {
            **merged.get("metadata", {}),
            "name": name,
            **({"namespace": asked.namespace} if kind.namespaced else {}),
        }
        schema.fill(merged)
        self._admit(kind, name, merged, stored)
        code = 201 if stored is None else 200
        if (
            stored is not None
            and merged == stored.content
            and _fields(owners) == _fields(stored.owners)
        ):
            return Answer(code, stored.view())
        result = Stored(kind, merged, owners)
        return Answer(code, self._store_or_show(asked, result, stored).view())

    def _write(self, asked: Asked, stored: Stored | None, content: Json) -> Stored:
        """Check and store what a write that is not an apply leaves."""
        kind = asked.kind
        before: Json = {} if stored is None else stored.content
        name = asked.name or content["metadata"]["name"]
        if stored is not None:
            self._keep_other_part(asked, content, before)
            for key in (
                "uid",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "generation",
                "namespace",
                "name",
            ):
                if key in before["metadata"]:
                    content["metadata"][key] = before["metadata"][key]
        else:
            self._namespace_must_exist(asked)
            for key in ("uid", "creationTimestamp", "generation"):
                content["metadata"].pop(key, None)
            if kind.namespaced:
                content["metadata"]["namespace"] = asked.namespace
        cleared = content["metadata"].get("managedFields") in ([], [{}])
        content["metadata"].pop("managedFields", None)
        self._schemas.of(kind).fill(content)
        self._admit(kind, name, content, stored)
        name_of = asked.query.get("fieldManager") or asked.agent.split("/")[0] or "unknown"
        manager = Manager(name_of, "Update", asked.subresource, kind.api_version)
        owners = written_object(
            before,
            content,
            {} if stored is None or cleared else stored.owners,
            manager,
            schema=self._schemas.of(kind),
            now=self._store.stamp(),
        )
        if stored is not None:
            content["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
            if content == before and not cleared:
                return stored
        return self._store_or_show(asked, Stored(kind, content, owners), stored)

    def _store_or_show(self, asked: Asked, result: Stored, before: Stored | None) -> Stored:
        """Store an object; for a dry run, what it would be."""
        if asked.query.get("dryRun") != "All":
            return self._store.put(result)
        shown = Stored(result.kind, clone(result.content), result.owners)
        metadata = shown.content["metadata"]
        if before is None:
            metadata["uid"] = "00000000-0000-4000-8000-000000000000"
            metadata["creationTimestamp"] = self._store.stamp()
            if asked.kind.group:
                metadata["generation"] = 1
        elif asked.kind.group:
            changed = desired(before.content) != desired(shown.content)
            metadata["generation"] = before.content["metadata"].get("generation", 1) + changed
        return shown

    def _found(self, asked: Asked) -> Stored:
        stored = self._store.get(asked.kind, asked.namespace, asked.name)
        if stored is None or (asked.subresource == "status" and not asked.kind.status):
            raise not_found(asked.kind, asked.name)
        return stored

    def _body(self, asked: Asked) -> Json:
        content = _json(asked.body)
        if not isinstance(content, dict):
            raise bad_request("the object provided is unrecognized (must be of type Object)")
        self._check_identity(asked, content)
        return content

    def _check_identity(self, asked: Asked, content: Json) -> None:
        """The apiVersion and kind must be those of the path."""
        kind = asked.kind
        given = (content.get("apiVersion", ""), content.get("kind", ""))
        if given == ("", "") and not kind.custom and asked.content_type != APPLY:
            content["apiVersion"], content["kind"] = kind.api_version, kind.kind
        elif given != (kind.api_version, kind.kind):
            raise bad_request(
                f"the API version in the data ({given[0]}) does not match the expected API "
                f"version ({kind.api_version})"
                if given[0] != kind.api_version
                else f"the kind in the data ({given[1]}) does not match the expected kind "
                f"({kind.kind})"
            )

    def _check_name(self, kind: Kind, name: str) -> None:
        if not name:
            cause = Cause(
                "metadata.name",
                "FieldValueRequired",
                "Required value: name or generateName is required",
            )
            raise invalid(kind.kind, kind.group, "", [cause])
        if not _SUBDOMAIN.fullmatch(name) or len(name) > 253:
            cause = Cause(
                "metadata.name",
                "FieldValueInvalid",
                f"Invalid value: {json.dumps(name)}: a lowercase RFC 1123 subdomain must consist "
                "of lower case alphanumeric characters, '-' or '.', and must start and end with "
                "an alphanumeric character (e.g. 'example.com', regex used for validation is "
                f"'{_SUBDOMAIN.pattern}')",
            )
            raise invalid(kind.kind, kind.group, name, [cause])

    def _check_version(self, asked: Asked, stored: Stored, version: str) -> None:
        if version and version != stored.content["metadata"]["resourceVersion"]:
            raise conflict(asked.kind, asked.name)

    def _namespace_must_exist(self, asked: Asked) -> None:
        if asked.kind.namespaced and not self._store.has_namespace(asked.namespace):
            raise not_found(NAMESPACE, asked.namespace)

    def _read(self, asked: Asked, content: Json) -> tuple[Json, tuple[str, ...]]:
        """What is left of a body after pruning, and the warnings about what went.

        Raises Refusal (400) for unknown fields where the request wants that.
        """
        kind = asked.kind
        for wrong in METADATA.mistyped(content["metadata"], "metadata"):
            where, _, said = wrong.partition(": ")
            raise bad_request(
                f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
                f"json: cannot unmarshal into Go struct field ObjectMeta.{where}: {said}"
            )
        dropped = [f'unknown field "{path}"' for path in self._schemas.of(kind).prune(content)]
        wanted = asked.query.get("fieldValidation") or "Warn"
        if dropped and wanted == "Strict":
            raise bad_request(
                f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
                f"strict decoding error: {', '.join(dropped)}"
            )
        return content, tuple(dropped) if wanted == "Warn" else ()

    def _admit(self, kind: Kind, name: str, content: Json, stored: Stored | None) -> None:
        """Let KServe's webhooks fill `content` in, and check it."""
        if kind is INFERENCE_SERVICE:
            default(content, self._mode)
        causes = list(self._schemas.of(kind).check(content))
        if causes:
            raise invalid(kind.kind, kind.group, name, causes)
        if kind is INFERENCE_SERVICE:
            admit(content, None if stored is None else stored.content)
        if kind is INFERENCE_GRAPH:
            admit_graph(content)

    def _only_own_part(self, asked: Asked, content: Json) -> None:
        """Drop from what is applied the part that is written another way."""
        if not asked.kind.status:
            return
        if asked.subresource == "status":
            own = ("apiVersion", "kind", "metadata", "status")
            for key in [key for key in content if key not in own]:
                del content[key]
        else:
            content.pop("status", None)

    def _keep_other_part(self, asked: Asked, content: Json, before: Json) -> None:
        """Keep the part of an object that is written another way: status, or all else."""
        if not asked.kind.status:
            return
        if asked.subresource == "status":
            status = content.get("status")
            content.clear()
            content.update(clone(before))
            content.pop("status", None)
            if status is not None:
                content["status"] = status
        else:
            content.pop("status", None)
            if "status" in before:
                content["status"] = clone(before["status"])

    def _orphan(self, uid: str) -> None:
        for dependent in list(self._store.owned_by(uid)):
            content = clone(dependent.content)
            owners = content["metadata"]["ownerReferences"]
            content["metadata"]["ownerReferences"] = [o for o in owners if o["uid"] != uid]
            self._store.put(replace(dependent, content=content))


def _fields(owners: Any) -> dict[Manager, frozenset[Any]]:
    return {who: held.fields for who, held in owners.items()}


def _patch_options(field: str, reason: str, message: str) -> Refusal:
    return invalid("PatchOptions", "meta.k8s.io", "", [Cause(field, reason, message)])


def _json(body: bytes, *, patch: bool = False) -> Any:
    """A body: JSON, or YAML, which contains it."""
    try:
        return json.loads(body)
    except ValueError:
        try:
            return yaml.safe_load(body)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            said = "error decoding YAML" if patch else "couldn't decode the body"
            raise bad_request(f"{said}: {error}") from error
