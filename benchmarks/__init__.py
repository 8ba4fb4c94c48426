"""Measurements of speed and memory; each prints ratios to a baseline of the same run."""
