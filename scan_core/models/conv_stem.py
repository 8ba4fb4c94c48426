"""Moved."""

from scan_core.models.clip import ConvStem as ConvStem
