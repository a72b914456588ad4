"""A scikit-learn family model from a Dataset and a fitted transform."""
