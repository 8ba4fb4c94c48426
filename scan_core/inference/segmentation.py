"""Moved."""

from scan_core.inference.scan import Segmentation as Segmentation
from scan_core.inference.scan import SegmentMask as SegmentMask
from scan_core.inference.scan import as_array as as_array
