"""What a cluster could not pull, read or scale is refused before anything is changed there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_suite.components.deploy.executor import DeployParameters, deploy
from kfp_suite.components.rollout.executor import rollout
from kfp_suite.components.rollout.parameters import RolloutParameters
from kfp_suite.components.rollout.targets import ClusterTarget
from kfp_suite.contracts.errors import ParameterError, StoreError
from kfp_suite.kserve.access import access
from kfp_suite.kserve.canary import Mode
from kfp_suite.kserve.cluster import TRAINED_MODELS
from kfp_suite.kserve.images import IMAGE_VARIABLES
from kfp_suite.kserve.storage import STORE_VARIABLE
from kfp_suite.stores.versions import ModelStore
from kfp_suite.testing.kubernetes.cluster import KubernetesDouble, running
from tests.schemas import CRDS
from tests.unit.deploy.conftest import IMAGE, in_a_pod, on
from tests.unit.deploy.fleet import Fleet
from tests.unit.deploy.test_deploy import parameters, pushed


def changed(double: KubernetesDouble) -> list[str]:
    """What was asked of the cluster that changes it."""
    return [
        one.path for one in double.requests if one.method != "GET" and "dryRun=All" not in one.path
    ]


def rolled(models: ModelStore, double: KubernetesDouble, folder: Path, **settings: Any) -> None:
    given = RolloutParameters(
        store=models.store.uri,
        model_name="wings",
        version="1",
        target="cluster",
        namespace="models",
        settings=settings,
    )
    rollout(given, folder, target=ClusterTarget(on(double), "wings", "models", timeout=5))


@pytest.mark.parametrize(
    ("unset", "message"),
    [
        (IMAGE_VARIABLES["serving"], "settings.image: no registry to pull"),
        (STORE_VARIABLE, "store: no pod of the cluster sees a folder"),
    ],
)
def test_what_it_could_not_start_changes_nothing(
    double: KubernetesDouble,
    models: ModelStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unset: str,
    message: str,
) -> None:
    monkeypatch.delenv(unset)
    version = pushed(models, tmp_path, 1)
    with pytest.raises(ParameterError, match=message):
        deploy(parameters(), version, tmp_path / "a", cluster=on(double))
    with pytest.raises(ParameterError, match=message):
        deploy(parameters(settings={"shared": "zoo"}), version, tmp_path / "b", cluster=on(double))
    with pytest.raises(ParameterError, match=message):
        rolled(models, double, tmp_path / "c")
    assert changed(double) == []
    assert deploy(DeployParameters(), version, tmp_path / "d")["target"] == "local"


def test_a_first_rollout_runs_in_the_mode_that_is_asked_for(
    double: KubernetesDouble,
    fleet: Fleet,
    mode: Mode,
    models: ModelStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_a_pod(monkeypatch, double.kubeconfig(tmp_path / "kubeconfig"))
    other = "Knative" if mode == "Standard" else "Standard"

    def rolls(wanted: str) -> None:
        given = RolloutParameters(
            store=models.store.uri,
            model_name="wings",
            version="1",
            target="cluster",
            namespace="models",
            settings={"deployment_mode": wanted},
            timeout_seconds=20,
        )
        rollout(given, tmp_path / wanted)

    rolls(other)
    live = double.get("inferenceservices", "models/wings")
    assert live["status"]["deploymentMode"] == other
    with pytest.raises(ParameterError, match="which KServe does not change"):
        rolls(mode)
    assert double.get("inferenceservices", "models/wings") == live


@pytest.mark.parametrize(
    ("runtime", "options", "why"),
    [
        ("sklearn", {}, "KServe's own image for runtime 'sklearn' has 1.5.2, which cannot load it"),
        ("mlserver", {}, "KServe's own image for runtime 'mlserver' has 1.5.2"),
        ("torchserve", {}, "KServe's own image for runtime 'torchserve' has no kfp_suite"),
        ("triton", {"backend": "python"}, "runtime 'triton' has no kfp_suite"),
        ("triton", {"ensemble": True}, "runtime 'triton' has no kfp_suite"),
    ],
)
def test_what_kserves_own_image_could_not_run_needs_another(
    double: KubernetesDouble,
    models: ModelStore,
    tmp_path: Path,
    runtime: str,
    options: dict[str, Any],
    why: str,
) -> None:
    version = pushed(models, tmp_path, 1)
    given: dict[str, Any] = {"runtime": runtime, "runtime_options": options}
    with pytest.raises(ParameterError, match=r"^settings\.image: .*" + why):
        deploy(parameters(**given), version, tmp_path / "a", cluster=on(double))
    assert changed(double) == []
    deploy(DeployParameters(**given), version, tmp_path / "here")
    given |= {"settings": {"image": "r/server:1"}, "dry_run": True}
    if runtime == "torchserve":
        with pytest.raises(ParameterError, match="token_authentication: TorchServe makes its own"):
            deploy(parameters(**given), version, tmp_path / "t", cluster=on(double))
        given["runtime_options"] = {"token_authentication": False}
    found = deploy(parameters(**given), version, tmp_path / "b", cluster=on(double))
    assert found["runtime"] == runtime


def test_kserves_own_triton_runs_a_graph(
    double: KubernetesDouble, models: ModelStore, tmp_path: Path
) -> None:
    given = parameters(runtime="triton", dry_run=True)
    deploy(given, pushed(models, tmp_path, 1), tmp_path / "a", cluster=on(double))
    model = yaml.safe_load((tmp_path / "a" / "inferenceservice.yaml").read_text())
    assert "image" not in model["spec"]["predictor"]["model"]


def test_how_it_could_not_scale_changes_nothing(
    double: KubernetesDouble, mode: Mode, models: ModelStore, tmp_path: Path
) -> None:
    wrong = "rps" if mode == "Standard" else "cpu"
    with pytest.raises(ParameterError, match=f"not what {mode} mode scales by; got {wrong}"):
        deploy(
            parameters(settings={"scale_metric": wrong}),
            pushed(models, tmp_path, 1),
            tmp_path / "a",
            cluster=on(double),
        )
    with pytest.raises(ParameterError, match=f"not what {mode} mode scales by"):
        rolled(models, double, tmp_path / "b", scale_metric=wrong)
    assert changed(double) == []


def test_a_new_endpoint_is_made_for_the_mode_that_kserve_will_run_it_in(
    double: KubernetesDouble, mode: Mode, fleet: Fleet, models: ModelStore, tmp_path: Path
) -> None:
    """A cluster that has Knative may run endpoints without it."""
    deploy(parameters(), pushed(models, tmp_path, 1), tmp_path / "a", cluster=on(double))
    live = double.get("inferenceservices", "models/wings")
    model = live["spec"]["predictor"]["model"]
    assert ("lifecycle" in model) == (mode == "Standard")
    assert live["metadata"]["annotations"]["kfp-suite.io/image"] == IMAGE
    written = yaml.safe_load((tmp_path / "a" / "inferenceservice.yaml").read_text())
    assert model["storageUri"] == written["spec"]["predictor"]["model"]["storageUri"]
    assert model["storageUri"].startswith("pvc://claim/store/wings/1/")
    assert [one["metadata"]["name"] for one in double.objects("inferenceservices")] == ["wings"]


def test_what_kserve_itself_refuses_is_no_question_of_rights(
    double: KubernetesDouble, models: ModelStore, tmp_path: Path
) -> None:
    overlay = {"spec": {"predictor": {"model": {"name": "mine"}}}}
    with pytest.raises(StoreError) as caught:
        deploy(
            parameters(settings={"overlay": overlay}),
            pushed(models, tmp_path, 1),
            tmp_path / "a",
            cluster=on(double),
        )
    assert "the Kubernetes API does not take the manifest" in str(caught.value)
    assert "'name' field is not allowed" in str(caught.value)
    assert str(caught.value).endswith(
        "mend settings or overlay; dry_run shows what would be applied"
    )


def test_the_role_deletes_models_and_watches_nothing(models: ModelStore) -> None:
    with running(KubernetesDouble(crds=CRDS)) as double:
        _, role, _ = access("models", "deployer", delete=True)
        assert all("watch" not in rule["verbs"] for rule in role["rules"])
        double.allow_only("deployer", role["rules"], "models")
        cluster = on(double, "deployer")
        model = {
            "apiVersion": "serving.kserve.io/v1alpha1",
            "kind": "TrainedModel",
            "metadata": {"name": "wings", "namespace": "models"},
            "spec": {
                "inferenceService": "zoo",
                "model": {"framework": "kfp-suite", "storageUri": "gs://b/m", "memory": "1Gi"},
            },
        }
        cluster.apply(model)
        cluster.delete("wings", "models", TRAINED_MODELS)
        assert cluster.find("wings", "models", TRAINED_MODELS) is None
        double.allow_only("less", access("models", "less")[1]["rules"], "models")
        on(double, "less").apply(model)
        with pytest.raises(StoreError, match="cannot delete resource"):
            on(double, "less").delete("wings", "models", TRAINED_MODELS)
