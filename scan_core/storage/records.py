"""Moved to `files`."""

from scan_core.storage.files import read_json as read_record  # noqa: F401
from scan_core.storage.files import write_json as write_record  # noqa: F401
