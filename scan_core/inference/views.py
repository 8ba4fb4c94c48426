"""Moved."""

from scan_core.inference.image_features import ImageViews as ImageViews
from scan_core.inference.image_features import View as View
