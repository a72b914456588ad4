"""Containerized KFP components, one folder each, and the rooms they share."""
