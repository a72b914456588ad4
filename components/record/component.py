"""The KFP interface of record."""

from kfp import dsl
from kfp.dsl import Artifact, Output


@dsl.component(base_image="kfp-suite-python-deploy:0.1.0", install_kfp_package=False)
def record(
    status: dsl.PipelineTaskFinalStatus,
    run: str,
    run_id: str,
    pipeline: str,
    run_record: Output[Artifact],
    notify: dict = {},
):
    """Write the run record when the pipeline ends, however it ends, and tell people.

    An exit handler: it joins the verdicts, the published version, the endpoint and the
    errors that the run's steps left under the run's root with the final status. Then it
    tells who is to be told, and MLflow where `MLFLOW_TRACKING_URI` is set; that fails no run.

    Args:
        status: The final status, which KFP gives to an exit handler.
        run: The run's name: `dsl.PIPELINE_JOB_NAME_PLACEHOLDER`.
        run_id: The run's id: `dsl.PIPELINE_JOB_ID_PLACEHOLDER`.
        pipeline: The pipeline's name.
        run_record: A folder with `run_record.json` and, where somebody was to be told,
            `notices.json`: who was.
        notify: Who is told: `slack` (`url_env`), `webhooks` (`url` or `url_env`,
            `token_env`), `emails` (`to`, `sender`, `server`, `port`, `security`, `user`,
            `password_env`), each a list; `outcomes` (of succeeded, unchanged, refused,
            failed, cancelled) and `ui`, the UI's address, for the link. A name that ends in `_env`
            is of an environment variable: no secret is a parameter.
    """
    from pathlib import Path

    from kfp_suite.components.record.executor import RecordParameters
    from kfp_suite.components.record.executor import record as execute
    from kfp_suite.stores.step import step

    with step("record", run_record):
        execute(
            RecordParameters(
                run=run, run_id=run_id, pipeline=pipeline, status=status.state, notify=notify
            ),
            run_record.uri,
            Path(run_record.path),
        )
