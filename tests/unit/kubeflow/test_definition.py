"""The double holds every request and answer to KFP's own API definition, where that is there."""

from __future__ import annotations

import kfp_server_api
import pytest

from kfp_suite.pipelines.kubeflow.connection import Backend, Connection
from kfp_suite.testing.kfp_backend.backend import KfpDouble, running
from tests.unit.kubeflow.conftest import DEFINITION

pytestmark = pytest.mark.skipif(
    not DEFINITION.exists(),
    reason="KFP's API definition is not beside this checkout: these tests of Kubeflow ran "
    "against the double alone, which checked no request and no answer",
)


def test_a_request_that_the_definition_does_not_have_is_refused() -> None:
    with running(KfpDouble(DEFINITION)) as double:
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
    with running(KfpDouble(DEFINITION)) as double:
        client = Backend(Connection(host=double.url)).client
        made = client.create_experiment("late", namespace="")
        assert double.wrong == []
        double.state.experiments[made.experiment_id]["colour"] = "red"
        client.get_experiment(made.experiment_id)
        assert len(double.wrong) == 1
        assert "colour" in double.wrong[0]
