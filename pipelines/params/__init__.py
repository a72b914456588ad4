"""Parameter files: one file a data set."""
