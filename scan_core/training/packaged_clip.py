"""The small CLIP that comes with the package: which of it is kept, how good it is, and its card."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from open_clip import CLIP
from torch import Tensor
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
_CARD = """# mini_clip: a small CLIP of the miniature world

It stands in the demo where the paper's recipes download a CLIP of the web: both towers of
`open_clip.CLIP`, {parameters:.1f} million parameters in half precision. {embedding:.1f} million of
them are zero and not in the file: the embeddings of words that the miniature world does not have.

## Training

From nothing, on pictures that the miniature world draws, with seed {seed}: {images:,} captioned
pictures (things, stuff, whole scenes); in the last {cutout_steps:,} of {steps:,} steps of
{batch_size} three quarters are from {cutouts:,} segments of scenes under imperfect masks, such as a
segmenter proposes. Their words include those that the segmenter is never trained on, as the
paper's CLIP has read of more than COCO's classes. No picture of a benchmark is among them.

    make weights        # trains one like it: about 10 minutes on two idle cores

`clip.source: train` trains one with the recipe's own seed in its place. The settings are those of
`clip.pretraining` in `params.yaml`.

## Numbers

Shares of {number:,} freshly drawn segments, under imperfect masks, that get the right name:

| | among | right |
| --- | --- | --- |
| things, by their noun | 13 nouns | {shapes:.1%} |
| things, by colour and noun | 104 names | {coloured_things:.1%} |
| stuff, and things known by their surroundings | 24 names | {stuff:.1%} |

Twelve of the last 24 look exactly like another, such as sun and lamp. Cut out of their surroundings
no more than every second of them can be told.

## Limits

It knows the {words} words of the miniature world and nothing else: no photograph, no other word.
All unknown words are one and the same to it.
"""


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


def card(clip: CLIP, header: Mapping[str, Any], accuracy: Mapping[str, float], tokens: int) -> str:
    """The card of the packaged CLIP, in Markdown.

    Args:
        clip: the model.
        header: of its file: `clip`, its block of the recipe, and `seed`.
        accuracy: see `zero_shot_accuracy`, with `number`.
        tokens: rows of the token embedding that are kept.
    """
    embedding = clip.token_embedding.weight
    words = {word for concept in CONCEPTS for name in concept.names for word in name.split()}
    return _CARD.format(
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
