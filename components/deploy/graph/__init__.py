"""An InferenceGraph: several endpoints as one."""
