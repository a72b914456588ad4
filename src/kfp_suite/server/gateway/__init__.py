"""KServe's routing on one machine: manifests in, real servers behind one address."""
