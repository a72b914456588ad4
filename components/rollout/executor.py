"""From the version that serves to the next one: a share at a time, judged at each, promoted
or rolled back.

What is live says how far a rollout is: a step that was killed is picked up where it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from kfp_suite.components.rollout.outcome import FORMAT_VERSION, Outcome
from kfp_suite.components.rollout.parameters import RolloutParameters
from kfp_suite.components.rollout.rolling import Rolling
from kfp_suite.components.rollout.summary import summary
from kfp_suite.components.rollout.targets import ClusterTarget, LocalTarget, Target
from kfp_suite.contracts.atomic import whole_folder
from kfp_suite.contracts.canonical import write_file, write_json
from kfp_suite.contracts.run_record import ENDPOINT
from kfp_suite.kserve.deployable import Deployable
from kfp_suite.kserve.manifests import check_canary
from kfp_suite.kserve.settings import parse_settings
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore

ROLLOUT = "rollout.json"
SUMMARY = "rollout.md"

log = logging.getLogger(__name__)


def rollout(
    parameters: RolloutParameters,
    output: Path,
    *,
    target: Target | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Roll a published version out.

    Args:
        parameters: Which, where, and how.
        output: A folder with `rollout.json`, `rollout.md` and `endpoint.json`.
        target: The endpoint; None: by the parameters.
        clock: Monotonic seconds.
        sleep: What waits between looks.

    Returns:
        Whether it was promoted, and why, or why not: a rollback is a result.

    Raises:
        MissingError, ParameterError: no such version, or a server that cannot serve it.
        EndpointError: another rollout is under way, the metrics do not answer, or the
            endpoint cannot be brought back to the version before.
    """
    settings = parse_settings(parameters.settings)
    models = ModelStore(open_store(parameters.store))
    deployable = Deployable.find(
        models,
        parameters.model_name,
        models.resolve(parameters.model_name, parameters.version),
        runtime=parameters.runtime,
        options=parameters.runtime_options,
        name=settings.name,
    )
    check_canary(deployable.served, parameters.runtime_options)
    target = target or _target(parameters, deployable.served.name)
    rolling = Rolling(parameters, deployable, settings, target, clock, sleep)
    outcome = rolling.run()
    log.info("%s", outcome.why)
    with whole_folder(output) as folder:
        write_json(folder / ROLLOUT, asdict(outcome))
        write_file(folder / SUMMARY, summary(outcome).encode())
        endpoint = {
            "format_version": FORMAT_VERSION,
            "target": parameters.target,
            "namespace": parameters.namespace,
            "url": target.address()[0],
            "manifest": parameters.manifest,
            "promoted": outcome.promoted,
            "measured": outcome.measured,
            "candidate": outcome.version,
            "why": outcome.why,
            **asdict(deployable.served),
            "version": outcome.version if outcome.promoted else outcome.before,
        }
        write_json(folder / ENDPOINT, endpoint)
    return outcome


def _target(parameters: RolloutParameters, name: str) -> Target:
    if parameters.target == "local":
        return LocalTarget(Path(parameters.manifest), name, parameters.timeout_seconds)
    from kfp_suite.kserve.cluster import Cluster

    return ClusterTarget(
        Cluster(),
        name,
        parameters.namespace,
        timeout=parameters.timeout_seconds,
        force=parameters.force,
        prometheus=parameters.prometheus,
        ingress=parameters.ingress,
        by_header=parameters.by_header,
        deployment_mode=parse_settings(parameters.settings).deployment_mode,
    )
