"""Checks for errors of a run on a cluster that can be found before it is submitted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from kfp_suite.image_builder.families import family_of
from kfp_suite.kubeflow.local_files import FILES
from kfp_suite.kubeflow.package import Package
from kfp_suite.local.findings import Finding
from kfp_suite.local.staging import is_local
from kfp_suite.stores.databases import is_database
from kfp_suite.stores.sources import REMOTE

AREA = "run"
_URLS = ("prometheus", "quality_url", "ingress")
_KFP_BUCKET = "mlpipeline"
_KFP_HOSTS = ("seaweedfs", "minio-service")
"""KFP's own store: the bucket that it is installed with, and its Services."""
_SERVER = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
}
_RESOURCES = (
    "give the steps the Secret of the store by --resources FILE, where for KFP's own it is "
    "`defaults: {secrets: [{name: mlpipeline-minio-artifact, env: {accesskey: AWS_ACCESS_KEY_ID, "
    "secretkey: AWS_SECRET_ACCESS_KEY}}]}`"
)


def check_run(
    package: Package, arguments: Mapping[str, Any], pipeline_root: str
) -> Iterator[Finding]:
    """The findings of a run that need no cluster.

    Args:
        package: The pipeline.
        arguments: As they are sent.
        pipeline_root: Where artifacts go; empty: the installation's.
    """
    if not package.has_our_steps:
        return
    variables = _variables(package)
    yield from _check_reach(arguments, variables)
    yield from _check_root(pipeline_root, variables)
    yield from _check_credentials(arguments, variables)
    yield from _check_target(package, arguments)


def _check_reach(
    arguments: Mapping[str, Any], variables: Mapping[str, Mapping[str, str]]
) -> Iterator[Finding]:
    """Addresses at which a pod finds nothing."""
    for name, uri in _addresses(arguments):
        if not uri.startswith(REMOTE) and not is_database(uri) and not is_local(uri):
            yield Finding(
                AREA,
                name,
                "error",
                f"no step reads {uri}",
                "give a bucket or a database: gs://…, s3://…, minio://…, postgresql://…",
            )
    servers = {f"AWS_ENDPOINT_URL of {label}": _server(one) for label, one in variables.items()}
    urls = {name: arguments[name] for name in _URLS if isinstance(arguments.get(name), str)}
    databases = {name: uri for name, uri in _addresses(arguments) if is_database(uri)}
    for name, url in {**databases, **urls, **servers}.items():
        try:
            host = urlsplit(url).hostname or ""
        except ValueError as error:  # such as an open bracket
            yield Finding(
                AREA, name, "error", f"not an address: {error}", "write http(s)://host[:port]"
            )
            continue
        if host == "localhost" or host.startswith("127.") or host == "::1":
            yield Finding(
                AREA,
                name,
                "error",
                f"{host} is this machine, and in a pod the pod itself",
                "give the address that the cluster knows it by",
            )
            if name in servers:
                return


def _check_root(root: str, variables: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    scheme, separator, rest = root.partition("://")
    if not root:
        return
    if not separator or scheme not in ("gs", "s3", "minio"):
        yield Finding(
            AREA,
            "pipeline root",
            "error",
            f"{root} is no bucket",
            "give --pipeline-root gs://…, s3://… of Amazon's S3, or minio://… of KFP's own store",
        )
        return
    if scheme != "s3" or "?" in rest:  # a query names the server to KFP's launcher
        return
    bucket = rest.partition("/")[0]
    servers = {found for one in variables.values() if (found := _server(one))}
    own = bucket == _KFP_BUCKET or any(map(_is_kfps, servers))
    if own:
        yield Finding(
            AREA,
            "pipeline root",
            "error",
            f"{root} is in KFP's own store, and KFP asks Amazon for s3://: each task would fail "
            "after its work",
            f"give --pipeline-root minio://{rest}",
        )
    elif servers:
        yield Finding(
            AREA,
            "pipeline root",
            "warning",
            f"KFP's launcher asks Amazon for {root}, whatever AWS_ENDPOINT_URL the steps have",
            "name the server in the ConfigMap kfp-launcher of the runs' namespace (providers: s3)",
        )


def _check_credentials(
    arguments: Mapping[str, Any], variables: Mapping[str, Mapping[str, str]]
) -> Iterator[Finding]:
    """A server that is not Amazon's knows no identity of a pod: it needs keys."""
    if any(_CREDENTIALS & one.keys() for one in variables.values()):
        return
    has_server = any(map(_server, variables.values()))
    asked_here = _server(os.environ)
    for name, uri in _addresses(arguments):
        scheme = uri.partition("://")[0]
        if scheme == "minio" or (scheme == "s3" and has_server):
            yield Finding(AREA, name, "error", f"no step has credentials to read {uri}", _RESOURCES)
            return
        if scheme == "s3" and asked_here:
            yield Finding(
                AREA,
                name,
                "warning",
                f"AWS_ENDPOINT_URL is set here, and for no step: these ask Amazon for {uri}",
                "give it to the steps, too: --resources FILE, defaults: env",
            )
            return


def _check_target(package: Package, arguments: Mapping[str, Any]) -> Iterator[Finding]:
    if arguments.get("target") != "local":
        return
    if "manifest" in package.parameters:
        yield Finding(
            AREA,
            "target",
            "error",
            "no cluster has the manifest that a gateway on this machine follows",
            "roll out there with target=cluster, or here with kfp-suite run",
        )
    else:
        yield Finding(
            AREA,
            "target",
            "warning",
            "local, on a cluster: nothing will be served; a version that is published is the "
            "champion by its verdicts",
            "leave target out to deploy it",
        )


def _addresses(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The addresses that steps read, by parameter."""
    for name in ("store", *FILES):
        if isinstance(arguments.get(name), str):
            yield name, arguments[name]
    sources = arguments.get("sources")
    for name, source in sources.items() if isinstance(sources, Mapping) else ():
        uri = source.get("uri") if isinstance(source, Mapping) else source
        if isinstance(uri, str):
            yield f"sources.{name}", uri


def _variables(package: Package) -> dict[str, dict[str, str]]:
    """The environment of each executor of the suite; what is of a Secret, by an empty value."""
    platform = package.platform.get("platforms", {}).get("kubernetes", {})
    of_pods = platform.get("deploymentSpec", {}).get("executors", {})
    found: dict[str, dict[str, str]] = {}
    for label, executor in package.spec["deploymentSpec"]["executors"].items():
        container = executor.get("container", {})
        if not family_of(container.get("image", "")):
            continue
        pod = of_pods.get(label, {})
        given = {one["name"]: one.get("value", "") for one in container.get("env", ())}
        for kind in ("secretAsEnv", "configMapAsEnv"):
            for used in pod.get(kind, ()):
                given |= {one["envVar"]: "" for one in used.get("keyToEnv", ())}
        if pod.get("secretAsVolume"):  # a credentials file where boto3 looks by itself
            given.setdefault("AWS_SHARED_CREDENTIALS_FILE", "")
        found[label] = given
    return found


def _server(variables: Mapping[str, str]) -> str:
    return next((variables[name] for name in _SERVER if variables.get(name)), "")


def _is_kfps(server: str) -> bool:
    return (urlsplit(server).hostname or "").partition(".")[0] in _KFP_HOSTS
