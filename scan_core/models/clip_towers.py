"""Moved."""

from open_clip import CLIP as CLIP
from open_clip.transformer import QuickGELU as QuickGELU
from open_clip.transformer import VisionTransformer as VisionTransformer

from scan_core.models.preprocessing import ClipInput as ClipInput
