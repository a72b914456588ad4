"""Windows of dates over which a pipeline loops."""
