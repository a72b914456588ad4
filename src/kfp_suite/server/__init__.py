"""The model server behind every endpoint."""
