"""Moved to `files`."""

from scan_core.storage.files import folder_fingerprint as listing  # noqa: F401
