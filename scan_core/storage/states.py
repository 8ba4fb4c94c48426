"""Moved to `weights`."""

from scan_core.storage.weights import load_state as load_state
from scan_core.storage.weights import save_state as save_state
