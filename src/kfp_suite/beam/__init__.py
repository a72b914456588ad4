"""Apache Beam: datasets as collections, and where pipelines run."""
