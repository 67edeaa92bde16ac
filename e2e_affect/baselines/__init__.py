"""Rivals: what learns from hand-crafted features, each a file, each a `Predictor`."""
