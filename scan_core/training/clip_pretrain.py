"""Pre-training of a small CLIP on the captioned pictures of the miniature world."""

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from open_clip import CLIP
from torch import Tensor, nn
from torch.nn import functional as F

from scan_core.datasets.miniworld.captions import (
    CaptionedPicture,
    captioned_cutouts,
    captioned_images,
)
from scan_core.models.clip import Tokenizer, encode_images, encode_texts
from scan_core.models.preprocessing import normalise
from scan_core.params.provenance import package_hash
from scan_core.params.schema.clip import Clip, ClipPretraining
from scan_core.training.batches import augmentation_stream, micro_batches, sample_at
from scan_core.training.loop import LoopSettings, Record, Task, adamw, train
from scan_core.vocabulary.classes import prompt_templates

_log = logging.getLogger(__name__)
# Weights of the losses for a picture's names: noun, with colour, with pattern too.
NAME_WEIGHTS = (1.2, 1.2, 0.6)
CLIP_ADAMW: dict[str, Any] = {"betas": (0.9, 0.98), "eps": 1e-6}  # of CLIP's own trainings
# The other pictures keep what is learnt of whole scenes, which the segmenter's context comes from.
SHARE_OF_CUTOUTS = 0.75


def pretrain_clip(
    fabric: Fabric,
    model: CLIP,
    tokenizer: Tokenizer,
    clip: Clip,
    seed: int,
    work: Path,
    workers: int,
    record: Record | None,
) -> Path:
    """Train a CLIP of random weights in place, and return the record of its training."""
    settings, size = clip.pretraining, model.visual.image_size[0]
    assert settings is not None  # the schema demands it with `source: train`
    cutouts = settings.cutouts if settings.cutout_steps else 0
    _log.info("drawing %d captioned pictures", settings.images + cutouts)
    task = ClipTask(
        fabric,
        model,
        tokenizer,
        prompt_templates("vild"),
        list(captioned_images(seed, settings.images, size, workers)),
        list(captioned_cutouts(seed, cutouts, size, workers)),
        settings,
        seed,
    )
    identity = {"clip": clip.model_dump(), "seed": seed, "code": package_hash(__name__)}
    return train(fabric, task, LoopSettings(settings.steps), work, identity, record)


class CaptionBatch(NamedTuple):
    """Pictures and, for each of the three losses, a text for each.

    Attributes:
        images: (B, 3, S, S) uint8.
        texts: three lists of B texts.
    """

    images: Tensor
    texts: list[list[str]]


