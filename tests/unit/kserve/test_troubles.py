"""What keeps an endpoint's servers from starting: told at once, given up in time, and why."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes.client import (
    V1ContainerState,
    V1ContainerStateTerminated,
    V1ContainerStateWaiting,
    V1ContainerStatus,
)

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.kserve.diagnosis import reasons
from kfp_suite.kserve.troubles import CRASH, of_container
from kfp_suite.kserve.workloads import Workloads
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble, running
from tests.schemas import CRDS
from tests.unit.kserve.passing import NAME, NAMESPACE, Passing

_CONFLICT = (
    "fails to update InferenceService status: Operation cannot be fulfilled on "
    'inferenceservices.serving.kserve.io "late": the object has been modified; please apply your '
    "changes to the latest version and try again"
)


@pytest.fixture(params=["Standard", "Knative"])
def place(request: pytest.FixtureRequest) -> Iterator[Passing]:
    with running(KubernetesDouble(crds=CRDS, mode=request.param)) as double:
        yield Passing(double)


@pytest.fixture
def standard() -> Iterator[Passing]:
    with running(KubernetesDouble(crds=CRDS, mode="Standard")) as double:
        yield Passing(double)


def why(place: Passing) -> list[str]:
    return reasons(Workloads(place.cluster, NAMESPACE, NAME), place.live())


def warned(about: str, message: str) -> dict[str, Any]:
    """A warning of KServe's about the endpoint."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"late.{about}", "namespace": NAMESPACE},
        "involvedObject": {"kind": "InferenceService", "name": NAME, "namespace": NAMESPACE},
        "type": "Warning",
        "reason": about,
        "message": message,
    }


