"""What a small CLIP knows of the miniature world: zero-shot names of freshly drawn segments."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scan_core.datasets.miniworld.captions import captioned_cutouts
from scan_core.datasets.miniworld.concepts import COLORS, LANDMARKS, SHAPES, STUFF
from scan_core.models.clip import Tokenizer, encode_images
from scan_core.models.clip_towers import CLIP
from scan_core.models.preprocessing import normalise
from scan_core.models.text_features import TextEncoder
from scan_core.vocabulary.prompts import prompt_templates

# No training draws with this seed.
FRESH = 987_654


@torch.inference_mode()
def zero_shot_accuracy(clip: CLIP, tokenizer: Tokenizer, number: int) -> dict[str, float]:
    """Shares of fresh segments, under imperfect masks, that are given the right name.

    Args:
        clip: the model, in evaluation mode.
        tokenizer: of it.
        number: of segments to draw.

    Returns:
        `shapes`: of things, among 13 nouns; `coloured_things`: among 104 names such as "red
        ball"; `stuff`: of everything else, among 24 names, some of which look alike.
    """
    drawn = list(captioned_cutouts(FRESH, number, clip.visual.image_size[0]))
    pixels = torch.from_numpy(np.stack([picture for picture, _ in drawn])).permute(0, 3, 1, 2)
    images = normalise(pixels, clip.visual.input.mean, clip.visual.input.std)
    features = torch.cat(
        [F.normalize(encode_images(clip.visual, part), dim=-1) for part in images.split(64)]
    )
    encoder = TextEncoder(clip, tokenizer, prompt_templates("vild"), None)
    things = torch.tensor([names[0] in SHAPES for _, names in drawn])
    of_things = [names for _, names in drawn if names[0] in SHAPES]
    of_stuff = [names for _, names in drawn if names[0] not in SHAPES]
    coloured = [f"{color} {shape}" for shape in SHAPES for color in COLORS]
    return {
        "shapes": _share(features[things], encoder(SHAPES), SHAPES, [n[0] for n in of_things]),
        "coloured_things": _share(
            features[things], encoder(coloured), coloured, [n[1] for n in of_things]
        ),
        "stuff": _share(
            features[~things],
            encoder((*STUFF, *LANDMARKS)),
            (*STUFF, *LANDMARKS),
            [n[-1] for n in of_stuff],
        ),
    }


def _share(features: Tensor, text: Tensor, names: Sequence[str], truth: Sequence[str]) -> float:
    found = (features @ text.T).argmax(dim=1).tolist()
    return sum(names[i] == name for i, name in zip(found, truth, strict=True)) / len(truth)
