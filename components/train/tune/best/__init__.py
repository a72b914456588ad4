"""The best trial of a search."""
