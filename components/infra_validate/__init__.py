"""Is a candidate fit to be served, in the very server that will serve it?"""
