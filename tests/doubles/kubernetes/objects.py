"""What the cluster holds: objects, their versions, and what happened to them."""

from __future__ import annotations

import secrets
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kfp_suite.testing.kubernetes.answers import gone
from kfp_suite.testing.kubernetes.apply import Owners, managed_fields
from kfp_suite.testing.kubernetes.kinds import NAMESPACE, Json, Kind, clone

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_FIRST_VERSION = 1000
_REMEMBERED = 5000


@dataclass
class Stored:
    """An object, without managedFields, and the owners of its fields."""

    kind: Kind
    content: Json
    owners: Owners = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Its namespace and name."""
        metadata = self.content["metadata"]
        return metadata.get("namespace", ""), metadata["name"]

    def view(self) -> Json:
        """A copy, as the server gives it out."""
        found: Json = clone(self.content)
        if self.owners:
            found["metadata"]["managedFields"] = managed_fields(self.owners)
        return found


@dataclass(frozen=True)
class Change:
    """Something that happened: ADDED, MODIFIED or DELETED; `before` is None for what is new."""

    version: int
    sort: str
    kind: Kind
    after: Json
    before: Json | None


class Store:
    """The objects of a cluster. Hold `lock` for more than one call; `changed` tells of changes.

    Args:
        namespaces: Those that exist; None: every namespace is there as soon as it is used.
    """

    def __init__(self, namespaces: tuple[str, ...] | None) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.version = _FIRST_VERSION
        self.forgotten = _FIRST_VERSION
        self.closed = False
        self._objects: dict[Kind, dict[tuple[str, str], Stored]] = {}
        self._history: deque[Change] = deque()
        self._offset = 0.0
        self._any_namespace = namespaces is None
        for name in dict.fromkeys(("default", "kube-system", *(namespaces or ()))):
            with self.lock:
                self._create_namespace(name)

    def now(self) -> float:
        """Monotonic seconds, with what `advance` added."""
        return time.monotonic() + self._offset

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self.changed:
            self._offset += seconds
            self.changed.notify_all()

    def stamp(self) -> str:
        """The time of day, as objects carry it."""
        moment = datetime.fromtimestamp(time.time() + self._offset, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def get(self, kind: Kind, namespace: str, name: str) -> Stored | None:
        """An object, None where there is none."""
        return self._objects.get(kind, {}).get((namespace, name))

    def all(self, kind: Kind, namespace: str = "") -> list[Stored]:
        """The objects of a kind in order of their keys; of every namespace for an empty one."""
        found = self._objects.get(kind, {})
        return [found[key] for key in sorted(found) if not namespace or key[0] == namespace]

    def has_namespace(self, name: str) -> bool:
        """Whether a namespace exists; it does from now on where any may be used."""
        if not name or self.get(NAMESPACE, "", name) is not None:
            return True
        if self._any_namespace:
            self._create_namespace(name)
        return self._any_namespace

    def put(self, stored: Stored) -> Stored:
        """Store a new object or another state of one; its version and generation follow."""
        kinds = self._objects.setdefault(stored.kind, {})
        metadata = stored.content["metadata"]
        metadata.pop("managedFields", None)
        before = kinds.get(stored.key)
        self.version += 1
        if before is None:
            metadata.setdefault("uid", str(uuid.uuid4()))
            metadata.setdefault("creationTimestamp", self.stamp())
            if stored.kind.group:
                metadata["generation"] = 1
        elif stored.kind.group:
            generation = before.content["metadata"].get("generation", 1)
            bumped = desired(before.content) != desired(stored.content)
            metadata["generation"] = generation + bumped
        metadata["resourceVersion"] = str(self.version)
        kinds[stored.key] = stored
        self._tell(
            Change(
                self.version,
                "ADDED" if before is None else "MODIFIED",
                stored.kind,
                stored.view(),
                None if before is None else before.view(),
            )
        )
        # A pod has a grace; anything else goes with its last finalizer.
        if metadata.get("deletionGracePeriodSeconds") == 0 and not metadata.get("finalizers"):
            self.drop(stored)
        return stored

    def drop(self, stored: Stored) -> None:
        """Take an object out, and what it owns."""
        if self._objects.get(stored.kind, {}).pop(stored.key, None) is None:
            return
        self.version += 1
        before = stored.view()
        after: Json = clone(before)
        after["metadata"]["resourceVersion"] = str(self.version)
        self._tell(Change(self.version, "DELETED", stored.kind, after, before))
        for dependent in list(self.owned_by(before["metadata"]["uid"])):
            self.drop(dependent)
        if stored.kind is NAMESPACE:
            for kinds in list(self._objects.values()):
                for inside in [one for key, one in kinds.items() if key[0] == stored.key[1]]:
                    self.drop(inside)

    def owned_by(self, uid: str) -> Iterator[Stored]:
        """The objects whose owner has this uid."""
        for kinds in self._objects.values():
            for stored in kinds.values():
                owners = stored.content["metadata"].get("ownerReferences", ())
                if any(owner.get("uid") == uid for owner in owners):
                    yield stored

    def since(self, version: int) -> list[Change]:
        """What happened after a version. Raises Refusal (410) for a forgotten one."""
        if version < self.forgotten:
            raise gone(version, self.forgotten)
        return [change for change in self._history if change.version > version]

    def forget(self) -> None:
        """Forget what happened so far: who watches from an older version gets 410."""
        with self.changed:
            self._history.clear()
            self.forgotten = self.version

    def close(self) -> None:
        """End every watch."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def _tell(self, change: Change) -> None:
        self._history.append(change)
        if len(self._history) > _REMEMBERED:
            self.forgotten = self._history.popleft().version
        self.changed.notify_all()

    def _create_namespace(self, name: str) -> None:
        content = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        }
        self.put(Stored(NAMESPACE, content))


def desired(content: Json) -> Json:
    """What somebody wants of an object: all but its metadata and status."""
    return {key: value for key, value in content.items() if key not in ("metadata", "status")}


def random_name(length: int = 5) -> str:
    """Letters and digits, as Kubernetes ends generated names."""
    return "".join(secrets.choice(_LETTERS) for _ in range(length))
