"""Moved."""

from scan_core.vocabulary.classes import prompt_templates as prompt_templates
