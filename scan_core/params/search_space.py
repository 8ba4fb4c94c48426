"""Moved."""

from scan_core.params.settings import searched_benchmarks as searched_benchmarks
