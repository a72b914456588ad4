"""That a version is to be rolled back, written down before anything is done about it.

    <store>/<model>/_rollouts/<endpoint>/<version>-<attempt>.json   why; written once

So a rollback that was killed is finished by the next run, and never turned round. It lies
beside the versions and not on the endpoint: KServe hands an InferenceService's annotations
down to its pods, and would start every server of the stable version anew.
"""

from __future__ import annotations

import json
import logging

from kfp_suite.contracts.canonical import pretty_json
from kfp_suite.contracts.errors import AlreadyExistsError, MissingError, StoreError
from kfp_suite.stores.store import Store

log = logging.getLogger(__name__)


class Decision:
    """On one attempt to roll a version out to an endpoint."""

    def __init__(self, store: Store, model: str, place: str, version: int, attempt: int) -> None:
        """`place` tells the endpoint from every other."""
        self._store = store
        self._name = f"{model}/_rollouts/{place}/{version}-{attempt}.json"

    def read(self) -> str:
        """Why the version is to be rolled back, empty if nobody decided that."""
        try:
            return str(json.loads(self._store.read(self._name))["why"])
        except MissingError:
            return ""

    def record(self, why: str) -> None:
        """Write it down, once. A store that refuses holds no rollback up."""
        try:
            self._store.create(self._name, pretty_json({"why": why}))
        except AlreadyExistsError:
            return
        except StoreError as error:
            log.warning("the rollback is not written down: %s", error)
