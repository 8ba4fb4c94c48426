"""The small CLIP that comes with the package: which of it is kept, how good it is, and its card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import StrictUndefined, Template
from open_clip import CLIP
from torch.nn import functional as F

from scan_core.datasets.miniworld.captions import captioned_cutouts, scene_captions
from scan_core.datasets.miniworld.concepts import COLORS, CONCEPTS, LANDMARKS, SHAPES, STUFF
from scan_core.datasets.miniworld.scenes import draw_scene
from scan_core.models.clip import Tokenizer, encode_images
from scan_core.models.preprocessing import normalise
from scan_core.models.text_features import TextEncoder
from scan_core.vocabulary.classes import prompt_templates

_SCENES = 400  # whose captions have all words that captions can have
# No training draws with this seed.
_FRESH = 987_654


def tokens_of_the_world(tokenizer: Tokenizer) -> set[int]:
    """Every token of every name in every template, and of captions."""
    texts = [
        template.format(name)
        for concept in CONCEPTS
        for name in concept.names
        for template in prompt_templates("vild")
    ]
    for number in range(_SCENES):
        rng = np.random.default_rng([8, number])
        texts += scene_captions(rng, draw_scene((8,), number, 64))
    return set(np.unique(tokenizer(texts).numpy()).tolist())


def card(
    name: str, clip: CLIP, header: Mapping[str, Any], accuracy: Mapping[str, float], tokens: int
) -> str:
    """The card of the packaged CLIP, in Markdown.

    Args:
        name: of the weights.
        clip: the model.
        header: of its file: `clip`, its block of the recipe, and `seed`.
        accuracy: see `zero_shot_accuracy`, with `number`.
        tokens: rows of the token embedding that are kept.
    """
    embedding = clip.token_embedding.weight
    words = {word for concept in CONCEPTS for name in concept.names for word in name.split()}
    template = Path(__file__).with_name("packaged_clip.md.jinja").read_text(encoding="utf-8")
    return Template(template, undefined=StrictUndefined, keep_trailing_newline=True).render(
        name=name,
        parameters=sum(p.numel() for p in clip.parameters()) / 1e6,
        embedding=(len(embedding) - tokens) * embedding.shape[1] / 1e6,
        seed=header["seed"],
        words=len(words),
        **accuracy,
        **header["clip"]["pretraining"],
    )


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
    drawn = list(captioned_cutouts(_FRESH, number, clip.visual.image_size[0]))
    pixels = torch.from_numpy(np.stack([picture for picture, _ in drawn])).permute(0, 3, 1, 2)
    images = normalise(pixels, clip.visual.input.mean, clip.visual.input.std)
    features = torch.cat(
        [F.normalize(encode_images(clip.visual, part), dim=-1) for part in images.split(64)]
    )
    encoder = TextEncoder(clip, tokenizer, prompt_templates("vild"), None)
    drawn_names = [names for _, names in drawn]
    asked = {
        "shapes": (True, SHAPES, 0),
        "coloured_things": (True, [f"{color} {shape}" for shape in SHAPES for color in COLORS], 1),
        "stuff": (False, (*STUFF, *LANDMARKS), -1),
    }
    shares = {}
    for kind, (are_things, names, which) in asked.items():
        chosen = [n for n, own in enumerate(drawn_names) if (own[0] in SHAPES) == are_things]
        found = (features[chosen] @ encoder(names).T).argmax(dim=1).tolist()
        right = [names[f] == drawn_names[n][which] for f, n in zip(found, chosen, strict=True)]
        shares[kind] = sum(right) / len(right)
    return shares
