"""Records of the versions that have answered on an endpoint.

    <store>/<model>/_served/<uid of the InferenceService or TrainedModel>/<n>.json

The manifest that was applied last may never have started, or have been refused, so a failing
deployment goes back to the last one that has answered. The records lie beside the versions and
not on the endpoint, whose annotations KServe copies to its pods: each record would restart every
server.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from kfp_suite.contracts.errors import AlreadyExistsError, KfpSuiteError, StoreError
from kfp_suite.kserve.ownership import applied_part
from kfp_suite.stores.records import NumberedRecords
from kfp_suite.stores.versions import ModelStore

FORMAT_VERSION = 1

log = logging.getLogger(__name__)


class ServedRecords:
    """The manifests that have answered on one endpoint, the newest last.

    Args:
        models: The store of the deployed model.
        model: The model's name.
        found: The InferenceService or TrainedModel as the API gives it.
    """

    def __init__(self, models: ModelStore, model: str, found: Mapping[str, Any]) -> None:
        self._records = NumberedRecords(models.store, f"{model}/_served/{found['metadata']['uid']}")

    def newest(self) -> dict[str, Any] | None:
        """The last manifest that answered, ready to apply; None if there is no record, or it
        cannot be read."""
        try:
            numbers = self._records.infos()
            return self._read(max(numbers)) if numbers else None
        except KfpSuiteError as error:
            log.warning("what served before cannot be read: %s", error)
            return None

    def add(self, found: Mapping[str, Any]) -> None:
        """Record that the endpoint's present manifest has answered, unless it is the last record.
        A store that refuses does not stop the deployment."""
        manifest = applied_part(found)
        try:
            while True:
                number = max(self._records.infos(), default=0)
                if number and self._read(number) == manifest:
                    return
                try:
                    self._records.create(
                        number + 1, {"format_version": FORMAT_VERSION, "manifest": manifest}
                    )
                    return
                except AlreadyExistsError:
                    continue  # another deployment's: is it of the same?
        except StoreError as error:
            log.warning("that the version has answered is not written down: %s", error)

    def _read(self, number: int) -> dict[str, Any] | None:
        manifest = self._records.read(number).get("manifest")
        return manifest if isinstance(manifest, dict) else None
