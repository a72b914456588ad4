"""The double over HTTP/1.1: JSON, text, and watches as streams."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kfp_suite.testing.cluster.objects import ApiError


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def serve(double: Any) -> Iterator[None]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            kind = self.headers.get("content-type", "")
            try:
                status, found = double.answer(self.command, self.path, kind, body)
                if isinstance(found, Iterator):
                    self._stream(found)
                elif isinstance(found, str):
                    self._send(status, found.encode(), "text/plain")
                else:
                    self._send(status, json.dumps(found).encode())
            except ApiError as error:
                after = getattr(error, "retry_after", None)
                self._send(error.code, json.dumps(error.body()).encode(), after=after)
            except ConnectionError:
                self.close_connection = True
                self.connection.close()

        def _send(
            self,
            status: int,
            content: bytes,
            kind: str = "application/json",
            after: int | None = None,
        ) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            if after is not None:
                self.send_header("retry-after", str(after))
            self.end_headers()
            self.wfile.write(content)

        def _stream(self, events: Iterator[Any]) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for event in events:
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    double.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        double.url = ""
        server.shutdown()
        server.server_close()
        thread.join()
