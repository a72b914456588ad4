"""What pipelines share: the steps before training and those after it, wired."""
