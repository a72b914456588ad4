"""The child process that runs a pipeline with kfp.local.

It reads a `Job` as JSON from standard input and logs to standard output: so the parent
owns its own output, and nothing that kfp prints can spoil a JSON answer. An error that is of no
step is left in the run's folder.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_suite.contracts.digests import PREFIX, digest_value
from kfp_suite.contracts.errors import KfpSuiteError


@dataclass(frozen=True)
class Job:
    """A pipeline to run: `run` is the run's name, and that of its folder below `root`;
    `max_step_seconds` is for every step, None for what the pipeline says."""

    run: str
    pipeline: str
    arguments: dict[str, Any]
    root: str
    runner: str
    network: str
    caching: bool
    cache_root: str
    max_step_seconds: int | None


def main() -> int:
    """Run the job: exit 0 if the pipeline succeeded, 1 if it failed."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    job = Job(**json.load(sys.stdin))

    # What the local runner ignores is meant for a cluster, and said once per task.
    warnings.filterwarnings(
        "ignore", message=r"Task '.*': settings .* have no effect", category=UserWarning
    )
    logging.basicConfig(
        level=logging.INFO, stream=sys.stdout, format="%(asctime)s - %(levelname)s - %(message)s"
    )

    from kfp_suite.local.ending import leave_error

    try:
        _run(job)
    except RuntimeError as error:
        print(f"- ERROR - {error}", flush=True)
        return 1
    except KfpSuiteError as error:
        leave_error(Path(job.root) / job.run, error)
        return 1
    except Exception as error:
        traceback.print_exc()
        unexpected = KfpSuiteError(
            f"{type(error).__name__}: {error}",
            fix="this is a defect of kfp-suite: report the log",
        )
        leave_error(Path(job.root) / job.run, unexpected)
        return 1
    return 0


def _run(job: Job) -> None:
    """Run the job to its end.

    Raises:
        RuntimeError: a step failed.
    """
    from kfp import local
    from kfp.local import executor_input_utils

    from kfp_suite.local.cached_steps import link_cached_outputs
    from kfp_suite.local.catalog import find_pipeline, load
    from kfp_suite.local.commands import use_whole_commands
    from kfp_suite.local.docker import image_ids, images_of, use_docker
    from kfp_suite.local.time_limits import find_time_limits

    pipeline, cache = load(find_pipeline(job.pipeline)), job.cache_root
    limits = find_time_limits(pipeline, job.max_step_seconds)
    executor_input_utils.get_local_pipeline_resource_name = lambda _: job.run
    use_whole_commands(limits)
    if job.runner == "docker":
        use_docker(limits)
        network = {"network_mode": job.network} if job.network else {}
        runner: Any = local.DockerRunner(**network)
        cache = f"{cache}-{digest_value(image_ids(images_of(pipeline))).removeprefix(PREFIX)[:16]}"
    else:
        runner = local.SubprocessRunner(use_venv=False)
    local.init(
        runner,
        pipeline_root=job.root,
        raise_on_error=True,
        enable_caching=job.caching,
        cache_root=cache,
    )
    link_cached_outputs()
    _remove_retries(pipeline.pipeline_spec)
    pipeline(**job.arguments)


def _end_with(parent: int) -> None:
    """End this process and its steps when the one that started it is gone, however it went."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _remove_retries(spec: Any) -> None:
    """Let a failed step fail at once.

    On a cluster a retry meets another node. Here it would meet the same input after a
    minute of back-off; the stores' own clients retry what is transient.
    """
    for dag in (spec.root.dag, *(component.dag for component in spec.components.values())):
        for task in dag.tasks.values():
            task.ClearField("retry_policy")


if __name__ == "__main__":
    sys.exit(main())
