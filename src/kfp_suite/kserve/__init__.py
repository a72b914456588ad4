"""InferenceService manifests: build, apply, wait."""
