"""The measured model at a small size, and test-time settings for it."""

from dataclasses import replace

import numpy as np
import torch
from parity_pack import ARCHITECTURE, image, tiny_network
from torch.nn import functional as F

from scan_core.inference.scan import Scan
from scan_core.models.clip import tokenizer_for
from scan_core.params.schema.recipe import ReleasedDefects
from scan_core.params.settings import SettingsTable, TestSettings


def settings(mask_threshold=0.9, clip_weight=0.5, replace_ratio=0.1, **changes) -> TestSettings:
    """Settings whose crops follow the mask threshold, as released."""
    base = TestSettings(
        mask_threshold=mask_threshold,
        crop_threshold=changes.pop("crop_threshold", mask_threshold),
        crop_expansion=1.0,
        clip_weight=clip_weight,
        ensemble="geometric",
        replace_ratio=replace_ratio,
        replace_layers=(1,),
        prompts="single",
        logit_scale=100.0,
        short_side=64,
        longest_side=256,
    )
    return replace(base, **changes)


def small_scan(default: TestSettings, **defects: bool) -> Scan:
    """The model, whose named weights tell words and regions apart."""
    header = {
        "architecture": ARCHITECTURE,
        "prompts": "single",
        "seed": 0,
        "defects": {**dict.fromkeys(ReleasedDefects.model_fields, False), **defects},
        "test_settings": SettingsTable(default, {}).as_dict(),
    }
    return Scan(tiny_network(text_heads=False), tokenizer_for(ARCHITECTURE["clip"]), header)


NAMES = ["sea", "sand", "red ball", "brick wall", "tent"]
VIEW = {"short_side": 96, "replace_layers": (1, 3)}
SETTINGS = settings(0.9, 0.6, 0.5, **VIEW)


def tiny_scan(**defects):
    return small_scan(SETTINGS, **defects)


def picture_of(height, width, seed=11):
    large_enough = image(seed, max(height, 2), max(width, 2))
    return np.ascontiguousarray(large_enough[:, :height, :width].transpose(1, 2, 0))


def class_scores(masks, scores, size):
    """The score of every class at every pixel, all at once."""
    maps = torch.einsum("qk,qhw->khw", scores, masks)
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
