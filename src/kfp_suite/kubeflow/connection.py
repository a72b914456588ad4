"""The way to a Kubeflow: kfp's own client, with time limits, retries and clear errors."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import kfp
import urllib3
from kfp.client import ServiceAccountTokenVolumeCredentials
from kubernetes import config as kubernetes_config

from kfp_suite.contracts.errors import (
    MissingError,
    ParameterError,
    StoreError,
    TransientError,
    store_error,
)
from kfp_suite.kubeflow.faults import FAULTS, fault, retry_after, sign_in

ENDPOINT = "KF_PIPELINES_ENDPOINT"
"""The environment variable that kfp's client reads, too."""
OLDEST = (2, 14)
"""The oldest Kubeflow Pipelines that these pipelines are for: before it, an exit handler cannot
ask how the run ended (the backend refuses `PipelineTaskFinalStatus`), and none is without."""
_RELEASE = re.compile(r"v?(\d+)\.(\d+)")
INSTALLED_IN = "kubeflow"
# Behind a kubeconfig, kfp's client goes through the Kubernetes API to a Service.
_PROXIED_API, _PROXIED_UI = "/services/ml-pipeline:http/", "/services/ml-pipeline-ui:http/"
_SECONDS_A_CALL = (10, 60)
"""To connect, and to answer."""
_SECONDS_OF_HEALTH = (10, 10)
_TRIES = 5
_FIRST_PAUSE = 0.5
T = TypeVar("T")


@dataclass(frozen=True)
class Connection:
    """The address of Kubeflow Pipelines, and the credentials for it.

    Attributes:
        host: `http(s)://host[:port][/pipeline]`; empty: KF_PIPELINES_ENDPOINT, else the API in
            this cluster, else the one behind the kubeconfig.
        namespace: The profile's, on a Kubeflow of several users; empty if there is one.
        token_file: A bearer token, read anew for each call; empty: as kfp's client finds one
            (a pod's own, or IAP by KF_PIPELINES_IAP_OAUTH2_CLIENT_ID).
        cookie_file: A browser's session: `authservice_session=…`.
        ca_file: Certificates of a private authority.
        kube_context: Of the kubeconfig.
    """

    host: str = ""
    namespace: str = ""
    token_file: str = ""
    cookie_file: str = ""
    ca_file: str = ""
    kube_context: str = ""

    @property
    def address(self) -> str:
        """The given address; empty: it is found through the cluster."""
        return self.host or os.environ.get(ENDPOINT, "")


@dataclass(frozen=True)
class Health:
    """A Kubeflow's answer about itself; `version` is empty if it has none."""

    multi_user: bool
    version: str

    @property
    def skew(self) -> str:
        """A warning about its version; empty if it is recent enough, or unknown."""
        found = _RELEASE.match(self.version)
        if found is None or (int(found[1]), int(found[2])) >= OLDEST:
            return ""
        oldest = ".".join(map(str, OLDEST))
        return (
            f"Kubeflow Pipelines {self.version} is older than {oldest}: it does not run what "
            f"kfp {kfp.__version__} compiles of the suite; upgrade it"
        )


