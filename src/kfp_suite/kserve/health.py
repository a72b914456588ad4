"""Whether the servers of one side still serve, after they once did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp_suite.kserve.canary import Mode
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.diagnosis import given_up, of_pod
from kfp_suite.kserve.manifests import SPEC_DIGEST
from kfp_suite.kserve.workloads import Workloads, digest_of, is_ending, pod_is_ready

# A probe may miss once or twice.
_LOOKS_WITHOUT = 3


class Health:
    """The health of one side's servers since the first look; KServe's own Ready stays True as long
    as any server of the endpoint serves."""

    def __init__(self, cluster: Cluster, mode: Mode) -> None:
        self._cluster, self._mode = cluster, mode
        self._restarts: dict[str, int] = {}
        self._without = 0

    def look(self, service: Mapping[str, Any], side: Mapping[str, Any]) -> str:
        """Why the side cannot serve, empty if it can.

        Args:
            service: The InferenceService as it is.
            side: The predictor.
        """
        name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
        digest = side["annotations"][SPEC_DIGEST]
        workloads = Workloads(self._cluster, namespace, name)
        pods = [
            pod for pod in workloads.pods(name) if digest_of(pod) == digest and not is_ending(pod)
        ]
        fallen = [pod for pod in pods if self._started_again(pod)]
        # In Knative mode there may be no server if there are no requests.
        there = any(map(pod_is_ready, pods)) or (self._mode == "Knative" and not pods)
        self._without = 0 if there else self._without + 1
        if fallen or given_up(workloads, service, (digest,), trusted=False):
            what = "a server ended and was started again"
        elif self._without >= _LOOKS_WITHOUT:
            what = "no server is ready"
        else:
            return ""
        known = [line for pod in fallen or pods for line in of_pod(self._cluster, pod, namespace)]
        return f"{what}: {'; '.join(known)}" if known else what

    def _started_again(self, pod: Any) -> bool:
        count = sum(int(one.restart_count) for one in pod.status.container_statuses or ())
        return count > self._restarts.setdefault(str(pod.metadata.uid), count)
