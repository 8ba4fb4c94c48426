"""Moved."""

from scan_core.params.schema.clip import ClipFinetune as ClipFinetune