class Backend:
    """Kubeflow Pipelines' API.

    Args:
        connection: Address and credentials.
        sleep: Waits between tries.

    Raises:
        MissingError: a file of the connection is not there.
        ParameterError: no host is given, and none can be found.
        StoreError: it refuses.
        TransientError: it cannot be reached.
    """

    def __init__(self, connection: Connection, sleep: Callable[[float], None] = time.sleep) -> None:
        self.connection, self.sleep = connection, sleep
        self._named = connection.address or _found(connection)
        self._health: Health | None = None
        self.client: Any = None
        self.client = self.call("healthz", lambda: _client(connection))

    @property
    def host(self) -> str:
        """The address of the API, as it was given or found."""
        return self._named

    @property
    def namespace(self) -> str | None:
        """The namespace of runs, None if there is only one user.

        Raises:
            ParameterError: there are several, and none is given.
        """
        found = self.client.get_user_namespace() or None
        if found is None and (self._health or self.health()).multi_user:
            raise ParameterError(
                "this Kubeflow has several users",
                where=self.host,
                expected="the namespace of your profile",
                fix="give -n NAMESPACE",
            )
        return found

    def health(self) -> Health:
        """Its version and address. Raises as `call`."""
        # The raw answer: the client drops fields that the API's definition lacks.
        text = self.call("healthz", self._healthz)
        try:
            told = json.loads(text)
            if told.get("apiServerReady") is False:
                raise TransientError(
                    "the UI answers, and Kubeflow Pipelines' API behind it does not",
                    where=self.host,
                    fix="kubectl get pods -n kubeflow -l app=ml-pipeline says why",
                )
            # The UI's server has its own names for the API's fields.
            version = str(told.get("tag_name") or told.get("apiServerTagName") or "")
            self._health = Health(bool(told["multi_user"]), version.replace("unknown", ""))
        except (ValueError, KeyError, AttributeError) as error:
            raise self._not_kfp() from error
        return self._health

    def _healthz(self) -> str:
        self.client.get_kfp_healthz()
        return str(self.client._run_api.api_client.last_response.data)

    @property
    def ui(self) -> str:
        """The address of the UI, empty if only the API's inside of the cluster is known."""
        prefix: str = self.client._get_url_prefix()
        return prefix if prefix.startswith("http") else ""

    def link(self, path: str) -> str:
        """An address in the UI: `path` is what follows `#/`."""
        return f"{self.client._get_url_prefix()}/#/{path}"

    def read(self, path: str, of_ui: bool = False, **query: str) -> bytes:
        """The body at a path of the API's server or of the UI's, in one request.

        Args:
            path: As `/apis/v1beta1/…`.
            of_ui: Whether it is the UI's. Its address is the API's, but behind a kubeconfig.
            query: After the path.

        Raises:
            KfpSuiteError: see `faults`.
        """
        api = self.client._run_api.api_client
        host = api.configuration.host
        if of_ui:
            host = host.replace(_PROXIED_API, _PROXIED_UI)
        headers = dict(api.default_headers)
        if api.cookie:
            headers["Cookie"] = api.cookie
        asked = list(query.items())
        api.update_params_for_auth(headers, asked, ["Bearer"])
        try:
            with _quiet():
                answer = api.rest_client.GET(f"{host}{path}", headers=headers, query_params=asked)
        except FAULTS as error:
            raise fault(error, path, self.host) from error
        if answer.getheader("content-type", "").startswith("text/html"):
            raise sign_in(self.host)
        return bytes(answer.data)

    def call(self, what: str, ask: Callable[[], T]) -> T:
        """Send an idempotent request, and retry it after transient errors.

        Args:
            what: The subject, for messages.
            ask: Sends the request by the client.

        Raises:
            KfpSuiteError: see `faults`.
        """
        return self._tried(what, ask, lambda: None)

    def create(self, what: str, send: Callable[[], T], find: Callable[[], T | None]) -> T:
        """Create an object once, even if the answer to the first request is lost.

        Args:
            what: The subject, for messages.
            send: Creates it.
            find: Finds it, if it exists.
        """
        return self._tried(what, send, find)

    def pages(self, what: str, ask: Callable[[str], Any], of: str) -> Iterator[Any]:
        """All entries of a listing.

        Args:
            what: The subject, for messages.
            ask: Requests a page by its token; empty for the first.
            of: The attribute of a page that holds its entries.
        """
        token = ""
        while True:
            page = self.call(what, lambda token=token: ask(token))  # type: ignore[misc]
            yield from getattr(page, of) or ()
            token = page.next_page_token or ""
            if not token:
                return

    def _tried(self, what: str, ask: Callable[[], T], find: Callable[[], T | None]) -> T:
        pause = _FIRST_PAUSE
        for tried in range(1, _TRIES + 1):
            try:
                with _quiet():
                    found = ask()
                self._check_answer()
                return found
            except FAULTS as error:
                met = fault(error, what, self.host)
                if not isinstance(met, TransientError) or tried == _TRIES:
                    raise self._clearer(met) from error
                self.sleep(retry_after(error) or pause)
                pause *= 2
                there = find() if self.client is not None else None
                if there is not None:
                    return there
        raise AssertionError("a loop that returns or raises")

    def _check_answer(self) -> None:
        """Raise an error if the answer is a web page, with any status."""
        if self.client is None:
            return
        answer = self.client._run_api.api_client.last_response
        kind = answer.urllib3_response.headers.get("content-type", "") if answer else ""
        if kind.startswith("text/html"):
            raise sign_in(self.host)

    def _clearer(self, met: Any) -> Any:
        """The error of a server without the health endpoint, which may not be Kubeflow's."""
        if isinstance(met, MissingError) and (met.where or "").startswith("healthz"):
            return self._not_kfp()
        return met

    def _not_kfp(self) -> StoreError:
        return StoreError(
            "no Kubeflow Pipelines 2 there",
            where=self.host,
            got="no /apis/v2beta1/healthz",
            expected="the API of Kubeflow Pipelines 2.14 or later",
            fix="check --host: often https://…/pipeline; a backend of version 1 cannot run these "
            "pipelines",
        )


