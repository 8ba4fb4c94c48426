"""Fine-tuning of CLIP's image tower with masks: mined crops against their nouns."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from scan_core.datasets.loading import BenchmarkImages
from scan_core.inference.scan import Scan
from scan_core.models.clip_towers import ClipInput
from scan_core.models.crops import masked_crops
from scan_core.models.preprocessing import clip_view, resize
from scan_core.params.schema.clip_finetune import ClipFinetune
from scan_core.training.batches import Batch, read_steps
from scan_core.training.clip_pretrain import warmup_cosine
from scan_core.training.contrastive import (
    contrastive_loss,
    multi_positive_loss,
    shifted_image_features,
)
from scan_core.training.loop import Task
from scan_core.training.mask_text_pairs import MaskTextPair
from scan_core.training.pair_order import PairOrder, RowsOfReaders
from scan_core.training.processes import gathered_rows
from scan_core.training.sampler import MicroBatches, augmentation_stream, seeded

# A crop is cut again, at random, to no less than this share of its area.
SMALLEST_CROP = 0.9


@dataclass(frozen=True)
class CropBatch(Batch):
    """A micro-batch, its crops in the parts that they were read in.

    Attributes:
        positions: of its pairs in the order of all.
        stems: names of their images.
        crops: parts of (B, 3, S, S) float32, normalised, CLIP's mean colour outside of the mask.
        masks: parts of (B, S, S) bool.
        images: parts of (B, 3, S, S) float32, the whole images as CLIP takes them.
        nouns: (U,) int64, which nouns the whole step has, over all processes.
        owners: (N,) int64, which of these each crop of the whole step shows.
    """

    positions: list[int]
    stems: list[str]
    crops: list[Tensor]
    masks: list[Tensor]
    images: list[Tensor]
    nouns: Tensor
    owners: Tensor


class _Crops(Dataset[CropBatch]):
    """Crops by position; an item is a batch of one, without the nouns of its step.

    Args:
        sides: shortest and longest of the image that masks belong to, pixels.
        pairs: mined.
        order: of them.
        images: that they were mined on.
        clip_input: how CLIP takes its images.
        expansion: of the masks' boxes.
        seed: of the random cut and mirroring.
    """

    def __init__(
        self,
        sides: tuple[int, int],
        pairs: Sequence[MaskTextPair],
        order: PairOrder,
        images: BenchmarkImages,
        clip_input: ClipInput,
        expansion: float,
        seed: int,
    ) -> None:
        self.sides, self.pairs, self.order, self.images = sides, pairs, order, images
        self.clip_input, self.expansion, self.seed = clip_input, expansion, seed
        # Row of the batch -> the image that it is at: its number, itself, and CLIP's view of it.
        self.current: dict[int, tuple[int, Tensor, Tensor]] = {}

    def __getitem__(self, position: int) -> CropBatch:
        pair = self.pairs[self.order[position]]
        rng = augmentation_stream(self.seed, position)
        image, view = self._read(position % self.order.rows, pair.image)
        mask = torch.from_numpy(pair.mask())[None]
        crops = masked_crops(image, mask, self.clip_input, self.expansion)
        share = rng.uniform(SMALLEST_CROP, 1.0) ** 0.5
        size = self.clip_input.size
        side = max(1, round(share * size))
        top, left = (int(rng.integers(size - side + 1)) for _ in range(2))
        part = (slice(None), slice(top, top + side), slice(left, left + side))
        again = (size, size)
        crop = F.interpolate(crops.images[:, :, part[1], part[2]], again, mode="bicubic")
        mask = F.interpolate(
            crops.masks[:, None, part[1], part[2]].to(torch.uint8), again, mode="nearest"
        )[:, 0].bool()
        if rng.random() < 0.5:
            crop, mask = crop.flip(-1), mask.flip(-1)
        crop = crop * mask[:, None]
        none = torch.empty(0, dtype=torch.int64)
        return CropBatch([position], [pair.stem], [crop], [mask], [view], none, none)

    def _read(self, row: int, number: int) -> tuple[Tensor, Tensor]:
        if row not in self.current or self.current[row][0] != number:
            image = resize(self.images.image(number), *self.sides)
            self.current[row] = (number, image, clip_view([image], self.clip_input, False))
        return self.current[row][1:]


def _joined(batches: Sequence[CropBatch]) -> CropBatch:
    """One part of what was read one by one."""
    together = _listed(batches)
    return replace(
        together,
        crops=[torch.cat(together.crops)],
        masks=[torch.cat(together.masks)],
        images=[torch.cat(together.images)],
    )


def _listed(batches: Sequence[CropBatch]) -> CropBatch:
    """All parts, none copied."""
    return replace(
        batches[0],
        positions=[p for b in batches for p in b.positions],
        stems=[s for b in batches for s in b.stems],
        crops=[c for b in batches for c in b.crops],
        masks=[m for b in batches for m in b.masks],
        images=[i for b in batches for i in b.images],
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
        number = {noun: row for row, noun in enumerate(nouns)}
        self.noun_of = np.array([number[pair.noun] for pair in pairs])
        self.order = PairOrder([pair.image for pair in pairs], settings.batch_size, seed)
        self.text = scan.text_encoder(nouns).to(fabric.device)
        self.steps = max(1, settings.epochs * len(pairs) // settings.batch_size)

    def learning_rate(self, step: int) -> float:
        """Warm-up, then half a cosine."""
        warmup = min(self.settings.warmup_steps, self.steps // 2)
        return self.settings.learning_rate * warmup_cosine(step, self.steps, warmup)

    def batches(self, first_step: int) -> Iterator[Sequence[CropBatch]]:
        """See `Task`."""
        size, processes = self.settings.batch_size, self.fabric.world_size
        mine = MicroBatches(first_step, size, self.fabric.global_rank, processes, 1)
        readers = max(1, min(self.workers, size // processes))
        dataset = _Crops(
            (self.scan.settings.short_side, self.scan.settings.longest_side),
            self.pairs,
            self.order,
            self.images,
            self.scan.network.clip.visual.input,
            self.scan.settings.crop_expansion,
            self.seed,
        )
        parts_of_steps = read_steps(
            dataset,
            RowsOfReaders(mine, readers),
            _joined,
            min(self.workers, readers),
            readers,
            processes,
        )
        with closing(parts_of_steps):  # type: ignore[type-var]
            for step, parts in enumerate(parts_of_steps, start=first_step):
                yield [self._with_nouns(_listed(parts), step)]

    def _with_nouns(self, batch: CropBatch, step: int) -> CropBatch:
        """Tell a batch what the whole step shows: every process knows it from the order alone."""
        size = self.settings.batch_size
        shown = [self.noun_of[self.order[step * size + row]] for row in range(size)]
        nouns, owners = map(torch.from_numpy, np.unique(shown, return_inverse=True))
        if self.fabric.device.type == "cuda":
            nouns, owners = nouns.pin_memory(), owners.pin_memory()
        return replace(batch, nouns=nouns, owners=owners)

    def losses(
        self, module: nn.Module, batch: CropBatch, step: int, batches: Sequence[CropBatch]
    ) -> dict[str, Tensor]:
        """See `Task`."""
        features = module(
            torch.cat(batch.crops),
            torch.cat(batch.masks),
            torch.cat(batch.images),
            None
            if self.scan.defects.global_random_draws
            else [seeded(torch.device("cpu"), self.seed, 104, p) for p in batch.positions],
        )
        # Every crop is compared to the nouns of the whole step, wherever they are.
        features = gathered_rows(self.fabric, features)
        scale, text = self.clip.logit_scale.exp(), self.text[batch.nouns]
        if self.settings.loss == "diagonal":
            return {"loss": contrastive_loss(features, text[batch.owners], scale)}
        return {"loss": multi_positive_loss(features, text, batch.owners, scale)}

    def names(self, batch: CropBatch) -> list[str]:
        """See `Task`."""
        return batch.stems
