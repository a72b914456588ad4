"""Components, pipelines and tools that turn data into versioned KServe endpoints."""
