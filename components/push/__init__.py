"""A blessed model to an immutable, numbered version in a store."""
