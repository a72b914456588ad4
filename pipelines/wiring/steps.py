"""The steps that every family has, with their retries, resources and caching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kfp import dsl, kubernetes
from kfp.dsl.structures import ResourceSpec

from kfp_suite.components.deploy.component import deploy
from kfp_suite.components.ingest.component import ingest
from kfp_suite.components.push.component import push
from kfp_suite.components.record.component import record
from kfp_suite.components.resolve.component import resolve
from kfp_suite.pipelines.wiring.retries import window

# A parameter, or the placeholder of one, while a pipeline is being compiled.
Value = Any
Task = Any
# What of an endpoint its server is tried with.
_OF_THE_SERVER = ("namespace", "ingress", "runtime", "runtime_options", "settings")
# Before the first retry, in seconds, and between two.
_PAUSE, _FACTOR = 10, 2.0


def recorded(pipeline: str, notify: Value) -> dsl.ExitHandler:
    """The steps of the pipeline called `pipeline`, with its run record however they end."""
    task = record(
        run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        pipeline=pipeline,
        notify=notify,
    )
    small(task, retries=0).set_caching_options(False)
    return dsl.ExitHandler(task.set_display_name("Record and notify"), name="steps")


def resolved(*, sources: Value, module_file: Value, store: Value, model_name: Value) -> Task:
    """Sources, module and champion as they are today; never from a cache."""
    task = resolve(sources=sources, module_file=module_file, store=store, model_name=model_name)
    small(task).set_caching_options(False)
    return task.set_display_name("Resolve sources and champion")


def ingested(
    pinned: Task,
    *,
    sql: Value,
    split: Value,
    on_bad_rows: Value,
    max_bad_fraction: Value,
    max_query_seconds: Value,
) -> Task:
    """The dataset of the pinned sources."""
    task = ingest(
        sources=pinned.outputs["sources"],
        sql=sql,
        split=split,
        on_bad_rows=on_bad_rows,
        max_bad_fraction=max_bad_fraction,
        max_query_seconds=max_query_seconds,
    )
    sized(task, "4Gi", "8Gi", cpu="2")
    return task.set_display_name("Ingest and split")


def validated(
    validate: Callable[..., Task],
    dataset: Value,
    *,
    schema: Value,
    label: Value,
    options: Value,
    baseline_statistics: Value,
    **engine: Value,
) -> Task:
    """The verdict on the dataset; like push, deploy and record never taken from a cache.
    `engine`: what only this engine takes."""
    task = validate(
        dataset=dataset,
        schema=schema,
        label=label,
        options=options,
        baseline_statistics=baseline_statistics,
        **engine,
    )
    sized(task, "2Gi", "4Gi", cpu="2").set_caching_options(False)
    return task.set_display_name("Validate the data")


def evaluated(
    evaluate: Callable[..., Task],
    dataset: Value,
    model: Value,
    *,
    thresholds: Value,
    slices: Value,
    min_slice_rows: Value,
    champion: Value,
    comparison: Value,
    seed: Value,
) -> Task:
    """The verdict on the model, with `evaluate` of the image that the model needs."""
    task = evaluate(
        dataset=dataset,
        model=model,
        thresholds=thresholds,
        slices=slices,
        min_slice_rows=min_slice_rows,
        champion=champion,
        comparison=comparison,
        seed=seed,
    )
    sized(task, "2Gi", "4Gi").set_caching_options(False)
    return task.set_display_name("Evaluate on test")


def delivered(
    dataset: Value,
    model: Value,
    pinned: Task,
    *,
    pipeline: str,
    evaluate: Callable[..., Task],
    infra_validate: Callable[..., Task],
    thresholds: Value,
    slices: Value,
    min_slice_rows: Value,
    comparison: Value,
    seed: Value,
    infra_limits: Value,
    store: Value,
    model_name: Value,
    infra_place: Value = "auto",
    **endpoint: Value,
) -> None:
    """The model judged, judged again in its server, published and served; or none of it.

    Args:
        dataset: With a test split.
        model: The candidate.
        pinned: From `resolved`: the champion that it is compared with.
        pipeline: The pipeline's name.
        evaluate: Of the image that the model needs.
        infra_validate: Likewise.
        thresholds, slices, min_slice_rows, comparison, seed: As evaluate takes them.
        infra_place, infra_limits: As infra_validate takes them.
        store, model_name: As push takes them.
        endpoint: What deploy takes; without any, the version is published and not served.
    """
    verdict = evaluated(
        evaluate,
        dataset,
        model,
        thresholds=thresholds,
        slices=slices,
        min_slice_rows=min_slice_rows,
        champion=pinned.outputs["champion"],
        comparison=comparison,
        seed=seed,
    )
    with dsl.If(verdict.outputs["Output"] == True, name="if-blessed"):  # noqa: E712
        fit = infra_validate(
            dataset=dataset,
            model=model,
            name=model_name,
            place=infra_place,
            limits=infra_limits,
            store=store,
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            **{key: value for key, value in endpoint.items() if key in _OF_THE_SERVER},
        )
        sized(fit, "2Gi", "4Gi").set_caching_options(False).set_display_name("Try in its server")
        with dsl.If(fit.outputs["Output"] == True, name="if-servable"):  # noqa: E712
            pushed = push(
                model=model,
                evaluation=verdict.outputs["evaluation"],
                store=store,
                model_name=model_name,
                alias="challenger" if endpoint else "",
                run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
                run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                pipeline=pipeline,
            )
            small(pushed).set_caching_options(False).set_display_name("Publish a version")
            if endpoint:
                served = deploy(
                    version=pushed.outputs["version"],
                    expected_champion=pinned.outputs["champion"],
                    **endpoint,
                )
                small(served).set_caching_options(False).set_display_name("Deploy the endpoint")


def sized(
    task: Task, memory: str, most_memory: str, cpu: str = "1", hours: int = 6, retries: int = 3
) -> Task:
    """What a step may use, and for how long.

    Memory has a limit, and CPUs have none: they are shared, and what is idle is used. Where a
    quota asks for one, `--resources` gives it: `cpu_limit`.

    Args:
        task: Of any component.
        memory, cpu: Requested.
        most_memory: The limit.
        hours: Of one try; 0: without end, for a step that knows its own.
        retries: After a try that failed, from 10 seconds on; a pod that was deleted with its node
            is none to Argo.
    """
    # As set_cpu_request and its like do, each of which first asks Python for the source of every
    # caller: seconds a pipeline if many modules are imported (kfp 2.17.0, pipeline_task.py).
    task.container_spec.resources = ResourceSpec(
        cpu_request=cpu, memory_request=memory, memory_limit=most_memory
    )
    if hours:
        kubernetes.set_timeout(task, hours * 3600)
    if retries:
        task.set_retry(
            retries,
            backoff_duration=f"{_PAUSE}s",
            backoff_factor=_FACTOR,
            backoff_max_duration=f"{window(retries, hours * 3600, _PAUSE, _FACTOR)}s",
        )
    return task


def small(task: Task, hours: int = 1, retries: int = 3) -> Task:
    """What a step that reads no rows may use."""
    return sized(task, "512Mi", "2Gi", "250m", hours, retries)
