"""Training of the segmenter: proposal network and semantic integration, on label maps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset

from scan_core.datasets.loading import BenchmarkImages
from scan_core.datasets.transforms import SegmenterAugmentation
from scan_core.evaluation.confusion import count_pixels, mean_iou
from scan_core.inference.class_map import class_maps
from scan_core.inference.scan import Scan
from scan_core.models.dropout import sample_noise
from scan_core.models.preprocessing import backbone_input, clip_view
from scan_core.params.schema.segmenter import Augmentation, Loss, SegmenterTraining
from scan_core.training.batches import Batch, read_steps
from scan_core.training.criterion import SetCriterion
from scan_core.training.loop import Task
from scan_core.training.matcher import Target
from scan_core.training.optimizer import build_adamw, warmup_poly
from scan_core.training.points import PointDraws, draw_points
from scan_core.training.processes import total
from scan_core.training.sampler import (
    MicroBatches,
    augmentation_stream,
    sample_at,
    seeded,
)

VALIDATION_IMAGES = 500


@dataclass(frozen=True)
class SegmenterBatch(Batch):
    """A micro-batch.

    Attributes:
        positions: of its images in the sequence of all.
        names: of the images.
        images: (B, 3, S, S) uint8, padded.
        labels: (B, S, S) int32, −1 without ground truth.
        sizes: height and width of each image without the padding.
        classes: for each image the classes in it, int64.
    """

    positions: list[int]
    names: list[str]
    images: Tensor
    labels: Tensor
    sizes: list[tuple[int, int]]
    classes: list[Tensor]


class _AugmentedImages(Dataset[SegmenterBatch]):
    """Augmented training images by position; an item is a batch of one."""

    def __init__(
        self, images: BenchmarkImages, augmentation: SegmenterAugmentation, seed: int
    ) -> None:
        self.images, self.augmentation, self.seed = images, augmentation, seed

    def __getitem__(self, position: int) -> SegmenterBatch:
        number = sample_at(self.seed, position, len(self.images))
        rng = augmentation_stream(self.seed, position)
        sample = self.augmentation(self.images.image(number), self.images.label(number), rng)
        counts = torch.bincount(sample.label.flatten() + 1)  # far faster than `unique`, which sorts
        return SegmenterBatch(
            [position],
            [self.images.stem(number)],
            sample.image[None],
            sample.label[None].to(torch.int32),
            [sample.size],
            [counts[1:].nonzero().flatten()],
        )


def _joined(batches: Sequence[SegmenterBatch]) -> SegmenterBatch:
    return SegmenterBatch(
        [p for b in batches for p in b.positions],
        [n for b in batches for n in b.names],
        torch.cat([b.images for b in batches]),
        torch.cat([b.labels for b in batches]),
        [s for b in batches for s in b.sizes],
        [c for b in batches for c in b.classes],
    )


def training_batches(
    images: BenchmarkImages,
    augmentation: Augmentation,
    seed: int,
    batches: MicroBatches,
    workers: int,
) -> Iterator[Sequence[SegmenterBatch]]:
    """Micro-batches of augmented images, step after step, for ever.

    Args:
        images: the training split.
        augmentation: of the recipe.
        seed: of the order and of the augmentation.
        batches: which positions.
        workers: processes that read and augment; 0: this one.
    """
    augment = SegmenterAugmentation(
        (augmentation.short_side[0], augmentation.short_side[1]),
        **augmentation.model_dump(exclude={"short_side"}),
    )
    dataset = _AugmentedImages(images, augment, seed)
    return read_steps(dataset, batches, _joined, workers, batches.micro_batches, batches.processes)


class SegmenterTask(Task):
    """The segmenter of a model, with its data and losses.

    Args:
        fabric: launched.
        scan: the model; CLIP's parts stay frozen.
        training_images: what to learn from.
        validation_images: of the same vocabulary; None: no validation.
        settings: of the recipe.
        loss: of the recipe.
        augmentation: of the recipe.
        seed: of all random numbers.
        workers: processes that read images.
        micro_batches: of each step and process (gradient accumulation).
    """

    def __init__(
        self,
        fabric: Fabric,
        scan: Scan,
        training_images: BenchmarkImages,
        validation_images: BenchmarkImages | None,
        settings: SegmenterTraining,
        loss: Loss,
        augmentation: Augmentation,
        seed: int,
        workers: int,
        micro_batches: int = 1,
    ) -> None:
        self.fabric, self.scan, self.settings, self.loss = fabric, scan, settings, loss
        self.training_images, self.validation_images = training_images, validation_images
        self.augmentation, self.seed = augmentation, seed
        self.workers, self.micro_batches = workers, micro_batches
        self.module = scan.network
        self.optimizer = build_adamw(self.module, settings.learning_rate, settings.weight_decay)
        self.criterion = SetCriterion(
            loss.class_weight,
            loss.mask_weight,
            loss.dice_weight,
            loss.no_object_weight,
            loss.points,
            scan.defects.discard_last_auxiliary_loss,
        )
        self.text = scan.text_encoder(training_images.index.names).to(fabric.device)
        self._counted_step = -1
        self._mean: float | Tensor = 0.0

    def learning_rate(self, step: int) -> float:
        """Warm-up, then polynomial decay."""
        s = self.settings
        return s.learning_rate * warmup_poly(
            step, s.steps, s.warmup_steps, s.warmup_factor, s.power
        )

    def batches(self, first_step: int) -> Iterator[Sequence[SegmenterBatch]]:
        """See `Task`."""
        positions = MicroBatches(
            first_step,
            self.settings.batch_size,
            self.fabric.global_rank,
            self.fabric.world_size,
            self.micro_batches,
        )
        return training_batches(
            self.training_images, self.augmentation, self.seed, positions, self.workers
        )

    def losses(
        self, module: nn.Module, batch: SegmenterBatch, step: int, batches: Sequence[SegmenterBatch]
    ) -> dict[str, Tensor]:
        """See `Task`."""
        device, images, labels = self.fabric.device, batch.images, batch.labels
        without_padding = [i[:, :h, :w] for i, (h, w) in zip(images, batch.sizes, strict=True)]
        as_released = self.scan.defects.nearest_padded_view
        view = clip_view(
            list(images) if as_released else without_padding,
            self.scan.network.original_clip.input,
            as_released,
        )
        noise = [seeded(device, self.seed, 105, position) for position in batch.positions]
        with sample_noise(self.scan.network, noise):
            logits, proposals = module(
                backbone_input(list(images)), view, self.text, self.scan.logit_scale()
            )
        targets = [
            Target(classes, label[None] == classes[:, None, None])
            for classes, label in zip(batch.classes, labels, strict=True)
        ]
        losses = self.criterion(
            logits,
            proposals,
            targets,
            self._draws(batch, len(logits)),
            mean_masks=self._mean_masks(step, batches),
        )
        return {
            "loss": losses.total,
            "loss_class": losses.classes.sum(),
            "loss_mask": losses.masks.sum(),
            "loss_dice": losses.dice.sum(),
        }

    def _mean_masks(self, step: int, batches: Sequence[SegmenterBatch]) -> float | Tensor:
        """True masks of a micro-batch, on average over all of this step, everywhere.

        A step without any counts as one with a single one. The processes sum once a step.
        """
        if step != self._counted_step:
            own = sum(len(classes) for batch in batches for classes in batch.classes)
            everywhere = total(self.fabric, own)
            one = everywhere.clamp(min=1) if isinstance(everywhere, Tensor) else max(everywhere, 1)
            self._mean = one / (self.fabric.world_size * len(batches))
            self._counted_step = step
        return self._mean

    def _draws(self, batch: SegmenterBatch, outputs: int) -> PointDraws:
        """Points that depend on the image alone, not on what is beside it."""
        draws = []
        for position, classes in zip(batch.positions, batch.classes, strict=True):
            generator = seeded(self.fabric.device, self.seed, 103, position)

            def uniform(shape: tuple[int, ...], generator: torch.Generator = generator) -> Tensor:
                return torch.rand(shape, generator=generator, device=generator.device)

            draws.append(
                draw_points(
                    uniform,
                    outputs,
                    1,
                    len(classes),
                    self.loss.points,
                    self.loss.oversample_ratio,
                    self.loss.importance_ratio,
                )
            )
        return PointDraws(
            *(
                torch.cat([getattr(d, part) for d in draws], dim=1)
                for part in ("match", "candidates", "random")
            )
        )

    def names(self, batch: SegmenterBatch) -> list[str]:
        """See `Task`."""
        return batch.names

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """MIoU in the training vocabulary, without CLIP, on up to 500 images of `val`."""
        images = self.validation_images
        if images is None:
            return {}
        names = images.index.names
        side = len(names) + 1
        counts = torch.zeros(side, side, dtype=torch.int64, device=self.fabric.device)
        text = self.scan.embed(names)
        settings = self.scan.settings  # of a model in training: without CLIP
        count = min(VALIDATION_IMAGES, len(images))
        chosen = np.linspace(0, len(images) - 1, count).round().astype(int).tolist()
        for number in chosen[self.fabric.global_rank :: self.fabric.world_size]:
            truth = torch.from_numpy(images.label(number))
            (seen,) = self.scan.encode([images.image(number)], [settings])
            scores = self.scan.score(seen, text, settings)
            size = (truth.shape[0], truth.shape[1])
            (class_map,) = class_maps(seen.masks(size), [scores], size)
            counts += count_pixels(class_map, truth, len(names))
        if self.fabric.world_size > 1:
            summed = self.fabric.all_reduce(counts, reduce_op="sum")
            assert isinstance(summed, Tensor)
            counts = summed
        return {"validation_miou": mean_iou(counts.cpu().numpy())}
