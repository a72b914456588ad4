"""Files of a new component."""
