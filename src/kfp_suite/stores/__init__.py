"""A folder, Cloud Storage or S3: read, list, create exclusively."""
