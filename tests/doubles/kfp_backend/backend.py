"""Kubeflow Pipelines, as far as its API shows it.

with running(KfpDouble()) as kfp:
    kfp.behave(Behaviour(fails="train"))
    kfp_client = kfp.Client(host=kfp.url)
"""

from __future__ import annotations

import email
import email.policy
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from kfp_suite.testing.kfp_backend.definition import Definition
from kfp_suite.testing.kfp_backend.routes import ROUTES
from kfp_suite.testing.kfp_backend.state import Json, Refusal, State
from kfp_suite.testing.kfp_backend.ui import first_api, handed_out
from kfp_suite.testing.kfp_backend.workflow import Behaviour

__all__ = ["Behaviour", "KfpDouble", "running"]

_PREFIX = "/apis/v2beta1/"
_SIGN_IN = b"<!DOCTYPE html><title>Sign in</title>"


@dataclass
class _Fault:
    """A failure to come: `status` 0 drops the connection."""

    status: int
    times: int
    path: str
    method: str
    retry_after: int | None
    performed: bool


class KfpDouble:
    """A Kubeflow Pipelines in memory.

    Args:
        definition: KFP's `kfp_api_v2beta1.swagger.json`: requests that it does not allow are
            400, and an answer of ours that it does not have is an error; None: no checks.
        token: The bearer token that is asked for; empty: none is.
        cookie: The session that is asked for, `name=value`; others get a page to sign in.
        namespaces: Those one may use, on a Kubeflow of several users; None: of one.
        version: 2, or 1: a backend that does not know this API; 0: another website.
        prefix: What stands before `/apis` in its address: a proxy's.
        tag: The version that it tells of itself.
        live: Time passes by itself; else only by `advance`.
        ui: Whether it is at the UI's address, which hands out artifacts and logs, and answers for
            the API's health.

    Attributes:
        state: What it keeps.
        requests: Method and path of each request, the oldest first.
        latency: Seconds that every answer takes.
        api_is_ready: Whether the API behind the UI answers.
        wrong: What went wrong in the double itself: answers that the definition does not have.
    """

    def __init__(
        self,
        definition: Path | None = None,
        *,
        token: str = "",
        cookie: str = "",
        namespaces: tuple[str, ...] | None = None,
        version: int = 2,
        prefix: str = "",
        tag: str = "2.15.0",
        live: bool = False,
        ui: bool = True,
    ) -> None:
        self.state, self.ui = State(), ui
        self.requests: list[tuple[str, str]] = []
        self.latency = 0.0
        self.wrong: list[str] = []
        self.token, self.cookie, self.namespaces, self.version = token, cookie, namespaces, version
        self.tag, self._looked = tag, time.monotonic() if live else None
        self.prefix, self.url = prefix, ""
        self.api_is_ready = True
        self._definition = Definition(definition)
        self._faults: list[_Fault] = []
        self._lock = threading.RLock()

    def behave(self, behaviour: Behaviour) -> None:
        """What becomes of runs from now on."""
        self.state.behaviour = behaviour

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self.state.advance(seconds)

    def fail_next(
        self,
        status: int,
        times: int = 1,
        *,
        path: str = "",
        method: str = "",
        retry_after: int | None = None,
        performed: bool = False,
    ) -> None:
        """Let the next requests fail.

        Args:
            status: HTTP's; 0: the connection is dropped.
            times: How many.
            path: A part of their path.
            method: Theirs; empty: any.
            retry_after: Seconds to wait, as a header.
            performed: What they ask for is done, and only the answer is lost.
        """
        self._faults.append(_Fault(status, times, path, method, retry_after, performed))

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers; status 0: none at all."""
        path = urlsplit(target).path
        if not path.startswith(self.prefix):
            return 404, b"not found", {"content-type": "text/plain"}
        if "//" in path:
            return 301, b"", {"location": target.replace("//", "/")}
        target = target.removeprefix(self.prefix)
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        with self._lock:
            self.requests.append((method, parts.path))
            if self._looked is not None:
                looked, self._looked = self._looked, time.monotonic()
                self.state.advance(self._looked - looked)
            fault = self._fault(method, parts.path)
            if fault is not None and not fault.performed:
                return _failed(fault)
            if self.cookie and headers.get("cookie", "") != self.cookie:
                return 200, _SIGN_IN, {"content-type": "text/html"}
            try:
                if (content := self._beside(parts.path, query)) is not None:
                    return 200, content, {}
                status, found = 200, self._routed(method, parts.path, query, headers, body)
            except Refusal as refusal:
                status, found = refusal.status, refusal.body
            if self.version != 2 and status == 404:
                return 404, b"<html>not found</html>", {"content-type": "text/html"}
            if fault is not None:
                return _failed(fault)
            if self.ui and parts.path == f"{_PREFIX}healthz":
                return status, json.dumps(found).encode(), {"content-type": "application/json"}
            try:
                self._definition.check_answer(method, parts.path, status, _defined(found))
            except AssertionError as error:
                self.wrong.append(str(error))
            return status, json.dumps(found).encode(), {"content-type": "application/json"}

    def _beside(self, path: str, query: Mapping[str, str]) -> bytes | None:
        """What is answered beside this API; None: nothing."""
        if self.version != 2:
            return None
        if (run := first_api(self.state, path)) is not None:
            return json.dumps(run).encode()
        return handed_out(self.state, path, query, self.namespaces) if self.ui else None

    def _fault(self, method: str, path: str) -> _Fault | None:
        for fault in self._faults:
            if fault.times and fault.path in path and fault.method in ("", method):
                fault.times -= 1
                return fault
        return None

    def _routed(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Json:
        if self.version != 2:
            if self.version == 1 and path == "/apis/v1beta1/healthz":
                return {"multi_user": False}
            raise Refusal(404, "Not Found")
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            raise Refusal(401, "User identity is empty in the request header")
        if not path.startswith(_PREFIX):
            raise Refusal(404, "Not Found")
        if self.ui and path == f"{_PREFIX}healthz":
            return self._health_of_ui()
        multipart = headers.get("content-type", "").startswith("multipart/")
        given = json.loads(body) if body and not multipart else None
        refused = self._definition.refuses(method, path, query, given)
        if refused:
            raise Refusal(404 if refused == "no such path" else 400, refused)
        resource = path.removeprefix(_PREFIX)
        self._check_namespace(method, resource, query, given)
        for known, pattern, act in ROUTES:
            found = re.fullmatch(pattern, resource)
            if known == method and found:
                file = _uploaded(headers, body) if multipart else b""
                return act(self.state, found.groups(), dict(query), given or {}, file, self)
        raise Refusal(404, f"no {method} {path}")

    def _health_of_ui(self) -> Json:
        """What the UI's server says of the API behind it."""
        about = {"frontendTagName": self.tag, "apiServerReady": self.api_is_ready}
        if not self.api_is_ready:
            return about
        several = self.namespaces is not None
        return {
            **about,
            "apiServerTagName": self.tag,
            "apiServerMultiUser": several,
            "multi_user": several,
        }

    def _check_namespace(
        self, method: str, resource: str, query: Mapping[str, str], given: Any
    ) -> None:
        """Of several users each has a namespace, and what is listed or made is in one."""
        if self.namespaces is None:
            return
        asked = query.get("namespace") or (given or {}).get("namespace")
        if asked and asked not in self.namespaces:
            raise Refusal(403, f"User 'user@example.com' is not authorized in namespace {asked}")
        named = asked or query.get("experiment_id") or (given or {}).get("experiment_id")
        needed = ("experiments", "runs", "recurringruns")
        if not named and method in ("GET", "POST") and resource in needed:
            raise Refusal(400, "Resource cannot have an empty namespace in multi-user mode")

    @contextmanager
    def _running(self, certificate: Path | None) -> Iterator[None]:
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                time.sleep(double.latency)
                given = {key.lower(): value for key, value in self.headers.items()}
                status, content, headers = double.answer(self.command, self.path, given, body)
                if not status:
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = do_PATCH = _any

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that goes away, or a certificate that it does not trust."""

        server = Quiet(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@contextmanager
def running(double: KfpDouble, certificate: Path | None = None) -> Iterator[KfpDouble]:
    """Serve it on a free loopback port until the block ends.

    Args:
        double: What to serve.
        certificate: A PEM file with a key and a certificate: then it speaks TLS.
    """
    with double._running(certificate):
        yield double


def _defined(answer: Json) -> Json:
    """Without what the health says beside its definition."""
    return {key: value for key, value in answer.items() if key not in ("tag_name", "commit_sha")}


def _failed(fault: _Fault) -> tuple[int, bytes, dict[str, str]]:
    headers = {"content-type": "application/json"}
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    return fault.status, json.dumps(Refusal(fault.status, "told to fail").body).encode(), headers


def _uploaded(headers: Mapping[str, str], body: bytes) -> bytes:
    whole = f"content-type: {headers['content-type']}\r\n\r\n".encode() + body
    message = email.message_from_bytes(whole, policy=email.policy.HTTP)
    for part in message.iter_parts():
        if part.get_param("name", header="content-disposition") == "uploadfile":
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            return content
    raise Refusal(400, "Invalid input error: no uploadfile")
