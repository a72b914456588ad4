"""The double holds every request and answer to KFP's own API definition, if that is present."""

from __future__ import annotations

import kfp_server_api
import pytest

from kfp_suite.kubeflow.connection import Backend, Connection
from kfp_suite.testing.kfp_backend.backend import KfpDouble, running
from tests.schemas import KFP_API, MISSING

pytestmark = pytest.mark.skipif(KFP_API is None, reason=MISSING)


def test_a_request_that_the_definition_does_not_have_is_refused() -> None:
    with running(KfpDouble(KFP_API)) as double:
        client = Backend(Connection(host=double.url)).client
        api = client._run_api.api_client
        for method, path, body in (
            ("POST", "/apis/v2beta1/experiments", {"display_name": "late", "colour": "red"}),
            ("POST", "/apis/v2beta1/experiments", {"display_name": 7}),
            ("GET", "/apis/v2beta1/experiments?colour=red", None),
            ("GET", "/apis/v2beta1/birds", None),
        ):
            with pytest.raises(kfp_server_api.ApiException) as refused:
                api.call_api(path, method, body=body)
            assert refused.value.status in (400, 404)
        assert double.state.experiments == {}


def test_an_answer_that_the_definition_does_not_have_is_noticed() -> None:
    with running(KfpDouble(KFP_API)) as double:
        client = Backend(Connection(host=double.url)).client
        made = client.create_experiment("late", namespace="")
        assert double.wrong == []
        double.state.experiments[made.experiment_id]["colour"] = "red"
        client.get_experiment(made.experiment_id)
        assert len(double.wrong) == 1
        assert "colour" in double.wrong[0]
