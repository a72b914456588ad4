"""A deployment on a cluster: applied, waited for, asked; or what served before, again.

What served before is what has answered: by the records of the store or, of an endpoint without
one, what answers now. What was applied last may never have served.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

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
)
from kfp_suite.kserve.cluster import KINDS, Cluster
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.diagnosis import troubles
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
from kfp_suite.kserve.patience import patiently
from kfp_suite.kserve.planning import changes
from kfp_suite.kserve.restarts import pod_digests, restarts_of, same_pods, with_restarts
from kfp_suite.kserve.served import ServedRecords
from kfp_suite.kserve.settings import EndpointSettings
from kfp_suite.kserve.smoke import address_of, check_askable, smoke_test
from kfp_suite.kserve.version_choice import end_choice
from kfp_suite.kserve.waiting import in_place, unserved, wait_until_serving
from kfp_suite.kserve.workloads import Workloads
from kfp_suite.runtimes.http_client import UnknownHostError
from kfp_suite.runtimes.runtime import SUITE
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore

if TYPE_CHECKING:
    from kfp_suite.components.deploy.executor import DeployParameters

_KEEP = "keep"
_SERVED = "served by the cluster"
_SHARED = "TrainedModel"
T = TypeVar("T")
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
        live = self._living(self._deployable.served.name)
        if not self._force:
            check_no_candidate(live)
        mode = self._cluster.mode(live, self._namespace, settings.deployment_mode)
        *before, service = described(mode)
        wanted = replacing(with_mode(service, mode), live)
        return [*before, wanted if live is None else self._again(wanted, live)]

    def _again(self, wanted: dict[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
        """`wanted` with the restarts that its pods have had; if they fail, with one more."""
        as_it_is = with_restarts(wanted, restarts_of(live))
        if not same_pods(as_it_is, live):
            return wanted
        workloads = Workloads(self._cluster, self._namespace, live["metadata"]["name"])
        if next(troubles(workloads, live, pod_digests(live).values()), None) is None:
            return as_it_is
        log.warning(
            "%s: this version is deployed there and fails; its servers are started anew",
            self._deployable.served.name,
        )
        return with_restarts(wanted, restarts_of(live) + 1)

    def shared(self, settings: EndpointSettings) -> Manifests:
        """The manifests of a model of a shared server: of the server, too, where it is not
        there yet."""
        served, space = self._deployable.served, self._namespace
        model = trained_model(served, space, settings)
        if self._living(settings.shared) is not None:
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
            ParameterError: it could not be asked from here; nothing is applied.
            EndpointError: it does not serve, or answers wrongly; with what became of what
                served before. Or somebody deleted it. Or nobody here knows its name: then it
                stays, for it may be good.
            SupersededError: another deployment took the endpoint over.
            BeingDeletedError: an object of that name is still being deleted when time is over.
        """
        server = manifests[-1]["spec"].get("inferenceService", manifests[-1]["metadata"]["name"])
        check_askable(self._cluster, self._living(server), self._parameters.ingress)
        before = self._before(manifests)
        if manifests[-1]["kind"] != _SHARED:
            # With `force`, it may end a rollout whose requests choose their version.
            end_choice(self._cluster, self._deployable.served.name, self._namespace)
        for manifest in manifests:
            applied = self._apply(manifest)
        kind = KINDS[applied["kind"]]

        def check_in_place() -> None:
            in_place(self._cluster, applied, kind)

        try:
            url = self._serving(applied, self._deployable, check_in_place)
        except SupersededError:
            raise
        except UnknownHostError as error:
            check_in_place()
            raise self._unasked(error) from error
        except EndpointError as error:
            check_in_place()  # another version's answer may be another deployment's
            raise self._put_back(before, applied, error) from error
        self._records(applied).add(applied)
        self._deployable.make_champion(_SERVED, check_in_place)
        return url

    def _apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        return self._patiently(lambda: self._cluster.apply(manifest, force=self._force))

    def _living(self, name: str, kind: str = "InferenceService") -> dict[str, Any] | None:
        """An object; one that is being deleted is waited for until it is gone."""
        return self._patiently(lambda: self._cluster.living(name, self._namespace, KINDS[kind]))

    def _patiently(self, call: Callable[[], T]) -> T:
        return patiently(self._cluster, call, self._parameters.timeout_seconds, time.monotonic)

    def _records(self, found: Mapping[str, Any]) -> ServedRecords:
        return ServedRecords(self._deployable.models, self._deployable.served.model, found)

    def _before(self, manifests: Manifests) -> Manifests:
        """What served last and is about to change, as it can be applied; empty: nothing did."""
        *others, own = (self._living(one["metadata"]["name"], one["kind"]) for one in manifests)
        if self._parameters.on_failure == _KEEP or own is None:
            return []
        last = self._records(own).newest()
        if last is None or _made_of(last) != _made_of(own):
            last = self._answering(own) or last
        if last is None:
            log.info("nothing is known to have answered there before")
            return []
        if own["kind"] != _SHARED:
            last = replacing(last, own)
        return [*(applied_part(one) for one in others if one is not None), last]

    def _answering(self, live: dict[str, Any]) -> dict[str, Any] | None:
        """What is live, as it can be applied, if it serves now and answers right; of another's
        endpoint, whose answers nobody knows, if it serves."""
        if live["kind"] == _SHARED:
            return applied_part(live) if is_ready(live) else None
        try:
            if split_of(live).candidate is not None:
                return None  # a rollout is judged by itself
        except ContractError:
            return None if unserved(self._cluster, live) else applied_part(live)
        try:
            if unserved(self._cluster, live):
                return None
            if split_of(live).stable.runtime == SUITE:
                self._ask(live, self._deployed(live))
        except KfpSuiteError as error:
            log.info("what is deployed there does not answer: %s", error)
            return None
        return applied_part(live)

    def _deployed(self, live: Mapping[str, Any]) -> Deployable:
        """What an InferenceService of the suite serves."""
        was = split_of(live).stable
        return Deployable.find(
            ModelStore(open_store(was.store)), was.model, was.version, name=was.name
        )

    def _ask(self, live: Mapping[str, Any], deployable: Deployable) -> None:
        """Ask a version for its sample once more; it has served for long."""
        sample, question = deployable.question(live)
        base, headers = address_of(live, self._parameters.ingress)
        version = str(deployable.served.version)
        smoke_test(base, headers, question, sample, version=version, sleep=self._cluster.sleep)

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

    def _unasked(self, error: EndpointError) -> EndpointError:
        """That a version serves, as the cluster tells, and nobody has asked it."""
        version = self._deployable.served.version
        return EndpointError(
            f"version {version} runs and stays, but could not be asked, and is not champion: "
            "its name is not known here",
            where=error.where,
            got=error.got,
            expected="an answer of the endpoint",
            fix="set ingress (http(s)://HOST of the cluster's ingress) and deploy it again",
        )

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
                again = self._apply(manifest)
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
