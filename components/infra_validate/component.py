"""The KFP interface of infra_validate."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Markdown, Model, Output


@dsl.component(base_image="kfp-suite-python-serving:0.1.0", install_kfp_package=False)
def infra_validate(
    model: Input[Model],
    dataset: Input[Dataset],
    blessing: Output[Artifact],
    serving_report: Output[Markdown],
    name: str = "candidate",
    place: str = "auto",
    runtime: str = "kfp-suite",
    runtime_options: dict = {},
    settings: dict = {},
    image: str = "",
    namespace: str = "default",
    ingress: str = "",
    store: str = "",
    run_id: str = "",
    requests: str = "",
    split: str = "test",
    rows: int = 200,
    limits: dict = {},
) -> bool:
    """Decide whether a model can be served: in the real server, with real requests.

    The candidate is laid out for the server that it will be deployed on and loaded in it;
    requests of one row each are answered and compared with the model's own answers. A
    candidate that hangs, crashes, answers another class or a value that is not a number, or
    costs more than its limits, is not blessed.

    Args:
        model: A Model artifact.
        dataset: A Dataset artifact that requests are sampled from.
        name: What requests call the model.
        place: `process` of this machine, `container` (with Docker), or `cluster`: an
            InferenceService of its own, without traffic, that is deleted afterwards. `auto`: a
            process of `runtime` or, where its program is not in the step's image, of the
            suite's own server, and the summary says so.
        runtime: The model server; see deploy.
        runtime_options: The server's own options; see deploy.
        settings: How it runs on a cluster; see deploy.
        image: The server's image, for `container`; empty: the suite's own, for its server.
        namespace: The Kubernetes namespace, for `cluster`.
        ingress: Address of the cluster's ingress, to ask from outside.
        store: The models' store, for `cluster`: the candidate is put there for the cluster to
            read; empty: where KFP keeps the artifact, for the suite's own server alone.
        run_id: The run's id, for `cluster`: `dsl.PIPELINE_JOB_ID_PLACEHOLDER`.
        requests: A JSON Lines file of recorded requests, instead of sampled ones; empty for
            none.
        split: The split that is sampled: test, eval or train.
        rows: How many requests, at least 1.
        limits: `start_seconds` (default 120, after which a server that hangs is given up),
            `p50_ms`, `p99_ms`, `memory_mb` (each 0: not limited; memory that cannot be measured
            is not within a limit), `difference` (1e-4, of a probability, or of a predicted
            number relative to it), `request_seconds` (30), `expected_seconds` (300, that the
            model itself may take to say what is right).
        blessing: A folder with `infra_blessing.json`: verdict, reasons, figures and limits.
        serving_report: The same in words.

    Returns:
        Whether the model can be served.
    """
    from pathlib import Path

    from kfp_suite.components.infra_validate.executor import InfraParameters
    from kfp_suite.components.infra_validate.step import run_step
    from kfp_suite.stores.step import step

    with step("infra_validate", blessing):
        return run_step(
            InfraParameters(
                name=name,
                place=place,
                runtime=runtime,
                runtime_options=runtime_options,
                settings=settings,
                image=image,
                namespace=namespace,
                ingress=ingress,
                store=store,
                run_id=run_id,
                split=split,
                rows=rows,
                limits=limits,
            ),
            model,
            Path(dataset.path),
            blessing,
            Path(serving_report.path),
            requests,
        )


# The same step where the model needs TensorFlow: an image cannot be chosen by a parameter.
infra_validate_tensorflow = dsl.component(
    infra_validate.python_func,
    base_image="kfp-suite-python-tensorflow:0.1.0",
    install_kfp_package=False,
)
