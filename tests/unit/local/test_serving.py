"""An endpoint on this machine, where something else has its port."""

from __future__ import annotations

import socket

import pytest

from kfp_suite.contracts.errors import EndpointError
from kfp_suite.local.serving import local_endpoint


def test_a_port_that_is_taken_is_not_asked_as_if_it_were_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(EndpointError, match=f"port {port} cannot be used"),
            local_endpoint("plans.yaml", "plans", port),
        ):
            pytest.fail("started")
