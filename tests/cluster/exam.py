"""The exam's session: its names, its commands, and what it looks at."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kubernetes import client, config

from kfp_suite.image_builder.families import family_of
from kfp_suite.image_builder.image_lock import read_lock
from kfp_suite.kserve.cluster import Cluster
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.images import IMAGE_VARIABLES
from kfp_suite.kserve.smoke import address_of, smoke_test
from kfp_suite.kubeflow.connection import Backend
from kfp_suite.kubeflow.package import open_package
from kfp_suite.kubeflow.submitting import experiment_named
from kfp_suite.local.catalog import pipelines
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore
from tests.cluster.installation import Installation
from tests.cluster.removal import PREFIX
from tests.local.command import COMMAND

# Small enough for a cluster of one node, which has two servers while a version rolls out.
SMALL = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
_CONNECTION = ("host", "token_file", "cookie_file", "ca_file")
_MAX_OUTPUT = 3000


@dataclass(frozen=True)
class Exam:
    """A session of the exam.

    Attributes:
        installation: Where it runs.
        token: What tells its names from every other session's.
        folder: A folder of this machine.
    """

    installation: Installation
    token: str
    folder: Path

    @property
    def prefix(self) -> str:
        """What every name and every object in the store begins with."""
        return f"{PREFIX}{self.token}"

    def name(self, what: str) -> str:
        """The name of a model, an endpoint, a graph or a schedule."""
        return f"{self.prefix}-{what}"

    @property
    def store(self) -> str:
        """The session's own folder in the store."""
        return f"{self.installation.store}/{self.prefix}"

    @cached_property
    def models(self) -> ModelStore:
        """The versions that the session published."""
        return ModelStore(open_store(f"{self.store}/models"))

    @cached_property
    def backend(self) -> Backend:
        """Kubeflow Pipelines."""
        return Backend(self.installation.connection)

    @cached_property
    def api(self) -> Any:
        """The Kubernetes API."""
        return config.new_client_from_config(self.installation.kubeconfig)

    @cached_property
    def cluster(self) -> Cluster:
        """The cluster of the endpoints."""
        return Cluster(self.api)

    @cached_property
    def has_kserve(self) -> bool:
        """Whether the cluster has KServe."""
        groups = client.ApisApi(self.api).get_api_versions(_request_timeout=30).groups
        return any(group.name == "serving.kserve.io" for group in groups)

    @cached_property
    def images(self) -> dict[str, str]:
        """The suite's images by family."""
        return read_lock(Path(self.installation.image_lock)).images

    def write(self, name: str, content: bytes | Path) -> str:
        """Write an object to the session's folder.

        Returns:
            Its URI.
        """
        open_store(self.store).create(name, content)
        return f"{self.store}/{name}"

    @property
    def endpoint(self) -> dict[str, Any]:
        """The settings of every endpoint."""
        reader = self.installation.reader
        return {**SMALL, **({"service_account": reader} if reader else {})}

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a command on this machine."""
        images = {
            variable: self.images[family]
            for family, variable in IMAGE_VARIABLES.items()
            if family in self.images
        }
        known = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
        return {**known, "KUBECONFIG": self.installation.kubeconfig, **images}

    def kfp_suite(self, *words: str) -> str:
        """Run the command on this machine.

        Returns:
            Its standard output.
        """
        done = subprocess.run(
            [*COMMAND, *words],
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            cwd=self.folder,
        )
        told = f"{done.stdout[-_MAX_OUTPUT:]}\n{done.stderr[-_MAX_OUTPUT:]}".strip()
        assert done.returncode == 0, f"kfp-suite {words[0]} exited with {done.returncode}: {told}"
        return done.stdout

    @property
    def connection(self) -> list[str]:
        """The options that lead a command to Kubeflow."""
        given = {name: getattr(self.installation, name) for name in _CONNECTION}
        given["namespace"] = self.installation.profile
        return _options(given)

    @property
    def package(self) -> list[str]:
        """The options of every pipeline that is sent to Kubeflow."""
        found = self.installation
        return _options({"image_lock": found.image_lock, "resources": found.resources})

    @property
    def run(self) -> list[str]:
        """The options of every run."""
        account = self.installation.account
        return [*self.package, *_options({"experiment": self.prefix, "service_account": account})]

    def upload(self) -> list[dict[str, Any]]:
        """Upload every pipeline whose images there are, in versions with the session's name."""
        names = [
            name
            for name in pipelines()
            if self.images.keys() >= set(filter(None, map(family_of, open_package(name).images)))
        ]
        every = ["--all"] if len(names) == len(pipelines()) else names
        words = ("upload", *every, "--version", self.prefix, "--json")
        told = self.kfp_suite(*words, *self.package, *self.connection)
        return [json.loads(line) for line in told.splitlines()]

    def submit(self, pipeline: str, parameters: Mapping[str, Any], *words: str) -> str:
        """Run a pipeline on Kubeflow, and watch it to its end.

        Args:
            pipeline: A name, or the path of a compiled one.
            parameters: By name; `a.b` reaches into the mapping `a`.
            words: More options.

        Returns:
            The run's identifier.
        """
        given = [*assignments(parameters), *words, *self.run, *self.connection]
        told = self.kfp_suite("submit", pipeline, *given, "--watch", "--json")
        return str(json.loads(told)["run_id"])

    def schedule(self, pipeline: str, parameters: Mapping[str, Any], *words: str) -> None:
        """Let Kubeflow run a pipeline again and again; `words` say when."""
        given = [*assignments(parameters), *words, *self.run, *self.connection]
        self.kfp_suite("schedule", pipeline, *given)

    def runs_of(self, schedule_id: str) -> list[str]:
        """The identifiers of the runs that a schedule has started."""
        runs = self.backend.pages(
            "runs",
            lambda token: self.backend.client.list_runs(
                page_token=token,
                page_size=100,
                namespace=self.backend.namespace,
                experiment_id=experiment_named(self.backend, self.prefix),
            ),
            "runs",
        )
        return [str(run.run_id) for run in runs if run.recurring_run_id == schedule_id]

    def run_here(self, pipeline: str, parameters: Mapping[str, Any], *words: str) -> ModelStore:
        """Run a pipeline on this machine, without an endpoint.

        Returns:
            The versions that it published, in a folder of this machine.
        """
        folder = self.folder / f"{parameters['model_name']}-here"
        given = [*assignments({**parameters, "store": str(folder / "store")}), *words]
        self.kfp_suite("run", pipeline, *given, "--root", str(folder), "--no-serve", "--json")
        return ModelStore(open_store(str(folder / "store")))

    def check_answer(self, name: str, version: int) -> None:
        """Fail unless an endpoint answers as this version of the model of its name does."""
        service = self.cluster.get(name, self.installation.namespace)
        sample, question = Deployable.find(self.models, name, version).question(service)
        base, headers = address_of(service, self.installation.ingress)
        smoke_test(base, headers, question, sample, version=str(version))


def assignments(parameters: Mapping[str, Any]) -> list[str]:
    """Parameters as options of the command."""
    words = []
    for name, value in parameters.items():
        text = value if isinstance(value, str) else json.dumps(value)
        words += ["--param", f"{name}={text}"]
    return words


def _options(given: Mapping[str, str]) -> list[str]:
    """Options of the command, without those that are empty."""
    named = ((f"--{name.replace('_', '-')}", value) for name, value in given.items() if value)
    return [word for option in named for word in option]
