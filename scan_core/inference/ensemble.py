"""Moved."""

from scan_core.inference.class_map import combine_scores as combine_scores
from scan_core.inference.class_map import merge_synonyms as merge_synonyms
