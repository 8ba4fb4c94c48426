"""Moved."""

from scan_core.models.preprocessing import PIXEL_MEAN as PIXEL_MEAN
from scan_core.models.preprocessing import PIXEL_STD as PIXEL_STD
from scan_core.models.preprocessing import STRIDE as STRIDE
from scan_core.models.scan import ProposalNetwork as ProposalNetwork
