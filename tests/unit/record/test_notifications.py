"""People are told how a run ended, by real servers on loopback; nothing here fails a run."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from email import message_from_bytes
from email.message import Message as Letter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from kfp_suite.components.record.executor import RecordParameters, record
from kfp_suite.components.record.notifications import notify
from kfp_suite.contracts.run_record import RunRecord
from kfp_suite.runtimes.local import free_port

PUBLISHED = RunRecord(
    run="p-1",
    run_id="17",
    pipeline="train_and_deploy",
    status="SUCCEEDED",
    version={"model": "flights", "version": 3},
    endpoint={"url": "http://flights.example.com"},
)
REFUSED = replace(
    PUBLISHED,
    version=None,
    endpoint=None,
    evaluation={"blessed": False, "reasons": ["roc_auc 0.6 is below 0.7", "<b> & co"]},
)
FAILED = replace(PUBLISHED, status="FAILED", errors=({"message": "deploy: not ready"},))


class Hook:
    """A server that keeps what it is sent and answers what it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], Any]] = []
        self.answers: list[int] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append((self.path, dict(self.headers), json.loads(body)))
                self.send_response(hook.answers.pop(0) if hook.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/secret-path"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


def test_slack_is_told_what_was_published(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK", hook.url)
    asked = {"slack": [{"url_env": "SLACK"}], "ui": "https://kubeflow.example.com/"}
    (told,) = notify(asked, PUBLISHED)
    assert told.sent
    assert hook.got[0][2] == {
        "text": "*train_and_deploy succeeded: flights version 3*\n"
        "endpoint: http://flights.example.com\n"
        "run: p-1\n"
        "<https://kubeflow.example.com/#/runs/details/17|p-1>"
    }


def test_slack_is_told_why_with_its_own_characters_escaped(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK", hook.url)
    notify({"slack": [{"url_env": "SLACK"}]}, REFUSED)
    text = hook.got[0][2]["text"]
    assert text.startswith("*train_and_deploy refused*\n- roc_auc 0.6 is below 0.7\n")
    assert "- &lt;b&gt; &amp; co" in text


def test_a_webhook_is_given_the_run_as_json(hook: Hook) -> None:
    (told,) = notify({"webhooks": [{"url": hook.url}]}, FAILED)
    assert told.sent
    said = hook.got[0][2]
    assert (said["outcome"], said["status"], said["version"]) == ("failed", "FAILED", 3)
    assert said["reasons"] == ["deploy: not ready"]


@pytest.mark.parametrize("trouble", [[503], [429, 500]])
def test_what_is_transient_is_tried_again(hook: Hook, trouble: list[int]) -> None:
    hook.answers = list(trouble)
    (told,) = notify({"webhooks": [{"url": hook.url}]}, PUBLISHED, pause=0.01)
    assert told.sent
    assert len(hook.got) == len(trouble) + 1


@pytest.mark.parametrize(("answers", "tries"), [([404] * 9, 1), ([503] * 9, 3), ([302] * 9, 1)])
def test_a_refusal_is_told_without_the_address(
    hook: Hook,
    answers: list[int],
    tries: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hook.answers = answers
    monkeypatch.setenv("HOOK", hook.url)
    (told,) = notify({"webhooks": [{"url_env": "HOOK"}]}, PUBLISHED, pause=0.01)
    assert len(hook.got) == tries
    assert not told.sent
    assert told.why == f"127.0.0.1: did not take it; got {answers[0]}; expected 2xx"
    assert "secret-path" not in caplog.text + told.why


def test_nobody_there(hook: Hook) -> None:
    hook.server.shutdown()
    hook.server.server_close()
    (told,) = notify({"webhooks": [{"url": hook.url}]}, PUBLISHED, pause=0.01)
    assert told.why.startswith("127.0.0.1: did not answer; got ")


def test_one_channel_that_fails_keeps_no_other(hook: Hook) -> None:
    asked = {"slack": [{"url_env": "NO_SUCH"}], "webhooks": [{"url": hook.url}]}
    slack, webhook = notify(asked, PUBLISHED)
    assert not slack.sent and "no environment variable 'NO_SUCH'" in slack.why
    assert webhook.sent


def test_a_token_goes_nowhere_in_the_clear(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", hook.url)
    monkeypatch.setenv("TOKEN", "s3cret")
    (told,) = notify({"webhooks": [{"url_env": "HOOK", "token_env": "TOKEN"}]}, PUBLISHED)
    assert "a token needs TLS" in told.why
    assert not hook.got


def test_only_the_outcomes_asked_for(hook: Hook) -> None:
    asked = {"webhooks": [{"url": hook.url}], "outcomes": ["failed", "refused"]}
    assert notify(asked, PUBLISHED) == []
    assert [told.sent for run in (FAILED, REFUSED) for told in notify(asked, run)] == [True, True]


def test_nothing_new_is_told_only_where_it_is_asked_for(hook: Hook) -> None:
    idle = replace(
        PUBLISHED, version=None, endpoint=None, changes={"changed": False, "reasons": ["no rows"]}
    )
    asked = {"webhooks": [{"url": hook.url}]}
    assert notify(asked, idle) == []
    assert [told.sent for told in notify({**asked, "outcomes": ["unchanged"]}, idle)] == [True]
    assert hook.got[0][2]["title"] == "train_and_deploy unchanged"


def test_every_version_of_a_backfill_is_named(hook: Hook) -> None:
    versions = tuple({"model": "flights", "version": number} for number in (3, 4, 5))
    notify({"webhooks": [{"url": hook.url}]}, replace(PUBLISHED, versions=versions))
    assert hook.got[0][2]["title"] == "train_and_deploy succeeded: flights versions 3, 4, 5"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"slak": []}, "unknown key 'slak'; did you mean 'slack'?"),
        ({"webhooks": [{}]}, "either url or url_env"),
        ({"webhooks": [{"url": "file:///etc/passwd"}]}, "not an address"),
        ({"outcomes": ["won"]}, "outcomes"),
        ({"ui": "javascript:alert(1)"}, "not an address"),
        ({"emails": [{"to": ["a b"], "sender": "x@y.z", "server": "s"}]}, "not an address"),
        ({"emails": [{"to": [], "sender": "x@y.z", "server": "s"}]}, "nobody to write to"),
    ],
)
def test_what_cannot_be_read_is_told_and_fails_nothing(asked: dict[str, Any], why: str) -> None:
    (told,) = notify(asked, PUBLISHED)
    assert not told.sent
    assert why in told.why


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=smtp"]
    subprocess.run(
        [
            *("openssl", "req", *options, "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(folder / "key"), "-out", str(folder / "crt")),
        ],
        check=True,
        capture_output=True,
    )
    return folder


class Post:
    """A mail server that keeps the letters."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.password = b"s3cret"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        self.letters.append(message_from_bytes(envelope.content))
        return "250 OK"

    def authenticate(self, server: Any, session: Any, envelope: Any, how: Any, data: Any) -> Any:
        self.logins.append((data.login, data.password))
        # Not handled: the server itself says 535.
        return AuthResult(success=data.password == self.password, handled=False)


@pytest.fixture
def post(certificate: Path) -> Iterator[Callable[..., tuple[Post, int]]]:
    running: list[Controller] = []

    def start(*, tls: bool) -> tuple[Post, int]:
        post, context = Post(), None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate / "crt", certificate / "key")
        controller = Controller(
            post,
            hostname="127.0.0.1",
            port=free_port(),  # a Controller cannot ask which it was given
            tls_context=context,
            require_starttls=tls,
            authenticator=post.authenticate,
            auth_required=tls,
        )
        controller.start()
        running.append(controller)
        return post, controller.port

    yield start
    for controller in running:
        controller.stop()


def email(port: int, **more: Any) -> dict[str, Any]:
    return {
        "to": ["team@example.com", "lead@example.com"],
        "sender": "kfp@example.com",
        "server": "127.0.0.1",
        "port": port,
        **more,
    }


def test_a_letter_over_tls_with_a_password(
    post: Callable[..., tuple[Post, int]], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, port = post(tls=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "crt"))
    monkeypatch.setenv("PASSWORD", "s3cret")
    (told,) = notify({"emails": [email(port, user="kfp", password_env="PASSWORD")]}, PUBLISHED)
    assert told.sent, told.why
    assert server.logins == [(b"kfp", b"s3cret")]
    (letter,) = server.letters
    assert letter["Subject"] == "train_and_deploy succeeded: flights version 3"
    assert letter["To"] == "team@example.com, lead@example.com"
    assert "endpoint: http://flights.example.com" in letter.get_payload()


def test_a_wrong_password_is_not_in_the_log(
    post: Callable[..., tuple[Post, int]],
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, port = post(tls=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "crt"))
    monkeypatch.setenv("PASSWORD", "wr0ng")
    (told,) = notify({"emails": [email(port, user="kfp", password_env="PASSWORD")]}, PUBLISHED)
    assert told.why == "127.0.0.1: refused the password; got 535"
    assert "wr0ng" not in caplog.text
    assert not server.letters


def test_a_server_that_nobody_vouches_for_gets_no_letter(
    post: Callable[..., tuple[Post, int]],
) -> None:
    server, port = post(tls=True)
    (told,) = notify({"emails": [email(port)]}, PUBLISHED)
    assert "certificate verify failed" in told.why
    assert not server.letters


def test_a_relay_without_tls_only_where_it_is_asked_for(
    post: Callable[..., tuple[Post, int]],
) -> None:
    server, port = post(tls=False)
    (told,) = notify({"emails": [email(port)]}, PUBLISHED)
    assert not told.sent
    (told,) = notify({"emails": [email(port, security="none")]}, REFUSED)
    assert told.sent, told.why
    assert "- roc_auc 0.6 is below 0.7" in server.letters[0].get_payload()


def test_a_record_is_there_whatever_becomes_of_the_notices(tmp_path: Path) -> None:
    output = tmp_path / "p-1" / "record" / "run_record"
    asked = {"slack": [{"url_env": "NO_SUCH"}]}
    parameters = RecordParameters("p-1", "17", "p", "SUCCEEDED", notify=asked)
    joined = record(parameters, str(output), output)
    assert joined.status == "SUCCEEDED"
    assert (output / "run_record.json").is_file()
    (told,) = json.loads((output / "notices.json").read_text())
    assert told["sent"] is False