class _Client(kfp.Client):  # type: ignore[misc]
    """kfp's client, without its own retries, and without files in the home folder."""

    def _load_config(self, *args: Any) -> Any:
        """The way through a kubeconfig's cluster, kept: renewing a token there forgets it.

        And without a slash at its end, where a second one would follow: of a POST, the redirect
        makes a GET. What is tried again is ours to say.
        """
        config = super()._load_config(*args)
        config.retries = urllib3.Retry(
            connect=0, read=0, status=0, redirect=5, respect_retry_after_header=False
        )
        host, renew = config.host.rstrip("/"), config.refresh_api_key_hook

        def renewed(config: Any) -> None:
            renew(config)
            config.host, config.refresh_api_key_hook = host, renewed

        config.host, config.refresh_api_key_hook = host, renewed if renew else None
        return config

    def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
        """With a limit of its own: the constructor asks, too, before `_limit`."""
        return self._healthz_api.healthz_service_get_healthz(_request_timeout=_SECONDS_OF_HEALTH)

    def set_user_namespace(self, namespace: str) -> None:
        self._context_setting["namespace"] = namespace


def _client(connection: Connection) -> Any:
    given: dict[str, Any] = {}
    if connection.token_file:
        path = _existing(connection.token_file, "--token-file")
        given["credentials"] = ServiceAccountTokenVolumeCredentials(str(path))
    if connection.cookie_file:
        given["cookies"] = _existing(connection.cookie_file, "--cookie-file").read_text().strip()
    if connection.ca_file:
        given["ssl_ca_cert"] = str(_existing(connection.ca_file, "--ca-file"))
    if connection.kube_context:
        given["kube_context"] = connection.kube_context
    client = _Client(host=connection.address or None, **given)
    if connection.namespace:
        client.set_user_namespace(connection.namespace)
    _limit(client._run_api.api_client.rest_client)
    return client


def _limit(rest: Any) -> None:
    """kfp's client waits for ever for an answer."""
    unlimited = rest.request

    def request(*args: Any, _request_timeout: Any = None, **more: Any) -> Any:
        return unlimited(*args, _request_timeout=_request_timeout or _SECONDS_A_CALL, **more)

    rest.request = request


def _found(connection: Connection) -> str:
    """The place where kfp's client looks for a host, in words."""
    try:
        kubernetes_config.load_incluster_config()
        return f"ml-pipeline.{INSTALLED_IN}"
    except kubernetes_config.ConfigException:
        pass
    try:
        kubernetes_config.load_kube_config(context=connection.kube_context or None)
    except (kubernetes_config.ConfigException, OSError) as error:
        raise ParameterError(
            "no Kubeflow to talk to",
            where="--host",
            got=str(error),
            expected=f"--host, {ENDPOINT}, a pod of the cluster, or a kubeconfig",
        ) from error
    return f"the kubeconfig's cluster, namespace {INSTALLED_IN}"


def _existing(name: str, option: str) -> Path:
    path = Path(name).expanduser()
    try:
        path.read_bytes()
    except OSError as error:
        raise store_error(error, f"{option} {path}") from error
    return path


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the output of kfp's client; our commands print the links."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
