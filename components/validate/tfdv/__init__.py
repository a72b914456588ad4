"""Validate with TensorFlow Data Validation on Apache Beam."""
