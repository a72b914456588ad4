"""Pipelines on Kubeflow: upload, submit, watch and schedule, through kfp's own client."""
