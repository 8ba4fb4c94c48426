"""Moved."""

from scan_core.params.settings import resolve_settings as resolve_settings
from scan_core.params.settings import settings_table as settings_table