class TestWaiting:
    def test_a_reason_is_told_when_it_is_seen_and_once(
        self, place: Passing, caplog: pytest.LogCaptureFixture
    ) -> None:
        place.behave("image_pull")
        told_at: list[float] = []

        class Watch(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if "ImagePullBackOff" in record.getMessage():
                    told_at.append(place.seconds)

        watch = Watch()
        logging.getLogger("kfp_suite.kserve.waiting").addHandler(watch)
        try:
            with pytest.raises(EndpointError):
                place.wait(1)
        finally:
            logging.getLogger("kfp_suite.kserve.waiting").removeHandler(watch)
        assert len(told_at) == 1
        assert told_at[0] <= 4

    @pytest.mark.parametrize(
        ("outcome", "seconds", "said"),
        [
            ("image_pull", 120, "ImagePullBackOff"),
            ("config_error", 120, 'CreateContainerConfigError secret "store" not found'),
            ("no_volume", 180, "FailedMount: MountVolume.SetUp failed"),
            ("quota", 180, "FailedCreate: pods is forbidden: exceeded quota"),
            ("unschedulable", 300, "Insufficient cpu"),
        ],
    )
    def test_each_kind_is_given_up_after_a_time_of_its_own(
        self, standard: Passing, outcome: str, seconds: float, said: str
    ) -> None:
        standard.behave(outcome)
        with pytest.raises(EndpointError, match="KServe cannot serve the version") as caught:
            standard.wait(1)
        assert said in str(caught.value)
        assert seconds <= standard.seconds <= seconds + 6

    def test_a_server_that_ends_again_and_again_is_given_up_by_its_restarts(
        self, place: Passing
    ) -> None:
        place.behave("crash_loop")
        with pytest.raises(EndpointError, match="cannot serve the version") as caught:
            place.wait(1)
        assert "ModuleNotFoundError: No module named 'sklearn'" in str(caught.value)
        assert place.seconds < 60

    def test_what_heals_in_between_has_its_whole_time_again(self, place: Passing) -> None:
        """The image is pushed, and another one is missing later."""
        place.behave("image_pull")
        place.at(100, lambda: place.behave("never_ready"))
        place.at(110, lambda: place.behave("image_pull"))
        place.at(220, lambda: place.behave("ready"))
        assert place.wait(1)["status"]["url"]
        assert place.seconds >= 220

    def test_a_node_that_is_added_in_time_is_waited_for(self, place: Passing) -> None:
        place.behave("unschedulable")
        place.at(280, lambda: place.behave("ready"))
        assert place.wait(1)["status"]["url"]
        assert place.seconds >= 280

    def test_pods_are_listed_once_a_look(self, standard: Passing) -> None:
        def asked(part: str) -> int:
            paths = [one.path for one in standard.double.requests if one.method == "GET"]
            return sum(part in path for path in paths)

        standard.behave("never_ready")
        with pytest.raises(EndpointError):
            standard.wait(1, timeout=100)
        looks = asked(f"/inferenceservices/{NAME}")
        assert looks >= 50
        # And once more for the reasons.
        assert asked("/pods?") == looks + 1
        assert asked("/deployments?") == looks + 1


class TestReasons:
    def test_the_pod_of_the_newest_version_comes_first(self, place: Passing) -> None:
        place.wait(1)
        place.behave("image_pull")
        place.apply(2)
        first, second, *_ = why(place)
        assert first.endswith(
            "kserve-container: ImagePullBackOff Back-off pulling image "
            '"kserve/kfp-suiteserver:v0.20.0"'
        )
        assert "Failed to pull image" in second
        assert second.endswith(": not found")

    def test_of_a_pull_that_fails_each_thing_is_said_once(self, place: Passing) -> None:
        place.behave("image_pull")
        place.apply(1)
        told = [one for one in why(place) if one.startswith("pod ")]
        assert len(told) == 2
        assert "Error: ErrImagePull" not in str(told)

    def test_a_failure_of_the_version_before_is_not_told(self, standard: Passing) -> None:
        """KServe keeps lastFailureInfo."""
        standard.behave("crash_loop")
        standard.apply(1)
        assert "sklearn" in str(why(standard))
        standard.behave("never_ready")
        standard.apply(2)
        failure = standard.live()["status"]["modelStatus"]["lastFailureInfo"]
        assert "sklearn" in failure["message"]
        assert "sklearn" not in str(why(standard))
        assert "ModelLoadFailed" not in str(why(standard))

    def test_what_a_pod_has_said_kserve_does_not_say_again(self, place: Passing) -> None:
        place.behave("crash_loop")
        place.apply(1)
        told = why(place)
        assert sum("sklearn" in one for one in told if one.startswith(("pod", "its", "model"))) == 1

    def test_a_write_of_kserves_that_met_another_is_no_reason(self, place: Passing) -> None:
        place.behave("never_ready")
        place.apply(1)
        place.double.add(warned("UpdateFailed", _CONFLICT))
        place.double.add(warned("InternalError", "fails to reconcile ingress: no gateway"))
        told = why(place)
        assert "please apply your changes" not in str(told)
        assert "InternalError: fails to reconcile ingress: no gateway" in told

    def test_what_kserve_warns_of_everywhere_is_no_reason(self, place: Passing) -> None:
        """As in a cluster whose gateway is not Istio's."""
        place.behave("never_ready")
        place.apply(1)
        place.double.add(
            warned(
                "VirtualServiceCRDNotFound",
                "Istio VirtualService CRD not present; VirtualService reconciliation skipped. If "
                "you do not use Istio, set ingress.disableIstioVirtualHost=true.",
            )
        )
        assert "VirtualService" not in str(why(place))

    def test_of_the_storage_initializers_log_its_error_is_told(self, place: Passing) -> None:
        place.behave("storage_failed")
        place.apply(1)
        told = why(place)
        assert (
            "the storage initializer's last error: RuntimeError: Failed to fetch model. No model "
            f"found in gs://bucket/models/{NAME}/1/model-1."
        ) in told
        assert "Traceback" not in str(told)
        assert "Copying" not in str(told)

    def test_of_a_log_without_an_error_the_last_lines_are_told(self, place: Passing) -> None:
        place.behave("storage_failed")
        place.apply(1)
        lines = [f"line {number} {'x' * 1000}" for number in range(60)]
        key = NAMESPACE, place.pod(), "storage-initializer"
        place.double.logs[key] = "\n".join(lines)
        (told,) = [one for one in why(place) if "last lines" in one]
        assert told.startswith("the storage initializer's last lines: line 55 x")
        assert told.count(" | ") == 4
        assert len(told) < 5 * 310 + 60


def status(restarts: int) -> V1ContainerStatus:
    ended = V1ContainerStateTerminated(exit_code=1, reason="Error")
    waits = V1ContainerStateWaiting(reason="CrashLoopBackOff", message="back-off")
    return V1ContainerStatus(
        name="kserve-container",
        image="server:1",
        image_id="",
        ready=False,
        restart_count=restarts,
        state=V1ContainerState(waiting=waits),
        last_state=V1ContainerState(terminated=ended),
    )


@pytest.mark.parametrize(("restarts", "final"), [(1, False), (2, False), (3, True)])
def test_a_crash_is_final_at_the_third_restart(restarts: int, final: bool) -> None:
    found = of_container(status(restarts))
    assert found is not None
    assert (found.kind, found.final) == (CRASH, final)
    assert found.said == "CrashLoopBackOff back-off; Error, exit code 1"
