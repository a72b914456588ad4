"""TensorFlow Transform: features learned on Apache Beam."""
