"""What a server says when it starts."""

from __future__ import annotations

import pytest

from kfp_suite.server.logs import say_served


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
