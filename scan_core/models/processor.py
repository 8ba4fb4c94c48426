"""Moved."""

from scan_core.models.cpu_linear import about_processor as about_processor
