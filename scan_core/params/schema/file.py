"""Moved."""

from scan_core.params.schema.grids import Params as Params
