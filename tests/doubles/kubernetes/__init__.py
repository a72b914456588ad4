"""A stateful Kubernetes API server on loopback, with a controller that plays KServe."""