class _Towers(nn.Module):
    """Both towers in one forward pass, as distributed training needs it."""

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, images: Tensor, texts: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Features of unit length: (B, E) of the images, (U_i, E) of each set of tokens."""
        features = F.normalize(encode_images(self.clip.visual, images), dim=-1)
        # Together: the gradient of the token embedding, most of the parameters, is made once.
        embedded = F.normalize(encode_texts(self.clip, torch.cat(list(texts))), dim=-1)
        return features, list(embedded.split([len(tokens) for tokens in texts]))


class ClipTask(Task):
    """A CLIP that learns to read.

    Each picture has several names, the most general first. Three contrastive losses compare the
    pictures of a batch to their first, second and third names, each within one prompt template.
    Equal texts of a batch count as one, with several pictures that fit.

    Args:
        fabric: launched.
        clip: to be trained.
        tokenizer: of it.
        templates: into which names are put.
        pictures: (N, S, S, 3) uint8, with their names, the most general first. Whole captions
            have a full stop.
        cutouts: the same of segments under masks.
        settings: of the recipe.
        seed: of all random numbers.
    """

    def __init__(
        self,
        fabric: Fabric,
        clip: CLIP,
        tokenizer: Tokenizer,
        templates: Sequence[str],
        pictures: Sequence[CaptionedPicture],
        cutouts: Sequence[CaptionedPicture],
        settings: ClipPretraining,
        seed: int,
    ) -> None:
        self.fabric, self.settings, self.seed = fabric, settings, seed
        self.tokenizer, self.templates = tokenizer, templates
        self.pictures, self.cutouts = pictures, cutouts
        self.module = _Towers(clip.requires_grad_(True))
        self.clip = clip
        self.optimizer = adamw(
            [p for p in clip.parameters() if p.ndim >= 2],
            [p for p in clip.parameters() if p.ndim < 2],
            settings.learning_rate,
            settings.weight_decay,
            **CLIP_ADAMW,
        )

    def learning_rate(self, step: int) -> float:
        s = self.settings
        return s.learning_rate * warmup_cosine(step, s.steps, s.warmup_steps)

    def batches(self, first_step: int) -> Iterator[Sequence[CaptionBatch]]:
        processes = self.fabric.global_rank, self.fabric.world_size
        for positions in micro_batches(first_step, self.settings.batch_size, *processes):
            yield [self._batch(positions)]

    def _batch(self, positions: Sequence[int]) -> CaptionBatch:
        images, texts = [], [[], [], []]  # type: ignore[var-annotated]
        s = self.settings
        first_cutout = (s.steps - s.cutout_steps) * s.batch_size
        step_rng = augmentation_stream(self.seed + 1, positions[0])
        templates = [
            self.templates[int(step_rng.integers(len(self.templates)))] for _ in NAME_WEIGHTS
        ]
        for position in positions:
            rng = augmentation_stream(self.seed, position)
            mirrored = rng.random() < 0.5
            is_cutout = position >= first_cutout and rng.random() < SHARE_OF_CUTOUTS
            of = self.cutouts if is_cutout else self.pictures
            picture, names = of[sample_at(self.seed, position, len(of))]
            images.append(picture[:, ::-1] if mirrored else picture)
            caption = names[0].endswith(".") or len(names) > len(NAME_WEIGHTS)
            for level, template in enumerate(templates):
                last = len(names) - 1
                name = names[int(rng.integers(len(names))) if caption else min(level, last)]
                texts[level].append(name if caption else template.format(name))
        stacked = np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
        return CaptionBatch(torch.from_numpy(stacked), texts)

    def losses(
        self, module: nn.Module, batch: CaptionBatch, step: int, batches: Sequence[CaptionBatch]
    ) -> dict[str, Tensor]:
        device, wanted = self.fabric.device, self.clip.visual.input
        images = normalise(batch.images, wanted.mean, wanted.std)
        unique = [sorted(set(texts)) for texts in batch.texts]
        tokens = [self.tokenizer(texts).to(device) for texts in unique]
        features, embedded = module(images, tokens)
        scale = self.clip.logit_scale.exp().clamp(max=100)
        losses = {}
        for level, weight in enumerate(NAME_WEIGHTS):
            row = {text: number for number, text in enumerate(unique[level])}
            owner = torch.tensor([row[text] for text in batch.texts[level]], device=device)
            loss = multi_positive_loss(features, embedded[level], owner, scale)
            losses[f"loss_name_{level + 1}"] = weight * loss
        return {"loss": sum(losses.values(), start=torch.zeros((), device=device)), **losses}


def contrastive_loss(image_features: Tensor, text_features: Tensor, scale: Tensor) -> Tensor:
    """CLIP's symmetric loss: each image is to find its text among the batch, and the reverse.

    Args:
        image_features: (N, E) of unit length.
        text_features: (N, E) of unit length.
        scale: scalar factor of the similarities.

    Returns:
        scalar.
    """
    logits = scale * image_features @ text_features.T
    truth = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


def multi_positive_loss(
    image_features: Tensor, text_features: Tensor, owner: Tensor, scale: Tensor
) -> Tensor:
    """The symmetric loss where several images share a text: equal texts count as one.

    Every image is to find its text among the U texts; every text is to spread evenly over its
    images among the N. With all texts different it equals `contrastive_loss`.

    Args:
        image_features: (N, E) of unit length.
        text_features: (U, E) of unit length.
        owner: (N,) int64, the text of each image; every text is some image's.
        scale: scalar factor of the similarities.

    Returns:
        scalar.
    """
    logits = scale * image_features @ text_features.T
    to_text = F.cross_entropy(logits, owner)
    fits = F.one_hot(owner, len(text_features)).T.to(logits.dtype)
    to_image = F.cross_entropy(logits.T, fits / fits.sum(dim=1, keepdim=True))
    return (to_text + to_image) / 2


def warmup_cosine(step: int, steps: int, warmup_steps: int) -> float:
    """Factor of the learning rate: a linear warm-up, then half a cosine down to zero."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return (1 + math.cos(math.pi * progress)) / 2
