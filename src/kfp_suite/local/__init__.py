"""Run a pipeline on this machine, follow it, compile it, rebuild its model."""
