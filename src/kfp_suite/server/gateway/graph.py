"""InferenceGraph: sequence, switch, ensemble and splitter, as in KServe's router.

Conditions are in `conditions`. A failed step has the effect that it has in KServe's router
(cmd/router): a hard dependency ends the graph with its answer, any other goes on with it.
Shares of a splitter are exact; KServe draws at random.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from kfp_suite.contracts.errors import ContractError, InputError
from kfp_suite.contracts.exact_json import parse_json
from kfp_suite.server.gateway.conditions import Condition, NotFollowed

ROOT = "root"
Reply = tuple[int, bytes]
"""An HTTP status and a body."""
Ask = Callable[[str, bytes], Awaitable[Reply]]
_ROUTERS = ("Sequence", "Switch", "Ensemble", "Splitter")
_DEEPEST = 16


class GraphError(Exception):
    """A graph that cannot answer; `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class Graph:
    """An InferenceGraph, checked.

    Raises:
        ContractError: no root, a router or a node that is not there, a circle, or a condition that
            is not followed.
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self.name = str(manifest["metadata"]["name"])
        self._nodes: dict[str, Any] = (manifest.get("spec") or {}).get("nodes") or {}
        self._shares: dict[str, list[int]] = {}
        self._conditions: dict[str, Condition] = {}
        self._check(ROOT, ())

    def services(self) -> set[str]:
        """The endpoints that it sends requests to."""
        return {
            step["serviceName"]
            for node in self._nodes.values()
            for step in node.get("steps", ())
            if step.get("serviceName")
        }

    def _check(self, name: str, above: tuple[str, ...]) -> None:
        where = f"InferenceGraph {self.name}"
        if name in above or len(above) > _DEEPEST:
            raise ContractError("nodes go round", where=where, got=" → ".join((*above, name)))
        if name not in self._nodes:
            raise ContractError(f"no node '{name}'", where=where, got=", ".join(self._nodes))
        node = self._nodes[name]
        if node.get("routerType") not in _ROUTERS or not node.get("steps"):
            raise ContractError(
                "not a node",
                where=f"{where}, {name}",
                got=node,
                expected=f"steps, and routerType {', '.join(_ROUTERS)}",
            )
        if (
            node["routerType"] == "Splitter"
            and sum(s.get("weight", 0) for s in node["steps"]) != 100
        ):
            raise ContractError("weights that are not 100", where=f"{where}, {name}", got=node)
        for step in node["steps"]:
            if step.get("serviceUrl"):
                raise ContractError(
                    "a serviceUrl is not followed on one machine",
                    where=f"{where}, {name}",
                    got=step["serviceUrl"],
                    fix="name the endpoint by serviceName and serve its manifest, too",
                )
            if not (step.get("serviceName") or step.get("nodeName")):
                raise ContractError(
                    "a step without serviceName or nodeName", where=f"{where}, {name}", got=step
                )
            self._check_condition(node["routerType"], step, f"{where}, {name}")
            if step.get("nodeName"):
                self._check(step["nodeName"], (*above, name))

    def _check_condition(self, router: str, step: Mapping[str, Any], where: str) -> None:
        text = step.get("condition") or ""
        if not text and router == "Switch":
            raise ContractError(
                "a step of a Switch without a condition never fits on KServe",
                where=where,
                got=step,
                fix="for one that always fits, write condition: '@this' and put it last",
            )
        if not text or router not in ("Switch", "Sequence"):
            return
        try:
            self._conditions[text] = Condition.parse(text)
        except NotFollowed as error:
            raise ContractError(
                "a condition is not followed on one machine",
                where=where,
                got=f"{error}",
                expected='names, positions, #, #(path == "value"), #(…)#, @this',
            ) from error

    async def answer(self, body: bytes, ask: Ask) -> Reply:
        """The graph's answer to a request: the status and the body of its last step.

        Args:
            body: JSON.
            ask: Sends a request to an endpoint by name.

        Raises:
            GraphError: the graph itself cannot answer: not JSON, or no step that fits.
        """
        try:
            parse_json(body)
        except InputError as error:
            raise GraphError(400, str(error)) from error
        return await self._node(ROOT, body, ask)

    async def _node(self, name: str, body: bytes, ask: Ask) -> Reply:
        node = self._nodes[name]
        steps = node["steps"]
        if node["routerType"] == "Sequence":
            return await self._sequence(steps, body, ask)
        if node["routerType"] == "Ensemble":
            return await self._ensemble(steps, body, ask)
        if node["routerType"] == "Switch":
            document = json.loads(body)
            for step in steps:
                if self._conditions[step["condition"]].holds(document):
                    return await self._step(step, body, ask)
            raise GraphError(404, f"no step of '{name}' fits the request")
        return await self._step(steps[self._drawn(name, steps)], body, ask)

    async def _ensemble(self, steps: list[Any], body: bytes, ask: Ask) -> Reply:
        """Every answer by the step's name, those of steps that failed among them; the first
        hard dependency that failed alone."""
        replies = await asyncio.gather(*(self._step(step, body, ask) for step in steps))
        named = {}
        for position, (step, reply) in enumerate(zip(steps, replies, strict=True)):
            if _failed_hard(step, reply):
                return reply
            named[step.get("name") or str(position)] = _json(reply)
        return 200, json.dumps(named).encode()

    async def _sequence(self, steps: list[Any], body: bytes, ask: Ask) -> Reply:
        """The last answer; that of a hard dependency that failed, or the one before a
        condition that does not hold."""
        reply: Reply = (200, b"")
        for step in steps:
            given = reply[1] if reply[1] and step.get("data") == "$response" else body
            if step.get("mapPredictionsToInstances"):
                given = _as_request(given)
            condition = self._conditions.get(step.get("condition") or "")
            if condition is not None and not condition.holds(_json(reply)):
                return 200, reply[1]
            reply = await self._step(step, given, ask)
            if _failed_hard(step, reply):
                return reply
        return reply

    async def _step(self, step: Mapping[str, Any], body: bytes, ask: Ask) -> Reply:
        if step.get("nodeName"):
            return await self._node(step["nodeName"], body, ask)
        return await ask(step["serviceName"], body)

    def _drawn(self, name: str, steps: list[Any]) -> int:
        """The step whose share is owed most: exact, not drawn."""
        owed = self._shares.setdefault(name, [0] * len(steps))
        for i, step in enumerate(steps):
            owed[i] += step.get("weight", 0)
        chosen = max(range(len(steps)), key=lambda i: owed[i])
        owed[chosen] -= 100
        return chosen


def _failed_hard(step: Mapping[str, Any], reply: Reply) -> bool:
    return step.get("dependency") == "Hard" and not 200 <= reply[0] < 300


def _json(reply: Reply) -> Any:
    try:
        return json.loads(reply[1])
    except ValueError as error:
        raise GraphError(500, "a step did not answer JSON") from error


def _as_request(answer: bytes) -> bytes:
    """The predictions of one step as the instances of the next."""
    try:
        found = json.loads(answer)
    except ValueError:
        return answer
    if isinstance(found, dict) and found.get("predictions"):
        return json.dumps({"instances": found["predictions"]}).encode()
    return answer
