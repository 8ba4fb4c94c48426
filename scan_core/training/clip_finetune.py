"""Fine-tuning of CLIP's image tower with masks: mined crops against their nouns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from scan_core.datasets.loading import BenchmarkImages
from scan_core.inference.scan import Scan
from scan_core.models.crops import masked_crops
from scan_core.models.preprocessing import clip_view, resize
from scan_core.params.schema.clip_finetune import ClipFinetune
from scan_core.training.clip_pretrain import warmup_cosine
from scan_core.training.contrastive import (
    contrastive_loss,
    multi_positive_loss,
    shifted_image_features,
)
from scan_core.training.loop import Task
from scan_core.training.mask_text_pairs import MaskTextPair
from scan_core.training.processes import gathered_rows
from scan_core.training.sampler import (
    MicroBatches,
    augmentation_stream,
    sample_at,
    seeded,
)

# A crop is cut again, at random, to no less than this share of its area.
SMALLEST_CROP = 0.9


@dataclass(frozen=True)
class CropBatch:
    """A micro-batch.

    Attributes:
        positions: of its pairs in the sequence of all.
        crops: (B, 3, S, S) float32, normalised, CLIP's mean colour outside of the mask.
        masks: (B, S, S) bool.
        images: (B, 3, S, S) float32, the whole images as CLIP takes them.
        nouns: of the crops.
    """

    positions: list[int]
    crops: Tensor
    masks: Tensor
    images: Tensor
    nouns: list[str]


class _Crops(Dataset[CropBatch]):
    def __init__(
        self,
        sides: tuple[int, int],
        pairs: Sequence[MaskTextPair],
        images: BenchmarkImages,
        size: int,
        expansion: float,
        seed: int,
    ) -> None:
        self.sides, self.pairs, self.images = sides, pairs, images
        self.size, self.expansion, self.seed = size, expansion, seed

    def __getitem__(self, position: int) -> CropBatch:
        pair = self.pairs[sample_at(self.seed, position, len(self.pairs))]
        rng = augmentation_stream(self.seed, position)
        image = resize(self.images.image(pair.image), *self.sides)
        mask = torch.from_numpy(pair.mask())[None]
        crops = masked_crops(image, mask, self.size, self.expansion)
        share = rng.uniform(SMALLEST_CROP, 1.0) ** 0.5
        side = max(1, round(share * self.size))
        top, left = (int(rng.integers(self.size - side + 1)) for _ in range(2))
        part = (slice(None), slice(top, top + side), slice(left, left + side))
        again = (self.size, self.size)
        crop = F.interpolate(crops.images[:, :, part[1], part[2]], again, mode="bicubic")
        mask = F.interpolate(
            crops.masks[:, None, part[1], part[2]].to(torch.uint8), again, mode="nearest"
        )[:, 0].bool()
        if rng.random() < 0.5:
            crop, mask = crop.flip(-1), mask.flip(-1)
        crop = crop * mask[:, None]
        return CropBatch([position], crop, mask, clip_view([image], self.size, False), [pair.noun])


def _joined(batches: Sequence[CropBatch]) -> CropBatch:
    return CropBatch(
        [p for b in batches for p in b.positions],
        torch.cat([b.crops for b in batches]),
        torch.cat([b.masks for b in batches]),
        torch.cat([b.images for b in batches]),
        [n for b in batches for n in b.nouns],
    )


class _ShiftedTower(nn.Module):
    """CLIP on masked crops, in one forward pass, as distributed training needs it."""

    def __init__(self, scan: Scan, settings: ClipFinetune) -> None:
        super().__init__()
        self.clip = scan.network.clip
        self.original = scan.network.original_clip
        self.layers = settings.replace_layers if settings.contextual_shift else []
        self.ratio = settings.replace_ratio

    def train(self, mode: bool = True) -> "_ShiftedTower":
        """CLIP has no dropout, and the statistics of its norms stay what they are."""
        return super().train(False)

    def forward(
        self, crops: Tensor, masks: Tensor, images: Tensor, generators: list[torch.Generator] | None
    ) -> Tensor:
        """See `shifted_image_features`."""
        return shifted_image_features(
            self.clip, self.original, crops, masks, images, self.layers, self.ratio, generators
        )


class FinetuneTask(Task):
    """CLIP's image tower learns from masked crops; the text tower is locked.

    Args:
        fabric: launched.
        scan: its `network.clip` is trained, its `network.original_clip` looks at whole images.
        pairs: mined.
        images: that they were mined on.
        settings: of the recipe.
        seed: of all random numbers.
        workers: processes that read images.
    """

    def __init__(
        self,
        fabric: Fabric,
        scan: Scan,
        pairs: Sequence[MaskTextPair],
        images: BenchmarkImages,
        settings: ClipFinetune,
        seed: int,
        workers: int,
    ) -> None:
        self.fabric, self.scan, self.settings, self.seed = fabric, scan, settings, seed
        self.pairs, self.images, self.workers = pairs, images, workers
        clip = scan.network.clip.requires_grad_(False)
        clip.visual.requires_grad_(True)
        self.clip = clip
        self.module = _ShiftedTower(scan, settings)
        named = list(clip.visual.named_parameters())
        gain_or_bias = {n for n, p in named if p.ndim < 2 or "ln_" in n or "bias" in n}
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": [p for n, p in named if n not in gain_or_bias],
                    "weight_decay": settings.weight_decay,
                },
                {"params": [p for n, p in named if n in gain_or_bias], "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
            betas=(0.9, 0.98),
            eps=1e-6,
            fused=True,
        )
        nouns = sorted({pair.noun for pair in pairs})
        self.row = {noun: row for row, noun in enumerate(nouns)}
        self.text = scan.text_encoder(nouns).to(fabric.device)
        self.steps = max(1, settings.epochs * len(pairs) // settings.batch_size)

    def learning_rate(self, step: int) -> float:
        """Warm-up, then half a cosine."""
        warmup = min(self.settings.warmup_steps, self.steps // 2)
        return self.settings.learning_rate * warmup_cosine(step, self.steps, warmup)

    def batches(self, first_step: int) -> Iterator[Sequence[CropBatch]]:
        """See `Task`."""
        positions = MicroBatches(
            first_step,
            self.settings.batch_size,
            self.fabric.global_rank,
            self.fabric.world_size,
            1,
        )
        dataset = _Crops(
            (self.scan.settings.short_side, self.scan.settings.longest_side),
            self.pairs,
            self.images,
            self.scan.network.clip.visual.image_size[0],
            self.scan.settings.crop_expansion,
            self.seed,
        )
        loader = iter(
            DataLoader(
                dataset,
                batch_sampler=positions,
                collate_fn=_joined,
                num_workers=self.workers,
                prefetch_factor=4 if self.workers else None,
                generator=torch.Generator(),  # see training_loader of the segmenter
            )
        )
        while True:
            yield list(islice(loader, 1))

    def losses(
        self, module: nn.Module, batch: CropBatch, step: int, batches: Sequence[CropBatch]
    ) -> dict[str, Tensor]:
        """See `Task`."""
        device = self.fabric.device
        features = module(
            batch.crops.to(device),
            batch.masks.to(device),
            batch.images.to(device),
            None
            if self.scan.defects.global_random_draws
            else [seeded(torch.device("cpu"), self.seed, 104, p) for p in batch.positions],
        )
        rows = torch.tensor([self.row[noun] for noun in batch.nouns], device=device)
        # Every crop is compared to the nouns of the whole step, wherever they are.
        features, rows = gathered_rows(self.fabric, features), gathered_rows(self.fabric, rows)
        scale = self.clip.logit_scale.exp()
        if self.settings.loss == "diagonal":
            return {"loss": contrastive_loss(features, self.text[rows], scale)}
        unique, owner = rows.unique(return_inverse=True)
        return {"loss": multi_positive_loss(features, self.text[unique], owner, scale)}

    def names(self, batch: CropBatch) -> list[str]:
        """See `Task`."""
        return [
            self.pairs[sample_at(self.seed, position, len(self.pairs))].stem
            for position in batch.positions
        ]
