"""Benchmarks: raw archives, converters, index, and the miniature world."""
