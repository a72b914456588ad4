"""The workloads of an endpoint, and the revisions that they roll out one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from kfp_suite.testing.kubernetes.kinds import Json
from kfp_suite.testing.kubernetes.objects import random_name
from kfp_suite.testing.kubernetes.workloads import Behaviour, Phase, template_hash

Mode = Literal["Knative", "Standard"]


@dataclass
class Rollout:
    """A revision of a workload: a pod template, and what becomes of it."""

    name: str
    template: Json
    behaviour: Behaviour
    started: float
    pods: list[str]
    settled: bool = False
    shown: dict[str, str] = field(default_factory=dict)

    def phase(self, now: float) -> Phase:
        """How far it is; what was ready stays it."""
        if self.settled:
            return "ready"
        if now < self.started + self.behaviour.after:
            return "starting"
        if self.behaviour.outcome == "ready":
            self.settled = True
            return "ready"
        return "starting" if self.behaviour.outcome == "never_ready" else "failed"


@dataclass
class Workload:
    """A Deployment or Knative Service, and its rollouts, the newest last."""

    name: str
    component: str
    rollouts: list[Rollout] = field(default_factory=list)
    replicas: int = 1
    ending: dict[str, float] = field(default_factory=dict)

    @property
    def newest(self) -> Rollout:
        return self.rollouts[-1]

    def serving(self, now: float) -> Rollout | None:
        """The newest rollout that is ready."""
        ready = [one for one in self.rollouts if one.phase(now) == "ready"]
        return ready[-1] if ready else None

    def behave(self, behaviour: Behaviour, now: float) -> None:
        """What becomes of the newest, if it is not ready yet."""
        for rollout in self.rollouts[-1:]:
            if not rollout.settled and behaviour is not rollout.behaviour:
                rollout.behaviour, rollout.started = behaviour, now

    def due(self, now: float) -> list[float]:
        """When something changes by itself."""
        moments = [one.started + one.behaviour.after for one in self.rollouts]
        moments += self.ending.values()
        return [moment for moment in moments if moment > now]

    def roll(
        self, template: Json, replicas: int, behaviour: Behaviour, mode: Mode, now: float
    ) -> None:
        """Start a rollout where the pod template has changed."""
        self.replicas = max(1, replicas)
        if self.rollouts and self.newest.template == template:
            self._resize()
            return
        number = len(self.rollouts) + 1
        name = f"{self.name}-{template_hash(template)}"
        if mode == "Knative":
            name = f"{self.name}-{number:05d}"
        serving = self.serving(now)
        # A Deployment that goes back to a template takes up its ReplicaSet again.
        self.rollouts = [one for one in self.rollouts if one.name != name]
        if serving is None or serving.name != name:
            serving = Rollout(name, template, behaviour, now, [])
        self.rollouts.append(serving)
        self._resize()

    def _resize(self) -> None:
        rollout = self.newest
        middle = "-deployment" if rollout.name[-6:-5] == "-" and rollout.name[-5:].isdigit() else ""
        while len(rollout.pods) < self.replicas:
            hashed = f"-{template_hash(rollout.template)}" if middle else ""
            rollout.pods.append(f"{rollout.name}{middle}{hashed}-{random_name()}")
        del rollout.pods[self.replicas :]
