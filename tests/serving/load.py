"""Constant load on an endpoint, and what became of every request."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx


class Load:
    """`clients` that ask one after the other, as fast as `pause` lets them, until the block
    ends."""

    def __init__(
        self, url: str, request: Mapping[str, Any], clients: int = 4, pause: float = 0.002
    ) -> None:
        self._url, self._body, self._pause = url, json.dumps(request).encode(), pause
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        self.failed: list[str] = []
        self.versions: Counter[str] = Counter()

    def _ask(self) -> None:
        with httpx.Client(headers={"content-type": "application/json"}, timeout=30) as client:
            while not self._ended.is_set():
                try:
                    answer = client.post(self._url, content=self._body)
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.versions[answer.headers["x-model-version"]] += 1
                else:
                    self.failed.append(f"{answer.status_code} {answer.text}")
                time.sleep(self._pause)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
