"""Mutable references (sources, module file, champion) to URIs and digests."""
