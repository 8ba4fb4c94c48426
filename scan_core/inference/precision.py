"""Moved."""

from scan_core.inference.devices import TowerByPrecision as Towers  # noqa: F401
from scan_core.inference.devices import stored_dtype as stored_dtype
from scan_core.inference.devices import tensor_float as tensor_float
