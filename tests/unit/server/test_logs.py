"""What a server says when it starts."""

from __future__ import annotations

import logging

import pytest

from kfp_suite.server.logs import leave_out_probes, say_served


def test_each_model_and_graph_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    say_served({"birds": "3", "wings": "1"}, "127.0.0.1", 8080, 8081, graphs=["zoo"])
    assert capsys.readouterr().out.splitlines() == [
        "birds version 3: http://127.0.0.1:8080/v1/models/birds:predict, gRPC at 127.0.0.1:8081",
        "wings version 1: http://127.0.0.1:8080/v1/models/wings:predict, gRPC at 127.0.0.1:8081",
        "graph zoo: http://127.0.0.1:8080/graphs/zoo",
    ]


def test_a_server_without_a_model_says_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    say_served({}, "::", 8080)
    assert capsys.readouterr().out == "no model yet: http://[::]:8080\n"


@pytest.mark.parametrize(
    ("path", "is_logged"),
    [
        ("/v2/health/live", False),
        ("/v2/health/ready?verbose=1", False),
        ("/v2/models/wings/ready", False),
        ("/metrics", False),
        ("/v1/models/wings:predict", True),
        ("/v2/models/wings", True),
        ("/v2/models/metrics/infer", True),
    ],
)
def test_probes_and_scrapes_are_left_out(path: str, is_logged: bool) -> None:
    leave_out_probes()
    access = logging.getLogger("uvicorn.access")
    line = '%s - "%s %s HTTP/%s" %d'
    arguments = ("127.0.0.1:1", "GET", path, "1.1", 200)
    record = access.makeRecord(access.name, logging.INFO, "", 0, line, arguments, None)
    assert bool(access.filter(record)) is is_logged
