"""Moved to `files`."""

from scan_core.storage.files import read_arrays as load_arrays  # noqa: F401
