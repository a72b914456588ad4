"""Containerized KFP components, one folder each."""
