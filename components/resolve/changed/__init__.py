"""Whether there is anything new since the champion was made."""
