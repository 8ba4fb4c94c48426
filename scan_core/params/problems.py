"""Moved."""

from scan_core.params.reading import nested_blocks as nested_blocks
