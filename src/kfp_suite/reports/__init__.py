"""Self-contained HTML pages for the KFP UI."""
