"""The run record, written when a pipeline ends, however it ends."""
