"""An InferenceService for a published version."""
