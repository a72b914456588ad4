"""A feature spec fitted on the train split."""
