"""Search hyperparameters: a space, trials that are each a record, and the best of them."""
