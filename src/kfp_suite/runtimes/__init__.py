"""Model servers: each one's layout, configuration and protocol."""
