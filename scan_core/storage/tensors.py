"""Moved to `weights`."""

from scan_core.storage.weights import copy_with_header as copy_with_header
from scan_core.storage.weights import load_foreign as load_foreign
from scan_core.storage.weights import load_tensors as load_tensors
from scan_core.storage.weights import save_tensors as save_tensors
