"""Statistics, schema, anomalies, skew and drift of a Dataset."""
