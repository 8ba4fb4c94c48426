"""Moved to `files`."""

from scan_core.storage.files import atomic_folder as atomic_folder
from scan_core.storage.files import atomic_path as atomic_path
from scan_core.storage.files import remove_leftovers as remove_leftovers
from scan_core.storage.files import write_text as write_text
