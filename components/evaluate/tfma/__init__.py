"""Evaluate with TensorFlow Model Analysis on Apache Beam."""
