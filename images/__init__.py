"""What container images are made from: a Dockerfile, and locked requirements a family."""
