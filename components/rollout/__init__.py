"""From one version to the next, step by step, with a judge at each."""
