"""A Kubernetes API server that knows InferenceServices, and can be slow, stale or refuse.

with running(KubernetesDouble()) as cluster:
    serve_version(manifest, 5, api=cluster.client())
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml
from kubernetes import client

_PATH = re.compile(
    r"/apis/serving\.kserve\.io/v1beta1/namespaces/([^/]+)/inferenceservices/([^/?]+)"
)


class KubernetesDouble:
    """The state of a cluster.

    Args:
        ready_after: Looks at a service before its new generation is ready; None: never.
        message: What the Ready condition says until then.
        refuse: An HTTP status to answer every request with, 0 for none.
    """

    def __init__(
        self, *, ready_after: int | None = 1, message: str = "starting", refuse: int = 0
    ) -> None:
        self.ready_after, self.message, self.refuse = ready_after, message, refuse
        self.services: dict[tuple[str, str], dict[str, Any]] = {}
        self.applied: list[dict[str, str]] = []
        self._looks: dict[tuple[str, str], int] = {}
        self._url = ""

    def client(self) -> Any:
        """A Kubernetes `ApiClient` of this cluster."""
        configuration = client.Configuration()
        configuration.host = self._url
        return client.ApiClient(configuration)

    def apply(self, key: tuple[str, str], manifest: dict[str, Any]) -> dict[str, Any]:
        """Server-side apply: a changed manifest is a new generation."""
        before = self.services.get(key, {"metadata": {"generation": 0}})
        generation = before["metadata"]["generation"] + 1
        status = before.get("status", {})
        metadata = {**manifest["metadata"], "generation": generation}
        self.services[key] = {**manifest, "metadata": metadata, "status": status}
        self._looks[key] = 0
        return self.services[key]

    def look(self, key: tuple[str, str]) -> dict[str, Any]:
        """The service; its status follows its generation after `ready_after` looks."""
        found = self.services[key]
        self._looks[key] += 1
        if self.ready_after is not None and self._looks[key] > self.ready_after:
            found["status"] = {
                "url": f"http://{key[1]}.{key[0]}.example.com",
                "observedGeneration": found["metadata"]["generation"],
                "conditions": [{"type": "Ready", "status": "True"}],
            }
        elif not found["status"]:
            condition = {"type": "Ready", "status": "False", "message": self.message}
            found["status"] = {"conditions": [condition]}
        return found


@contextmanager
def running(double: KubernetesDouble) -> Iterator[KubernetesDouble]:
    """Serve the double on a free loopback port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            double.applied.append({"content-type": self.headers["content-type"], "path": self.path})
            self._answer(lambda key: double.apply(key, yaml.safe_load(body)))

        def do_GET(self) -> None:
            if "/pods" in self.path:
                self._send(200, {"items": []})
                return
            self._answer(double.look)

        def _answer(self, act: Any) -> None:
            match = _PATH.match(self.path)
            if double.refuse or match is None:
                status = double.refuse or 404
                self._send(status, {"kind": "Status", "message": "refused", "code": status})
                return
            self._send(200, act((match.group(1), match.group(2))))

        def _send(self, status: int, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    double._url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
