"""The gateway behind `kfp-suite serve`: it follows manifests, and leaves nothing behind."""

from __future__ import annotations

import gzip
import json
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from kfp_suite.components.deploy.graph.executor import GraphParameters, deploy_graph
from kfp_suite.contracts.canonical import write_file
from kfp_suite.contracts.errors import EndpointError
from kfp_suite.kserve.canary import with_candidate
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.graphs import inference_graph
from kfp_suite.kserve.manifests import inference_service, read_manifest, to_yaml
from kfp_suite.kserve.settings import parse_settings
from kfp_suite.local.serving import local_endpoint
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.serving.conftest import publish
from tests.serving.load import Load

_BROKEN = """
from sklearn.linear_model import LogisticRegression

class Broken(LogisticRegression):
    calls = 0

    def predict_proba(self, X):
        Broken.calls += 1
        if Broken.calls > 10:  # the server's own warm-up
            raise RuntimeError("out of order")
        return super().predict_proba(X)

def fit(training):
    return Broken().fit(training.train.matrix, training.train.target)
"""
# It starts in the tests, where it is trained; never in a server.
_NEVER_READY = """
import sys, time
from sklearn.linear_model import LogisticRegression

if "kfp_suite.server" in sys.orig_argv:
    time.sleep(600)

class Own(LogisticRegression):  # so that this module is imported
    pass

def fit(training):
    return Own().fit(training.train.matrix, training.train.target)
"""
# Its probabilities are its own: no ONNX graph stands for it.
_SLOW = """
import sys, time
from sklearn.linear_model import LogisticRegression

class Slow(LogisticRegression):
    calls = 0

    def predict_proba(self, X):
        if "kfp_suite.server" in sys.orig_argv:
            Slow.calls += 1
            time.sleep(3 if Slow.calls > 10 else 0.05)  # after the server's own warm-up
        return super().predict_proba(X) / 2 + 0.25

def fit(training):
    return Slow().fit(training.train.matrix, training.train.target)
"""
# Many rows take it long.
_LONG = """
import time
from sklearn.linear_model import LogisticRegression

class Long(LogisticRegression):
    def predict_proba(self, X):
        time.sleep(18 if len(X) >= 500 else 0)
        return super().predict_proba(X)

def fit(training):
    return Long().fit(training.train.matrix, training.train.target)
"""
BROKEN, NEVER_READY, SLOW, LONG = 4, 5, 6, 7
RECORD = {"span": 7, "weight": 3.5, "kind": "a", "seen": "2024-01-05T08:00:00"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("gateway")
    found = ModelStore(FolderStore(folder / "store"))
    for number, (name, estimator, module) in enumerate(
        [
            ("wings", "logistic_regression", ""),
            ("wings", "random_forest", ""),
            ("wings", "hist_gradient_boosting", ""),
            ("wings", "logistic_regression", _BROKEN),
            ("wings", "logistic_regression", _NEVER_READY),
            ("wings", "logistic_regression", _SLOW),
            ("wings", "logistic_regression", _LONG),
            ("feet", "logistic_regression", ""),
        ]
    ):
        publish(found, name, folder / str(number), estimator, module)
    return found


def manifest(store: ModelStore, model: str, version: int, **settings: Any) -> dict[str, Any]:
    served = Deployable.find(store, model, version, name=settings.get("name", "")).served
    return inference_service(served, namespace="models", settings=parse_settings(settings))


def half(store: ModelStore, path: Path, version: int, percent: int) -> None:
    """Give a version a share."""
    side = manifest(store, "wings", version)["spec"]["predictor"]
    changed = with_candidate(read_manifest(path), side, percent, "Standard")
    write_file(path, to_yaml(changed).encode())


def status(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_name(f"{path.name}.status.json").read_text())
    return found


def eventually(holds: Callable[[], Any], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


def test_shares_are_exact_and_a_header_chooses(store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "wings.yaml"
    write_file(file, to_yaml(manifest(store, "wings", 1)).encode())
    with local_endpoint(str(file), "wings") as endpoint, httpx.Client() as client:
        half(store, file, 2, 30)
        eventually(lambda: len(status(file)["versions"]) == 2)

        def versions(count: int, **headers: str) -> list[str]:
            answers = [
                client.post(endpoint.url, json={"instances": [RECORD]}, headers=headers)
                for _ in range(count)
            ]
            return [answer.headers["x-model-version"] for answer in answers]

        assert versions(100).count("2") == 30
        assert set(versions(20, **{"x-kfp-suite-version": "1"})) == {"1"}
        assert set(versions(20, **{"x-kfp-suite-version": "2"})) == {"2"}


def test_a_request_may_take_as_long_as_the_manifest_says(store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "wings.yaml"
    write_file(file, to_yaml(manifest(store, "wings", SLOW, timeout=1)).encode())
    with local_endpoint(str(file), "wings") as endpoint:

        def ask() -> httpx.Response:
            return httpx.post(endpoint.url, json={"instances": [RECORD]}, timeout=30)

        eventually(lambda: ask().status_code == 504)
        write_file(file, to_yaml(manifest(store, "wings", SLOW, timeout=20)).encode())
        eventually(lambda: ask().status_code == 200)


def test_it_is_asked_and_refuses_as_the_server_does(store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "wings.yaml"
    write_file(file, to_yaml(manifest(store, "wings", 1)).encode())
    arguments = ["--cors-origin", "https://pages.example"]
    with local_endpoint(str(file), "wings", arguments=arguments) as endpoint:
        body = json.dumps({"instances": [RECORD]}).encode()

        def post(content: bytes, path: str = "", **headers: str) -> httpx.Response:
            given = {"content-type": "application/json"}
            given |= {name.replace("_", "-"): value for name, value in headers.items()}
            return httpx.post(endpoint.url + path, content=content, headers=given, timeout=60)

        plain = post(body)
        assert plain.status_code == 200
        assert post(gzip.compress(body), content_encoding="gzip").json() == plain.json()
        assert post(body, x_long="a" * 60_000).json() == plain.json()
        v2 = f"{endpoint.base}/v2/models/wings/infer"
        tensor = {"name": "span", "shape": [1], "datatype": "INT64", "data": [7]}
        assert httpx.post(v2, content=json.dumps({"inputs": [tensor]})).status_code == 200
        bomb = gzip.compress(b" " * 40_000_000)
        for status, answer in (
            (400, post(body, content_encoding="gzip")),
            (415, post(body, content_encoding="br")),
            (413, post(bomb, content_encoding="gzip")),
            (413, post(b" " * 33_600_000)),
            (431, post(body, x_long="a" * 65_536)),
            (404, post(body, path="/")),
            (404, httpx.get(endpoint.base + "/v2/models/nobody")),
        ):
            assert answer.status_code == status, answer.text
            assert list(answer.json()) == ["error"]
        for path in ("/", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/wings"):
            assert httpx.get(endpoint.base + path).status_code == 200
            head = httpx.head(endpoint.base + path)
            assert (head.status_code, head.content) == (200, b"")
        page = {"origin": "https://pages.example"}
        allowed = httpx.get(endpoint.base + "/v2", headers=page).headers
        assert allowed["access-control-allow-origin"] == "https://pages.example"


def test_two_manifests_of_one_name_are_refused(store: ModelStore, tmp_path: Path) -> None:
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for file in files:
        write_file(file, to_yaml(manifest(store, "wings", 1)).encode())
    with (
        pytest.raises(EndpointError, match=r"InferenceService 'wings' is there twice; got "),
        local_endpoint(str(files[0]), "wings", arguments=[str(files[1])]),
    ):
        pass


def test_what_is_renamed_is_found_by_its_new_name_alone(store: ModelStore, tmp_path: Path) -> None:
    wings, feet = tmp_path / "wings.yaml", tmp_path / "feet.yaml"
    graph = tmp_path / "graph.yaml"
    write_file(wings, to_yaml(manifest(store, "wings", 1)).encode())
    write_file(feet, to_yaml(manifest(store, "feet", 1)).encode())
    nodes = {"root": {"routerType": "Sequence", "steps": [{"serviceName": "feet"}]}}
    write_file(graph, to_yaml(inference_graph("one", "models", nodes, {})).encode())
    more = [str(feet), str(graph)]
    with local_endpoint(str(wings), "wings", arguments=more) as endpoint:

        def code(path: str) -> int:
            answer = httpx.post(f"{endpoint.base}{path}", json={"instances": [RECORD]}, timeout=30)
            return answer.status_code

        assert code("/graphs/one") == 200
        write_file(wings, to_yaml(manifest(store, "wings", 1, name="arms")).encode())
        write_file(graph, to_yaml(inference_graph("other", "models", nodes, {})).encode())
        eventually(lambda: code("/v1/models/arms:predict") == code("/graphs/other") == 200)
        eventually(lambda: code("/v1/models/wings:predict") == code("/graphs/one") == 404)
        found = httpx.get(f"{endpoint.base}/status").json()
        assert set(found) == {"arms", "feet", "graph.yaml"}
        # A name that is another file's is not taken over; what served goes on.
        write_file(wings, to_yaml(manifest(store, "wings", 1, name="feet")).encode())
        eventually(lambda: status(wings)["error"])
        assert "InferenceService 'feet' is there twice" in status(wings)["error"]
        assert code("/v1/models/arms:predict") == 200
        # The name that was left is free.
        write_file(feet, to_yaml(manifest(store, "wings", 1)).encode())
        eventually(lambda: code("/v1/models/wings:predict") == 200)
        eventually(lambda: not status(wings)["error"])
        assert code("/v1/models/feet:predict") == 200


def test_who_names_a_version_gets_its_answer_or_its_error(
    store: ModelStore, tmp_path: Path
) -> None:
    file = tmp_path / "wings.yaml"
    write_file(file, to_yaml(manifest(store, "wings", 1)).encode())
    with local_endpoint(str(file), "wings") as endpoint, httpx.Client(timeout=30) as client:
        half(store, file, BROKEN, 50)
        eventually(lambda: len(status(file)["versions"]) == 2)

        def ask(**headers: str) -> httpx.Response:
            return client.post(endpoint.url, json={"instances": [RECORD]}, headers=headers)

        named = [ask(**{"x-kfp-suite-version": str(BROKEN)}) for _ in range(10)]
        assert {(one.status_code, one.headers["x-model-version"]) for one in named} == {(500, "4")}
        by_share = [ask() for _ in range(10)]
        assert {(one.status_code, one.headers["x-model-version"]) for one in by_share} == {
            (200, "1")
        }
        unknown = ask(**{"x-kfp-suite-version": "7"})
    assert unknown.status_code == 404
    assert unknown.json() == {"error": "endpoint 'wings' serves version 1, 4, not '7'"}


def test_a_version_that_was_tampered_with_is_refused_and_the_old_goes_on(
    store: ModelStore, tmp_path: Path
) -> None:
    file = tmp_path / "wings.yaml"
    write_file(file, to_yaml(manifest(store, "wings", 1)).encode())
    third = manifest(store, "wings", 3)
    folder = Path(third["spec"]["predictor"]["model"]["storageUri"])
    payload = next(one for one in folder.iterdir() if one.suffix in (".onnx", ".skops"))
    good = payload.read_bytes()
    with (
        local_endpoint(str(file), "wings") as endpoint,
        Load(endpoint.url, {"instances": [RECORD]}) as load,
    ):
        payload.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        write_file(file, to_yaml(third).encode())
        eventually(lambda: status(file)["error"])
        refused = status(file)
        time.sleep(0.5)
        seen = set(load.versions)
        payload.write_bytes(good)
        eventually(lambda: not status(file)["error"])
        eventually(lambda: load.versions["3"])
    assert refused["ready"] is False
    assert payload.name in refused["error"]
    assert refused["versions"] == [{"version": 1, "percent": 100}]
    assert seen == {"1"}
    assert load.failed == []


def test_a_manifest_that_is_not_one_keeps_the_old(store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "wings.yaml"
    write_file(file, to_yaml(manifest(store, "wings", 1)).encode())
    with (
        local_endpoint(str(file), "wings") as endpoint,
        Load(endpoint.url, {"instances": [RECORD]}) as load,
    ):
        write_file(file, b"kind: Pod\n")
        eventually(lambda: status(file)["error"])
        assert "not an InferenceService" in status(file)["error"]
        time.sleep(0.5)
    assert load.failed == []
    assert set(load.versions) == {"1"}


def test_a_graph_asks_the_endpoints_beside_it(store: ModelStore, tmp_path: Path) -> None:
    files = []
    for name in ("wings", "feet"):
        files.append(tmp_path / f"{name}.yaml")
        write_file(files[-1], to_yaml(manifest(store, name, 1)).encode())
    steps = [{"serviceName": "wings", "name": "w"}, {"serviceName": "feet", "name": "f"}]
    nodes = {"root": {"routerType": "Ensemble", "steps": steps}}
    made = deploy_graph(GraphParameters("both", nodes), tmp_path / "graph")
    files.append(Path(made["manifest"]))
    more = [str(file) for file in files[1:]]
    with local_endpoint(str(files[0]), "wings", arguments=more) as endpoint:
        answer = httpx.post(f"{endpoint.base}/graphs/both", json={"instances": [RECORD]})
        alone = httpx.post(endpoint.url, json={"instances": [RECORD]})
    assert answer.status_code == 200
    assert set(answer.json()) == {"w", "f"}
    assert answer.json()["w"]["probabilities"] == alone.json()["probabilities"]


def test_a_server_that_dies_is_started_again(store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "wings.yaml"
    write_file(file, to_yaml(manifest(store, "wings", 1)).encode())
    with local_endpoint(str(file), "wings") as endpoint:
        (server,) = psutil.Process(endpoint.process.pid).children()
        server.kill()

        def answers() -> bool:
            found = httpx.post(endpoint.url, json={"instances": [RECORD]}, timeout=30)
            assert found.status_code in (200, 502, 503), found.text
            return found.status_code == 200

        server.wait(10)
        eventually(answers)


def test_a_start_that_takes_for_ever_holds_up_no_other(store: ModelStore, tmp_path: Path) -> None:
    wings, feet = tmp_path / "wings.yaml", tmp_path / "feet.yaml"
    write_file(wings, to_yaml(manifest(store, "wings", 1)).encode())
    write_file(feet, to_yaml(manifest(store, "feet", 1)).encode())
    with local_endpoint(str(wings), "wings", arguments=[str(feet)]) as endpoint:
        gateway = psutil.Process(endpoint.process.pid)
        first = {server.pid for server in gateway.children()}

        def answers(name: str) -> bool:
            path = f"{endpoint.base}/v1/models/{name}:predict"
            return httpx.post(path, json={"instances": [RECORD]}, timeout=30).status_code == 200

        half(store, wings, NEVER_READY, 10)
        eventually(lambda: len(gateway.children()) == 3)
        (hanging,) = (server for server in gateway.children() if server.pid not in first)
        for server in gateway.children():
            if server.pid in first:
                server.kill()
                server.wait(10)
        # The other endpoint, and the version beside the candidate.
        eventually(lambda: answers("feet") and answers("wings"))
        assert hanging.is_running()
        assert status(wings)["versions"] == [{"version": 1, "percent": 100}]
        # Nobody wants it any more: it is not waited for.
        write_file(wings, to_yaml(manifest(store, "wings", 1)).encode())
        hanging.wait(20)
        assert answers("wings")
        half(store, wings, NEVER_READY, 10)
        eventually(lambda: len(gateway.children()) == 3)
        children = gateway.children()
        endpoint.process.terminate()
        assert endpoint.process.wait(15) == 0
        assert psutil.wait_procs(children, timeout=5)[1] == []


def test_a_gateway_that_is_killed_leaves_no_server(store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "wings.yaml"
    write_file(file, to_yaml(manifest(store, "wings", 1)).encode())
    with local_endpoint(str(file), "wings") as endpoint:
        children = psutil.Process(endpoint.process.pid).children(recursive=True)
        assert children
        endpoint.process.send_signal(signal.SIGKILL)
        endpoint.process.wait(10)
        _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


def test_sigterm_lets_requests_finish(store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "wings.yaml"
    write_file(file, to_yaml(manifest(store, "wings", 1)).encode())
    with local_endpoint(str(file), "wings") as endpoint:
        children = psutil.Process(endpoint.process.pid).children(recursive=True)
        with Load(endpoint.url, {"instances": [RECORD] * 50}) as load:
            eventually(lambda: load.versions["1"] > 20)
            endpoint.process.terminate()
            code = endpoint.process.wait(30)
        _, alive = psutil.wait_procs(children, timeout=10)
    assert code == 0
    assert alive == []
    # What was refused was refused at the door: no answer was begun and broken off.
    assert load.failed
    assert [one for one in load.failed if "ConnectError" not in one] == []


def test_sigterm_gives_a_long_prediction_its_time(store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "wings.yaml"
    write_file(file, to_yaml(manifest(store, "wings", LONG)).encode())
    with local_endpoint(str(file), "wings") as endpoint, ThreadPoolExecutor(1) as pool:
        many = {"instances": [RECORD] * 500}
        asked = pool.submit(httpx.post, endpoint.url, json=many, timeout=40)
        time.sleep(1)
        endpoint.process.terminate()
        answer = asked.result(40)
        assert endpoint.process.wait(15) == 0
    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == 500
