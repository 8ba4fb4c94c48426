"""Moved."""

from scan_core.params.schema.recipe import Params as Params
