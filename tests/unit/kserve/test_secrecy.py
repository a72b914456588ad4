"""No secret gets into a manifest, whatever it is called and wherever it is put."""

from __future__ import annotations

from typing import Any

import pytest

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.kserve.manifests import inference_service
from kfp_suite.kserve.secrecy import check_no_secrets, is_secret
from kfp_suite.kserve.settings import parse_settings
from tests.unit.kserve.test_manifests import SERVED

HIDDEN = "hunter2-hunter2"


def overlaid(**container: Any) -> dict[str, Any]:
    return {"overlay": {"spec": {"predictor": {"model": container}}}}


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"env": {"DATABASE_URL": f"postgres://u:{HIDDEN}@h/d"}}, "settings.env.DATABASE_URL"),
        ({"env": {"DB_PASS": HIDDEN}}, "settings.env.DB_PASS"),
        ({"env": {"AUTH": HIDDEN}}, "settings.env.AUTH"),
        ({"env": {"DB_PASSWORD": HIDDEN}}, "settings.env.DB_PASSWORD"),
        ({"env": {"hfToken": HIDDEN}}, "settings.env.hfToken"),
        ({"env": {"AWS_SECRET_ACCESS_KEY": HIDDEN}}, "settings.env.AWS_SECRET_ACCESS_KEY"),
        ({"env": {"OPTIONS": f"-x password={HIDDEN}"}}, "settings.env.OPTIONS"),
        ({"logger": {"url": f"http://user:{HIDDEN}@logs"}}, "settings.logger.url"),
        ({"annotations": {"api-token": HIDDEN}}, "settings.annotations.api-token"),
        (
            {"annotations": {"example.com/apiKey": HIDDEN}},
            "settings.annotations.example.com/apiKey",
        ),
        ({"labels": {"passwd": HIDDEN}}, "settings.labels.passwd"),
        (
            overlaid(env=[{"name": "DB_PASS", "value": HIDDEN}]),
            "settings.overlay.spec.predictor.model.env[0].DB_PASS",
        ),
        (
            overlaid(args=[f"--api-key={HIDDEN}"]),
            "settings.overlay.spec.predictor.model.args[0] --api-key",
        ),
        (
            overlaid(args=["--quiet", "--db-password", HIDDEN]),
            "settings.overlay.spec.predictor.model.args[1] --db-password",
        ),
        (
            {"overlay": {"metadata": {"annotations": {"auth": HIDDEN}}}},
            "settings.overlay.metadata.annotations.auth",
        ),
    ],
)
def test_a_secret_is_named_and_never_shown(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_settings(settings)
    assert str(caught.value).startswith(f"{field}: looks like a secret; expected a reference")
    assert "valueFrom.secretKeyRef" in str(caught.value)
    assert HIDDEN not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "a1B2" * 9,
        "glpat-" + "a1B2" * 5,
        "xoxb-123456789012-" + "a1B2" * 6,
        "hf_" + "aBcD" * 8,
        "AIza" + "aB-_3" * 7,
        "ASIA" + "A1B2" * 4,
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=YWJj;EndpointSuffix=x",
        "Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=YWJj",
        "Basic dXNlcjpwYXNz",
    ],
)
def test_well_known_shapes_are_secrets_whatever_they_are_called(value: str) -> None:
    assert is_secret("NOTE", value)
    assert is_secret("PAD_TOKEN", value)


def test_a_manifest_is_looked_at_whole() -> None:
    manifest = inference_service(SERVED, namespace="models")
    header = {"name": "Authorization", "value": f"Basic {HIDDEN}"}
    manifest["spec"]["predictor"]["model"]["livenessProbe"] = {"httpGet": {"httpHeaders": [header]}}
    with pytest.raises(ParameterError, match=r"httpHeaders\[0\].Authorization: looks like"):
        check_no_secrets(manifest, "InferenceService")


@pytest.mark.parametrize(
    "settings",
    [
        {"env": {"DB_PASS": {"secret": "db", "key": "password"}}},
        {"env": {"GOOGLE_APPLICATION_CREDENTIALS": "/secrets/key.json"}},
        {"env": {"PASSWORD_FILE": "/run/secrets/pw", "SECRET_NAME": "db"}},
        {"env": {"TOKENIZERS_PARALLELISM": "false", "MAX_TOKENS": "512", "ENABLE_AUTH": "true"}},
        {"env": {"BYPASS": "1", "COMPASS": "north", "PARTITION_KEY": "day", "AUTHOR": "me"}},
        {"env": {"DATABASE_URL": "postgres://db:5432/flights", "DB_PASSWORD": ""}},
        {"env": {"PAD_TOKEN": "<pad>", "EOS_TOKEN": "</s>", "SPECIAL_TOKEN": "<|endoftext|>"}},
        {"env": {"MASK_TOKEN": "[MASK]", "UNK_TOKEN": "unknown", "STOP_TOKEN": "50256"}},
        {"env": {"OPTIONS": "token=<pad> Basic research, Basic authentication"}},
        {"env": {"DATABASE_URL": "postgres://u:$(DB_PASS)@h/d", "HF_TOKEN": "$(TOKEN_OF_HF)"}},
        {"logger": {"url": "http://logs.example.com:8080/x"}},
        {"annotations": {"serving.kserve.io/enable-auth": "true", "team": "birds"}},
        {"annotations": {"vault.hashicorp.com/agent-inject-secret-db": "secret/data/db"}},
        overlaid(
            env=[{"name": "DB_PASS", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]
        ),
        overlaid(args=["--tokenizer=/mnt/models/t", "--max-tokens", "12", "--auth", "--quiet"]),
    ],
)
def test_what_is_no_secret_or_refers_to_one_is_taken(settings: dict[str, Any]) -> None:
    parsed = parse_settings(settings)
    assert inference_service(SERVED, namespace="models", settings=parsed)["spec"]["predictor"]
