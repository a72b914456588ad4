"""Pipelines of somebody else's.

kfp reads annotations as they are: no `from __future__ import annotations`.
"""

from typing import Any

from kfp import dsl


@dsl.component(base_image="python:3.12")
def step(of: int) -> None:
    """Does nothing."""


@dsl.pipeline(name="inner")
def inner() -> None:
    """One step."""
    step(of=1)


@dsl.pipeline(name="looped")
def looped() -> None:
    """A loop, and a pipeline in a pipeline."""
    with dsl.ParallelFor([1, 2]) as item:
        step(of=item)
    inner()


@dsl.pipeline(
    name="worked", pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="5Gi"))
)
def worked() -> None:
    """A step with a workspace: a volume that KFP makes for each run."""
    step(of=1)


@dsl.pipeline(name="stranger")
def stranger(
    target: str = "local",
    namespace: str = "default",
    store: str = "south",
    sources: dict[str, str] = {},  # noqa: B006 - as kfp has it
    of: int = 1,
) -> None:
    """Parameters that are called as the suite's, of something else."""
    step(of=of)


@dsl.component(base_image="python:3.12")
def take(values: dict[str, Any], share: float) -> None:
    """Does nothing."""


@dsl.pipeline(name="given")
def given(values: dict[str, Any] = {}, share: float = 0.5) -> None:  # noqa: B006 - as kfp has it
    """Parameters of the kinds that KFP changes."""
    take(values=values, share=share)


@dsl.pipeline(name="sized")
def sized(cpu: str = "2", memory: str = "1Gi", devices: str = "1", kind: str = "tpu") -> None:
    """Tasks whose requests are parameters, and one that ignores failures and has none before it."""
    first, second = step(of=1), step(of=2)
    first.set_cpu_request(cpu).set_memory_request(memory)
    first.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(devices)
    second.set_accelerator_type(kind).set_accelerator_limit(1).ignore_upstream_failure()
