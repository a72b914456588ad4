"""Metrics with intervals, slices, thresholds, champion comparison; a verdict."""
