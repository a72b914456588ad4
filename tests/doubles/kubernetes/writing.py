"""What controllers write: objects that belong to others, statuses, events."""

from __future__ import annotations

import time
from typing import Any

from kfp_suite.testing.kubernetes.apply import Manager, written_object
from kfp_suite.testing.kubernetes.kinds import EVENT, Json, Kind, clone
from kfp_suite.testing.kubernetes.objects import Store, Stored
from kfp_suite.testing.kubernetes.schemas import Schemas

_MANAGER = "manager"


class Writer:
    """Writes as KServe's controller.

    Args:
        store: Where objects are. Hold its lock while writing.
        schemas: Of the objects.
    """

    def __init__(self, store: Store, schemas: Schemas) -> None:
        self._store, self._schemas = store, schemas

    def object(
        self, kind: Kind, namespace: str, name: str, owner: Stored | None, labels: Json
    ) -> Json:
        """A new object that belongs to another."""
        metadata: Json = {"name": name, "namespace": namespace, "labels": dict(labels)}
        if owner is not None:
            metadata["ownerReferences"] = [
                {
                    "apiVersion": owner.kind.api_version,
                    "kind": owner.kind.kind,
                    "name": owner.key[1],
                    "uid": owner.content["metadata"]["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ]
        return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}

    def put(self, kind: Kind, content: Json) -> int:
        """Store an object if it differs from what is there; its generation."""
        metadata = content["metadata"]
        before = self._store.get(kind, metadata["namespace"], metadata["name"])
        found = Stored(kind, clone(content))
        if before is not None:
            kept = {
                key: before.content["metadata"][key]
                for key in (
                    "uid",
                    "creationTimestamp",
                    "resourceVersion",
                    "generation",
                    "finalizers",
                    "deletionTimestamp",
                    "deletionGracePeriodSeconds",
                )
                if key in before.content["metadata"]
            }
            found.content["metadata"].update(kept)
            if "status" not in content and "status" in before.content:
                found.content["status"] = before.content["status"]
            if _but_times(found.content) == _but_times(before.content):
                return int(kept.get("generation", 1))
        self._store.put(found)
        return int(found.content["metadata"].get("generation", 1))

    def status(self, stored: Stored, status: Json) -> None:
        """Write the status of an object, where it has changed."""
        if status == stored.content.get("status"):
            return
        content = {**clone(stored.content), "status": status}
        manager = Manager(_MANAGER, "Update", "status", stored.kind.api_version)
        owners = written_object(
            stored.content,
            content,
            stored.owners,
            manager,
            schema=self._schemas.of(stored.kind),
            now=self._store.stamp(),
        )
        self._store.put(Stored(stored.kind, content, owners))

    def finalizers(self, stored: Stored, wanted: list[str]) -> None:
        """Write the finalizers of an object; one that is being deleted goes with its last."""
        content = clone(stored.content)
        content["metadata"]["finalizers"] = wanted
        if not wanted:
            del content["metadata"]["finalizers"]
        self._store.put(Stored(stored.kind, content, stored.owners))

    def event(self, about: Stored, source: str, reason: str, message: str) -> None:
        """A warning about an object."""
        moment = self._store.stamp()
        namespace, name = about.key
        content = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{time.time_ns():016x}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": about.kind.api_version,
                "kind": about.kind.kind,
                "name": name,
                "namespace": namespace,
                "uid": about.content["metadata"].get("uid", ""),
            },
            "type": "Warning",
            "reason": reason,
            "message": message,
            "source": {"component": source},
            "reportingComponent": source,
            "reportingInstance": "",
            "count": 1,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
        }
        self.put(EVENT, content)


def _but_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _but_times(v) for k, v in value.items() if k != "lastTransitionTime"}
    return [_but_times(one) for one in value] if isinstance(value, list) else value
