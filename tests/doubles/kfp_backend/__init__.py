"""Kubeflow Pipelines' API as a test double."""
