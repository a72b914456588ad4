"""The KFP interface of push."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output


@dsl.component(base_image="kfp-suite-python-deploy:0.1.0", install_kfp_package=False)
def push(
    model: Input[Model],
    evaluation: Input[Artifact],
    version: Output[Artifact],
    store: str,
    model_name: str,
    require_blessed: bool = True,
    alias: str = "challenger",
    run: str = "",
    run_id: str = "",
    pipeline: str = "",
):
    """Publish a blessed model as an immutable, numbered version.

    The same model pushed twice, by a retried step or a later run, is one version. A step
    that is killed leaves no version, and the next push finishes what it began. The alias
    is moved to the version. `champion` is never moved by push: it moves when an endpoint of the
    version answered, when a rollout takes it back, and by `kfp-suite models alias` and
    `models rollback`.

    Args:
        model: The model to publish.
        evaluation: Its evaluation, from evaluate.
        version: A folder with `pushed.json`: model, version, URI and digests.
        store: Where versions live: a folder, `gs://bucket/prefix` or `s3://bucket/prefix`.
        model_name: Lower-case letters, digits and `-`, at most 63: also the endpoint's name.
        require_blessed: Refuse a model that evaluate did not bless.
        alias: Moved to the version; empty: none.
        run: The run's name, kept in the version's manifest.
        run_id: The run's id, kept in the version's manifest.
        pipeline: The pipeline's name, kept in the version's manifest.
    """
    from pathlib import Path

    from kfp_suite.components.push.executor import PushParameters
    from kfp_suite.components.push.executor import push as execute
    from kfp_suite.stores.step import step

    with step("push", version):
        published = execute(
            PushParameters(
                store=store,
                model_name=model_name,
                require_blessed=require_blessed,
                alias=alias,
                run={"name": run, "id": run_id, "pipeline": pipeline},
            ),
            Path(model.path),
            Path(evaluation.path),
            Path(version.path),
        )
        version.metadata.update(
            model=published.model,
            version=str(published.version),
            uri=published.uri,
            digest=published.digest,
        )
