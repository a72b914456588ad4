"""The shards of a search, checked before anything is read."""
