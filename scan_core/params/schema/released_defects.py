"""Moved."""

from scan_core.params.schema.recipe import ReleasedDefects as ReleasedDefects
