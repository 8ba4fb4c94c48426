"""Fine-tuning of CLIP's image tower with masks: mined crops against their nouns.

The crops have the contextual shift: each one's own image is its context.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.inference.assembly import assemble
from scan_core.inference.scan import Scan
from scan_core.models.contextual_shift import shifted_image_features
from scan_core.models.crops import masked_crops
from scan_core.models.preprocessing import ClipInput, resize, resize_for_clip
from scan_core.params.recipe_part import RecipePart
from scan_core.params.schema.clip import ClipFinetune
from scan_core.params.settings import TestSettings
from scan_core.training.batches import augmentation_stream, micro_batches, read_steps, seeded
from scan_core.training.clip_pretrain import (
    CLIP_ADAMW,
    contrastive_loss,
    multi_positive_loss,
    warmup_cosine,
)
from scan_core.training.loop import LoopSettings, Record, Task, adamw, identity_of, train
from scan_core.training.mining import MaskTextPairs
from scan_core.training.processes import all_gather, launch_fabric

# A crop is cropped again, at random, to no less than this share of its area.
MIN_CROP = 0.9


def finetune_clip(
    part: RecipePart,
    clip_file: Path,
    pairs_file: Path,
    index_file: Path,
    work: Path,
    devices: str = "auto",
    nodes: int = 1,
    workers: int = 1,
    record: Record | None = None,
) -> tuple[Scan, Path, bool]:
    """Fine-tune CLIP's image tower with masks.

    Args:
        part: of the fine-tuning stage.
        clip_file: CLIP's weights before.
        pairs_file: mined.
        index_file: of the benchmark that the pairs were mined on.
        work: folder for checkpoints; the same call continues from them.
        devices: per node: a number, or `auto`.
        nodes: machines.
        workers: processes that read images, per device.
        record: see `loop.train`.

    Returns:
        a model with the fine-tuned CLIP, the record of the training, and whether this is the
        first process.

    Raises:
        InputError: files that do not fit, or a loss that is NaN or infinite.
    """
    settings = part.clip_finetune
    if settings is None:
        raise InputError("--recipe-part: this stage needs the key 'clip_finetune'")
    fabric = launch_fabric(settings.precision, devices, nodes)
    scan = assemble(part, clip_file)
    scan.network.to(fabric.device)
    images, pairs = BenchmarkImages(index_file, "train"), MaskTextPairs(pairs_file)
    task = FinetuneTask(fabric, scan, pairs, images, settings, part.seed, workers)
    torch.manual_seed(part.seed)
    identity = identity_of(part, __name__, data=index_file, pairs=pairs_file, clip=clip_file)
    made = train(fabric, task, LoopSettings(task.steps), work, identity, record)
    return scan, made, fabric.is_global_zero


class PairOrder:
    """Which pair stands at a position, which is step × batch size + row.

    Row i of every batch continues where row i of the previous batch stopped, and takes the pairs
    of one image after the other: whoever reads for a row reads each image once, and the crops of a
    batch are of different images, as if pairs were drawn at random.

    In every epoch images and the pairs of each are shuffled anew. If the number of pairs is no
    multiple of the batch size, a different remainder is left out of each epoch.

    Args:
        images: of each pair, the number of its image.
        batch_size: rows.
        seed: of the order.
    """

    def __init__(
        self, images: Sequence[int] | NDArray[np.int32], batch_size: int, seed: int
    ) -> None:
        _, self.image = np.unique(np.asarray(images), return_inverse=True)
        self.rows, self.seed = batch_size, seed
        self.steps = max(1, len(images) // batch_size)
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, position: int) -> int:
        step, row = divmod(position, self.rows)
        epoch, step = divmod(step, self.steps)
        if epoch != self._epoch:
            rng = np.random.default_rng([self.seed, 101, epoch])
            of_image = rng.permutation(self.image.max() + 1)
            self._order = np.lexsort((rng.random(len(self.image)), of_image[self.image]))
            self._epoch = epoch
        return int(self._order[(row * self.steps + step) % len(self._order)])


def rows_of_readers(positions: Iterable[list[int]], readers: int) -> Iterator[list[int]]:
    """A process's positions of each step, cut into a part for each of its readers.

    A row of the batch always falls to the same reader (a batch sampler: PyTorch's loader gives
    its batches to its workers in turn).

    Args:
        positions: of the process, a batch of each step.
        readers: number of parts, not above the length of a batch.
    """
    for mine in positions:
        for part in np.array_split(mine, readers):
            yield part.tolist()


class CropBatch(NamedTuple):
    """What one reader has read for a step.

    Attributes:
        positions: of its pairs in the order of all.
        stems: names of their images.
        crops: (B, 3, S, S) float32, normalised, CLIP's mean colour outside of the mask.
        masks: (B, S, S) bool.
        images: (B, 3, S, S) float32, the whole images as CLIP takes them.
    """

    positions: list[int]
    stems: list[str]
    crops: Tensor
    masks: Tensor
    images: Tensor


@dataclass(frozen=True)
class _Crops(Dataset[CropBatch]):
    """Crops by position; an item is a batch of one.

    Attributes:
        settings: which say how large the image is that masks belong to, and their crops.
        pairs: mined.
        order: of them.
        images: that they were mined on.
        clip_input: how CLIP takes its images.
        seed: of the random crop and flip.
        current: row of the batch -> the image that it is at: its number, itself, and CLIP's view.
    """

    settings: TestSettings
    pairs: MaskTextPairs
    order: PairOrder
    images: BenchmarkImages
    clip_input: ClipInput
    seed: int
    current: dict[int, tuple[int, Tensor, Tensor]] = field(default_factory=dict)

    def __getitem__(self, position: int) -> CropBatch:
        pair = self.pairs[self.order[position]]
        rng = augmentation_stream(self.seed, position)
        image, view = self._read(position % self.order.rows, pair.image)
        mask = torch.from_numpy(pair.mask())[None]
        crops = masked_crops(image, mask, self.clip_input, self.settings.crop_expansion)
        share = rng.uniform(MIN_CROP, 1.0) ** 0.5
        size = self.clip_input.size
        side = max(1, round(share * size))
        top, left = (int(rng.integers(size - side + 1)) for _ in range(2))
        part = (..., slice(top, top + side), slice(left, left + side))
        crop = F.interpolate(crops.images[part], (size, size), mode="bicubic")
        mask = crops.masks[:, None][part].to(torch.uint8)
        mask = F.interpolate(mask, (size, size), mode="nearest")[:, 0].bool()
        if rng.random() < 0.5:
            crop, mask = crop.flip(-1), mask.flip(-1)
        return CropBatch([position], [pair.stem], crop * mask[:, None], mask, view)

    def _read(self, row: int, number: int) -> tuple[Tensor, Tensor]:
        if row not in self.current or self.current[row][0] != number:
            sides = self.settings.short_side, self.settings.longest_side
            image = resize(self.images.image(number), *sides)
            self.current[row] = (number, image, resize_for_clip([image], self.clip_input, False))
        return self.current[row][1:]


class _ShiftedTower(nn.Module):
    """CLIP on masked crops, in one forward pass, as distributed training needs it."""

    def __init__(self, scan: Scan, settings: ClipFinetune) -> None:
        super().__init__()
        self.clip = scan.network.clip
        self.original = scan.network.original_clip
        self.layers = settings.replace_layers if settings.contextual_shift else []
        self.ratio = settings.replace_ratio

    def train(self, mode: bool = True) -> Self:
        """CLIP has no dropout, and the statistics of its norms stay what they are."""
        return super().train(False)

    def forward(
        self, crops: Tensor, masks: Tensor, images: Tensor, generators: list[torch.Generator] | None
    ) -> Tensor:
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
        pairs: MaskTextPairs,
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
        exempt = {n for n, p in named if p.ndim < 2 or "ln_" in n or "bias" in n}
        self.optimizer = adamw(
            [p for n, p in named if n not in exempt],
            [p for n, p in named if n in exempt],
            settings.learning_rate,
            settings.weight_decay,
            **CLIP_ADAMW,
        )
        self.order = PairOrder(pairs.images, settings.batch_size, seed)
        self.text = scan.text_encoder(pairs.nouns).to(fabric.device)
        self.steps = max(1, settings.epochs * len(pairs) // settings.batch_size)

    def learning_rate(self, step: int) -> float:
        warmup = min(self.settings.warmup_steps, self.steps // 2)
        return self.settings.learning_rate * warmup_cosine(step, self.steps, warmup)

    def batches(self, first_step: int) -> Iterator[Sequence[list[CropBatch]]]:
        """One micro-batch per step, in the parts that its readers have read."""
        size, processes = self.settings.batch_size, self.fabric.world_size
        mine = micro_batches(first_step, size, self.fabric.global_rank, processes)
        readers = max(1, min(self.workers, size // processes))
        settings, clip_input = self.scan.settings, self.clip.visual.input
        dataset = _Crops(settings, self.pairs, self.order, self.images, clip_input, self.seed)
        positions, workers = rows_of_readers(mine, readers), min(self.workers, readers)
        for parts in read_steps(dataset, positions, workers, readers):
            yield [list(parts)]

    def losses(
        self,
        module: nn.Module,
        batch: list[CropBatch],
        step: int,
        batches: Sequence[list[CropBatch]],
    ) -> dict[str, Tensor]:
        generators = [
            seeded(torch.device("cpu"), self.seed, 104, p) for part in batch for p in part.positions
        ]
        _, _, *tensors = zip(*batch, strict=True)  # crops, masks and images of the readers
        drawn_by = None if self.scan.defects.global_random_draws else generators
        features = module(*map(torch.cat, tensors), drawn_by)
        # Every crop is compared to the nouns of the whole step, in all processes.
        features = all_gather(self.fabric, features)
        nouns, owners = self._nouns(step)
        scale, text = self.clip.logit_scale.exp(), self.text[nouns]
        if self.settings.loss == "diagonal":
            return {"loss": contrastive_loss(features, text[owners], scale)}
        return {"loss": multi_positive_loss(features, text, owners, scale)}

    def _nouns(self, step: int) -> list[Tensor]:
        """(U,) int64, the nouns of a step, and (N,) int64, which of these each crop shows.

        Every process knows them from the order alone.
        """
        size = self.settings.batch_size
        shown = [self.pairs.noun_of[self.order[step * size + row]] for row in range(size)]
        both = [torch.from_numpy(a).long() for a in np.unique(shown, return_inverse=True)]
        if self.fabric.device.type == "cuda":
            both = [tensor.pin_memory() for tensor in both]
        return [tensor.to(self.fabric.device, non_blocking=True) for tensor in both]

    def names(self, batch: list[CropBatch]) -> list[str]:
        return [stem for part in batch for stem in part.stems]
