"""Save, load and predict with a trained model."""
