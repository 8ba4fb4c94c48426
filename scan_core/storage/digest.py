"""Moved to `files`."""

from scan_core.storage.files import file_digest as file_digest
