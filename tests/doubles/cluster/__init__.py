"""A Kubernetes API server with KServe on it, on the loopback address."""
