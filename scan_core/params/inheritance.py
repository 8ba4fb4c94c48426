"""Moved."""

from scan_core.params.reading import merged as merged
from scan_core.params.reading import with_inherited as with_inherited
