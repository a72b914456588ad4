"""The options of every command that starts runs on Kubeflow."""

from __future__ import annotations

import click

pipeline_root_option = click.option(
    "--pipeline-root",
    default="",
    help="Where artifacts go: gs://…, s3://… of Amazon's S3, minio://… of KFP's own store.",
)
check_option = click.option(
    "--check/--no-check",
    default=True,
    help="Refuse first what would fail on the cluster.  [check]",
)
