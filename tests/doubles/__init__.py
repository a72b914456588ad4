"""Test doubles that can fail on demand, for users too."""
