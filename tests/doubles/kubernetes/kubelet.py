"""The server of a pod, run by Docker as a kubelet runs it.

with running_pod(spec, models, docker.from_env()) as pod:
    pod.wait_until_ready(90)
    httpx.get(pod.address(8080) + "/v2")

What the pod's spec says is what the container gets: command, arguments, environment, ports,
probes, security context, volumes, limits, `preStop` and grace. What another component of the
cluster would put into the pod (KServe's agent, Knative's proxy) is not run; the model lies where
KServe's storage initializer leaves it.
"""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from kfp_suite.testing.kubernetes.kinds import Json

MODELS = "/mnt/models"
"""Where KServe's storage initializer leaves a model."""
_LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 0.2
# What Kubernetes takes if a probe, or a pod, does not say.
_TIMEOUT_SECONDS, _GRACE_SECONDS = 1, 30
_VARIABLE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


class KubeletError(Exception):
    """Why a kubelet does not start a container, or ends it: the reason that its status shows."""


class Pod:
    """A running server.

    Args:
        spec: The pod's.
        models: The folder of the model.
        docker: A client of the daemon.
        secrets: The values that environment variables refer to, by Secret and key.
        network: The Docker network that the pod is in; empty: Docker's own.

    Raises:
        KubeletError: the container cannot be created or started.
    """

    def __init__(
        self,
        spec: Json,
        models: Path,
        docker: Any,
        secrets: Mapping[tuple[str, str], str] = {},
        network: str = "",
    ) -> None:
        from docker.errors import APIError, ImageNotFound

        self._spec, self._server = spec, spec["containers"][0]
        try:
            image = docker.images.get(self._server["image"])
        except ImageNotFound as error:
            raise KubeletError(f"ErrImagePull: {self._server['image']}") from error
        self._check_user(image)
        variables = self._environment(secrets)
        try:
            self._container = docker.containers.create(
                image.id,
                entrypoint=self._expand("command", variables) or None,
                command=self._expand("args", variables),
                environment=variables,
                ports={
                    f"{number}/tcp": (_LOOPBACK, None)
                    for number in {8080, *self._ports(), *self._probed()}
                },
                volumes={str(models): {"bind": MODELS, "mode": "ro"}},
                detach=True,
                **({"network": network} if network else {}),
                **self._rights(),
                **self._limits(),
            )
        except APIError as error:
            raise KubeletError(f"CreateContainerError: {error.explanation}") from error
        try:
            self._container.start()
        except APIError as error:
            self._container.remove(force=True)
            raise KubeletError(f"StartError: {error.explanation}") from error

    def address(self, port: int) -> str:
        """The URL of a port, from outside.

        Args:
            port: Of the container.

        Returns:
            `http://`, the address and the port of this machine, without a path.
        """
        self._container.reload()
        published = self._container.ports[f"{port}/tcp"][0]["HostPort"]
        return f"http://{_LOOPBACK}:{published}"

    def wait_until_ready(self, seconds: float) -> None:
        """Wait as a Service does before it sends requests.

        Args:
            seconds: How long the startup probe and the readiness probe may take together.

        Raises:
            KubeletError: the container ended, or a probe did not succeed in time.
        """
        deadline = time.monotonic() + seconds
        for kind in ("startupProbe", "readinessProbe"):
            while not self.succeeds(kind):
                self._container.reload()
                if self._container.status != "running":
                    code = self._container.attrs["State"]["ExitCode"]
                    raise KubeletError(f"CrashLoopBackOff: exit code {code}: {self.log()[-2000:]}")
                if time.monotonic() > deadline:
                    raise KubeletError(f"Unhealthy: {kind} failed: {self.log()[-2000:]}")
                time.sleep(_POLL_SECONDS)

    def succeeds(self, kind: str) -> bool:
        """Whether a probe succeeds now.

        Args:
            kind: `startupProbe`, `readinessProbe` or `livenessProbe`. One that the pod does not
                have succeeds.
        """
        probe = self._server.get(kind)
        if not probe:
            return True
        asked = probe["httpGet"]
        url = f"{self.address(asked['port'])}{asked['path']}"
        try:
            seconds = probe.get("timeoutSeconds", _TIMEOUT_SECONDS)
            with urllib.request.urlopen(url, timeout=seconds) as answer:
                return bool(200 <= answer.status < 400)
        except (OSError, urllib.error.URLError):
            return False

    def stop(self) -> int:
        """End it as a kubelet does: `preStop`, SIGTERM, and SIGKILL after the grace.

        Returns:
            The exit code: 137 after a SIGKILL.

        Raises:
            KubeletError: `preStop` failed.
        """
        started = time.monotonic()
        grace = self._spec.get("terminationGracePeriodSeconds", _GRACE_SECONDS)
        before = self._server.get("lifecycle", {}).get("preStop", {}).get("exec")
        if before:
            code, said = self._container.exec_run(before["command"])
            if code:
                raise KubeletError(f"FailedPreStopHook: exit code {code}: {said.decode()}")
        left = max(1, round(grace - (time.monotonic() - started)))
        self._container.stop(timeout=left)
        return int(self._container.wait()["StatusCode"])

    def log(self) -> str:
        """Everything that it wrote."""
        return str(self._container.logs().decode(errors="replace"))

    def remove(self) -> None:
        """Leave nothing of it."""
        self._container.remove(force=True, v=True)

    def _check_user(self, image: Any) -> None:
        if not self._server.get("securityContext", {}).get("runAsNonRoot"):
            return
        user = str(image.attrs["Config"].get("User", "")).partition(":")[0]
        if not user.isdigit() or user == "0":
            raise KubeletError(
                f"CreateContainerConfigError: container has runAsNonRoot and the image's user "
                f"is {user or 'root'!r}"
            )

    def _expand(self, key: str, variables: Mapping[str, str]) -> list[str]:
        """Commands and arguments with the values of variables: `$(NAME)`, but not `$$(NAME)`."""

        def replace(found: re.Match[str]) -> str:
            return "$" if found[1] is None else variables.get(found[1], found[0])

        return [_VARIABLE.sub(replace, one) for one in self._server.get(key, ())]

    def _environment(self, secrets: Mapping[tuple[str, str], str]) -> dict[str, str]:
        found = {}
        for one in self._server.get("env", ()):
            if "valueFrom" in one:
                key = one["valueFrom"]["secretKeyRef"]
                if (key["name"], key["key"]) not in secrets:
                    raise KubeletError(
                        f'CreateContainerConfigError: secret "{key["name"]}" not found'
                    )
                found[one["name"]] = secrets[key["name"], key["key"]]
            else:
                found[one["name"]] = str(one.get("value", ""))
        return found

    def _ports(self) -> set[int]:
        return {one["containerPort"] for one in self._server.get("ports", ())}

    def _probed(self) -> set[int]:
        kinds = ("startupProbe", "readinessProbe", "livenessProbe")
        return {self._server[kind]["httpGet"]["port"] for kind in kinds if kind in self._server}

    def _rights(self) -> dict[str, Any]:
        rights = self._server.get("securityContext", {})
        empty = {one["name"]: one["emptyDir"] for one in self._spec.get("volumes", ())}
        scratch = {
            one["mountPath"]: ",".join(["mode=1777", "exec", *_size(empty[one["name"]])])
            for one in self._server.get("volumeMounts", ())
        }
        escalates = rights.get("allowPrivilegeEscalation", True)
        return {
            "read_only": bool(rights.get("readOnlyRootFilesystem")),
            "cap_drop": list(rights.get("capabilities", {}).get("drop", ())),
            "security_opt": [] if escalates else ["no-new-privileges"],
            "tmpfs": scratch,
        }

    def _limits(self) -> dict[str, Any]:
        limits = self._server.get("resources", {}).get("limits", {})
        found = {}
        if "memory" in limits:
            found["mem_limit"] = int(parse_quantity(limits["memory"]))
        if "cpu" in limits:
            found["nano_cpus"] = int(parse_quantity(limits["cpu"]) * 10**9)
        return found


@contextmanager
def running_pod(
    spec: Json,
    models: Path,
    docker: Any,
    secrets: Mapping[tuple[str, str], str] = {},
    network: str = "",
) -> Iterator[Pod]:
    """A pod that is removed afterwards.

    Args:
        spec: As `Pod`.
        models: As `Pod`.
        docker: As `Pod`.
        secrets: As `Pod`.
        network: As `Pod`.

    Raises:
        KubeletError: as `Pod`.
    """
    pod = Pod(spec, models, docker, secrets, network)
    try:
        yield pod
    finally:
        pod.remove()


def _size(volume: Mapping[str, Any]) -> list[str]:
    return [f"size={int(parse_quantity(volume['sizeLimit']))}"] if "sizeLimit" in volume else []
