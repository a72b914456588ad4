"""The suite in a notebook: runs, reports and endpoints as rich HTML."""
