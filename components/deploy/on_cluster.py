"""A deployment on a cluster: applied, waited for, asked; or what served before, again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kfp_suite.contracts.errors import (
    ContractError,
    EndpointError,
    KfpSuiteError,
    SupersededError,
)
from kfp_suite.kserve.canary import (
    Mode,
    check_no_candidate,
    replacing,
    split_of,
    with_mode,
    without_candidate,
)
from kfp_suite.kserve.cluster import KINDS, Cluster
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.manifests import (
    SPEC_DIGEST,
    VERSION,
    artifact_version,
    is_ready,
    server_image,
)
from kfp_suite.kserve.multi_model import (
    shared_runtime,
    shared_service,
    trained_model,
    wait_until_loaded,
)
from kfp_suite.kserve.ownership import applied_part
from kfp_suite.kserve.planning import changes
from kfp_suite.kserve.settings import EndpointSettings
from kfp_suite.kserve.smoke import address_of, smoke_test
from kfp_suite.kserve.version_choice import end_choice
from kfp_suite.kserve.waiting import check_in_place, wait_until_serving

if TYPE_CHECKING:
    from kfp_suite.components.deploy.executor import DeployParameters

_KEEP = "keep"
_SERVED = "served by the cluster"
_SHARED = "TrainedModel"
Manifests = list[dict[str, Any]]

log = logging.getLogger(__name__)


class Deployment:
    """One version, to one endpoint of a cluster.

    Args:
        cluster: Where.
        parameters: How.
        deployable: What.
    """

    def __init__(
        self, cluster: Cluster, parameters: DeployParameters, deployable: Deployable
    ) -> None:
        self._cluster, self._parameters, self._deployable = cluster, parameters, deployable
        self._namespace, self._force = parameters.namespace, parameters.force

    def own(self, described: Callable[[Mode], Manifests], settings: EndpointSettings) -> Manifests:
        """The manifests of an endpoint of its own, as they take the place of what is live.

        Args:
            described: Its manifests, for the mode that the cluster runs it in.
            settings: How it is meant to run.

        Raises:
            AlreadyExistsError: a rollout is under way there.
            ParameterError: the cluster could not run it.
        """
        live = self._cluster.find(self._deployable.served.name, self._namespace)
        if not self._force:
            check_no_candidate(live)
        mode = self._cluster.mode(live, self._namespace, settings.deployment_mode)
        *before, service = described(mode)
        return [*before, replacing(with_mode(service, mode), live)]

    def shared(self, settings: EndpointSettings) -> Manifests:
        """The manifests of a model of a shared server: of the server, too, where it is not
        there yet."""
        served, space = self._deployable.served, self._namespace
        model = trained_model(served, space, settings)
        if self._cluster.find(settings.shared, space) is not None:
            return [model]
        mode = self._cluster.mode(None, space, settings.deployment_mode)
        server = shared_service(served, space, settings, mode)
        return [shared_runtime(server_image(served, settings), space), server, model]

    def changes(self, manifests: Manifests) -> str:
        """What applying would change, as a unified diff of YAML; empty: nothing."""
        planned = [changes(self._cluster, one, force=self._force) for one in manifests]
        return "\n".join(one for one in planned if one)

    def apply(self, manifests: Manifests) -> str:
        """Apply, wait, ask, and make it champion; the endpoint's URL.

        Raises:
            EndpointError: it does not serve, or answers wrongly; with what became of what
                served before.
            SupersededError: another deployment took the endpoint over.
        """
        before = self._before(manifests)
        if manifests[-1]["kind"] != _SHARED:
            # With `force`, it may end a rollout whose requests choose their version.
            end_choice(self._cluster, self._deployable.served.name, self._namespace)
        for manifest in manifests:
            applied = self._cluster.apply(manifest, force=self._force)
        place = applied["metadata"]["name"], self._namespace, KINDS[applied["kind"]]

        def in_place() -> None:
            check_in_place(applied, self._cluster.get(*place))

        try:
            url = self._serving(applied, self._deployable, in_place)
        except SupersededError:
            raise
        except EndpointError as error:
            in_place()  # another version's answer may be another deployment's
            raise self._put_back(before, applied, error) from error
        self._deployable.make_champion(_SERVED, in_place)
        return url

    def _live(self, manifest: Mapping[str, Any]) -> dict[str, Any] | None:
        metadata = manifest["metadata"]
        return self._cluster.find(metadata["name"], self._namespace, KINDS[manifest["kind"]])

    def _before(self, manifests: Manifests) -> Manifests:
        """What serves now and is about to change, as it can be applied; empty: nothing serves.

        Of a rollout that `force` ends, the stable version.
        """
        live = [self._live(manifest) for manifest in manifests]
        if self._parameters.on_failure == _KEEP or live[-1] is None or not is_ready(live[-1]):
            return []
        found = [applied_part(one) for one in live if one is not None]
        with suppress(ContractError):  # it is not the suite's own
            if found[-1]["kind"] != _SHARED and split_of(found[-1]).candidate is not None:
                found[-1] = without_candidate(found[-1], self._cluster.mode(live[-1]))
        return found

    def _serving(
        self,
        applied: Mapping[str, Any],
        deployable: Deployable,
        check_in_place: Callable[[], None] = lambda: None,
    ) -> str:
        """Wait until what was applied serves and answers as the model does; its URL.

        `check_in_place` raises SupersededError if the endpoint is of another version by now.
        """
        parameters = self._parameters
        if applied["kind"] == _SHARED:
            sample, question = deployable.question({"spec": {}})
            return wait_until_loaded(
                self._cluster,
                applied,
                question,
                sample,
                version=artifact_version(deployable.served.digest),
                ingress=parameters.ingress,
                timeout_seconds=parameters.timeout_seconds,
            )

        def pause(seconds: float) -> None:
            check_in_place()
            self._cluster.sleep(seconds)

        started = time.monotonic()
        service = wait_until_serving(self._cluster, applied, parameters.timeout_seconds)
        sample, question = deployable.question(applied)
        base, headers = address_of(service, parameters.ingress)
        smoke_test(
            base,
            headers,
            question,
            sample,
            version=str(deployable.served.version) if not parameters.versions else "",
            seconds=parameters.timeout_seconds - (time.monotonic() - started),
            sleep=pause,
        )
        return str(service["status"].get("url", ""))

    def _put_back(
        self, before: Manifests, applied: Mapping[str, Any], error: EndpointError
    ) -> EndpointError:
        """Let what served before serve again; the error, with what came of that."""
        if not before or _made_of(before[-1]) == _made_of(applied):
            return error
        was = before[-1]["metadata"].get("annotations", {}).get(VERSION, "")
        named = f"version {was}" if was else "what was there"
        log.warning("%s: %s serves again", error, named)
        try:
            for manifest in before:
                again = self._cluster.apply(manifest, force=self._force)
            if again["kind"] != _SHARED:
                wait_until_serving(self._cluster, again, self._parameters.timeout_seconds)
            elif was:
                served = self._deployable.served
                previous = Deployable.find(
                    self._deployable.models, served.model, int(was), name=served.name
                )
                self._serving(again, previous)
        except KfpSuiteError as failed:
            what = (
                f"{error.what}; {named}, which served before, was put back and does not: {failed}"
            )
        else:
            what = f"{error.what}; {named}, which served before, serves again"
        return EndpointError(
            what, where=error.where, got=error.got, expected=error.expected, fix=error.fix
        )


def _made_of(manifest: Mapping[str, Any]) -> Any:
    """What an object's servers load: of two that say the same, neither is better."""
    if manifest["kind"] == _SHARED:
        return manifest["spec"]["model"]["storageUri"]
    return manifest["spec"]["predictor"].get("annotations", {}).get(SPEC_DIGEST)
