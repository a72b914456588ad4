"""The kfp-suite command: one module a command."""
