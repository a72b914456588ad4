"""Sources to a split, digested Dataset."""
