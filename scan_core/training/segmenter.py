"""Training of the segmenter: proposal network and semantic integration, on label maps."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import Dataset

from scan_core.datasets.loading import BenchmarkImages
from scan_core.datasets.transforms import SegmenterAugmentation
from scan_core.errors import InputError
from scan_core.evaluation.confusion import count_pixels, mean_iou
from scan_core.inference.assembly import assemble
from scan_core.inference.class_map import class_maps
from scan_core.inference.scan import Scan
from scan_core.models.checkpoints import import_foreign, start_from
from scan_core.models.dropout import sample_noise
from scan_core.models.preprocessing import backbone_input, resize_for_clip
from scan_core.params.recipe_part import RecipePart
from scan_core.params.schema.fields import weights_file
from scan_core.params.schema.segmenter import Augmentation, Segmenter
from scan_core.training.batches import (
    augmentation_stream,
    micro_batches,
    read_steps,
    sample_at,
    seeded,
)
from scan_core.training.criterion import PointDraws, SetCriterion, Target, draw_points
from scan_core.training.loop import LoopSettings, Record, Task, adamw, identity_of, train
from scan_core.training.processes import all_reduce, launch_fabric

VALIDATION_IMAGES = 500


def train_segmenter(
    part: RecipePart,
    clip_file: Path,
    backbone_file: Path | None,
    index_file: Path,
    work: Path,
    devices: str = "auto",
    nodes: int = 1,
    workers: int = 1,
    micro_batches: int = 1,
    record: Record | None = None,
    initial_weights: str = "none",
) -> tuple[Scan, Path, bool]:
    """Train the segmenter.

    Args:
        part: of the segmenter stage.
        clip_file: CLIP's weights.
        backbone_file: ImageNet weights of Swin; None: random.
        index_file: of the training benchmark, with `train`, and `val` for validations.
        work: folder for checkpoints; the same call continues from them.
        devices: per node: a number, or `auto`.
        nodes: machines.
        workers: processes that read images, per device.
        micro_batches: per step and device (gradient accumulation).
        record: see `loop.train`.
        initial_weights: kind and path of a checkpoint to start from; see `models.checkpoints`.

    Returns:
        the trained model, the record of the training, and whether this is the first process.

    Raises:
        InputError: files that do not fit, or a loss that is NaN or infinite.
    """
    if part.segmenter is None:
        raise InputError("--recipe-part: this stage needs the key 'segmenter'")
    settings = part.segmenter.training
    fabric = launch_fabric(settings.precision, devices, nodes)
    fabric.seed_everything(part.seed)
    scan = assemble(part, clip_file)
    if backbone_file is not None:
        import_foreign(scan.network, backbone_file, "backbone")
    if initial := weights_file(initial_weights):
        start_from(scan.network, Path(initial[1]), initial[0], scan.header["architecture"])
    scan.network.to(fabric.device)
    images = BenchmarkImages(index_file, "train")
    validation = BenchmarkImages(index_file, "val") if "val" in images.index.splits else None
    task = SegmenterTask(
        fabric, scan, images, validation, part.segmenter, part.seed, workers, micro_batches
    )
    torch.manual_seed(part.seed)
    loop = LoopSettings(
        settings.steps,
        settings.gradient_clip,
        settings.checkpoint_every,
        settings.validate_every if validation else None,
    )
    # The index has the digest of every image and label map.
    identity = identity_of(part, __name__, data=index_file, clip=clip_file, backbone=backbone_file)
    return scan, train(fabric, task, loop, work, identity, record), fabric.is_global_zero


class SegmenterBatch(NamedTuple):
    """A micro-batch.

    Attributes:
        positions: of its images in the sequence of all.
        names: of the images.
        images: (B, 3, S, S) uint8, padded.
        labels: (B, S, S) int32, −1 without ground truth.
        sizes: height and width of each image without the padding.
        classes: the classes in each image, int64.
    """

    positions: list[int]
    names: list[str]
    images: Tensor
    labels: Tensor
    sizes: list[tuple[int, int]]
    classes: list[Tensor]


@dataclass(frozen=True)
class _AugmentedImages(Dataset[SegmenterBatch]):
    """Augmented training images by position; an item is a batch of one."""

    images: BenchmarkImages
    augmentation: SegmenterAugmentation
    seed: int

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


def training_batches(
    images: BenchmarkImages,
    augmentation: Augmentation,
    seed: int,
    positions: Iterable[list[int]],
    workers: int,
    parts: int = 1,
) -> Iterator[Sequence[SegmenterBatch]]:
    """Micro-batches of augmented images, step after step, for ever.

    Args:
        images: the training split.
        augmentation: of the recipe.
        seed: of the order and of the augmentation.
        positions: of the micro-batches.
        workers: processes that read and augment; 0: this one.
        parts: micro-batches per step.
    """
    augment = SegmenterAugmentation(**augmentation.model_dump())
    return read_steps(_AugmentedImages(images, augment, seed), positions, workers, parts)


class SegmenterTask(Task):
    """The segmenter of a model, with its data and losses.

    Args:
        fabric: launched.
        scan: the model; CLIP's parts stay frozen.
        training_images: what to learn from.
        validation_images: of the same vocabulary; None: no validation.
        recipe: block `segmenter` of the recipe.
        seed: of all random numbers.
        workers: processes that read images.
        micro_batches: per step and process (gradient accumulation).
    """

    def __init__(
        self,
        fabric: Fabric,
        scan: Scan,
        training_images: BenchmarkImages,
        validation_images: BenchmarkImages | None,
        recipe: Segmenter,
        seed: int,
        workers: int,
        micro_batches: int = 1,
    ) -> None:
        self.fabric, self.scan, self.seed = fabric, scan, seed
        self.recipe, self.settings = recipe, recipe.training
        self.training_images, self.validation_images = training_images, validation_images
        self.workers, self.micro_batches = workers, micro_batches
        self.module = scan.network
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        self.optimizer = build_adamw(self.module, rate, decay)
        self.criterion = SetCriterion(
            **recipe.loss.model_dump(exclude={"oversample_ratio", "importance_ratio"}),
            discard_last_auxiliary=scan.defects.discard_last_auxiliary_loss,
        )
        self.text = scan.text_encoder(training_images.index.names).to(fabric.device)
        self._counted_step = -1
        self._mean_masks: float | Tensor = 0.0

    def learning_rate(self, step: int) -> float:
        s = self.settings
        factor = warmup_poly(step, s.steps, s.warmup_steps, s.warmup_factor, s.power)
        return s.learning_rate * factor

    def batches(self, first_step: int) -> Iterator[Sequence[SegmenterBatch]]:
        size, parts = self.settings.batch_size, self.micro_batches
        processes = self.fabric.global_rank, self.fabric.world_size
        positions = micro_batches(first_step, size, *processes, parts)
        images, augmentation = self.training_images, self.recipe.augmentation
        return training_batches(images, augmentation, self.seed, positions, self.workers, parts)

    def losses(
        self, module: nn.Module, batch: SegmenterBatch, step: int, batches: Sequence[SegmenterBatch]
    ) -> dict[str, Tensor]:
        device, images, labels = self.fabric.device, batch.images, batch.labels
        without_padding = [i[:, :h, :w] for i, (h, w) in zip(images, batch.sizes, strict=True)]
        as_released = self.scan.defects.nearest_padded_view
        view = resize_for_clip(
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
        if step != self._counted_step:
            self._mean_masks, self._counted_step = self._count_masks(batches), step
        draws = self._draws(batch, len(logits))
        losses = self.criterion(logits, proposals, targets, draws, self._mean_masks)
        return {
            "loss": losses.total,
            "loss_class": losses.classes.sum(),
            "loss_mask": losses.masks.sum(),
            "loss_dice": losses.dice.sum(),
        }

    def _count_masks(self, batches: Sequence[SegmenterBatch]) -> float | Tensor:
        """True masks of a micro-batch, on average over all of a step, in all processes.

        A step without any counts as one with a single one.
        """
        count = sum(len(classes) for batch in batches for classes in batch.classes)
        if self.fabric.world_size == 1:
            return max(count, 1) / len(batches)
        everywhere = all_reduce(self.fabric, torch.tensor(count, dtype=torch.float64), "sum")
        return everywhere.clamp(min=1) / (self.fabric.world_size * len(batches))

    def _draws(self, batch: SegmenterBatch, outputs: int) -> PointDraws:
        """Points that depend on the image alone, not on what is beside it."""
        device, loss, draws = self.fabric.device, self.recipe.loss, []
        points = loss.points, loss.oversample_ratio, loss.importance_ratio
        for position, classes in zip(batch.positions, batch.classes, strict=True):
            generator = seeded(device, self.seed, 103, position)
            uniform = partial(torch.rand, generator=generator, device=device)
            draws.append(draw_points(uniform, outputs, 1, len(classes), *points))
        return PointDraws(*(torch.cat(parts, dim=1) for parts in zip(*draws, strict=True)))

    def names(self, batch: SegmenterBatch) -> list[str]:
        return batch.names

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """MIoU in the training vocabulary, without CLIP, on up to 500 images of `val`."""
        images = self.validation_images
        assert images is not None  # the loop validates where there are some
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
        summed = all_reduce(self.fabric, counts, "sum")
        return {"validation_miou": mean_iou(summed.cpu().numpy())}


def decayed_and_not(module: nn.Module) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Trainable parameters by name, with and without weight decay.

    Norms, embedding modules and Swin's relative position biases have none; everything else has,
    biases and plain parameters included, as released.
    """
    decayed: dict[str, nn.Parameter] = {}
    exempt: dict[str, nn.Parameter] = {}
    for prefix, part in module.named_modules():
        for name, parameter in part.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            free = (
                isinstance(part, (nn.LayerNorm, nn.GroupNorm, nn.Embedding))
                or name == "relative_position_bias_table"
            )
            full = f"{prefix}.{name}" if prefix else name
            (exempt if free else decayed)[full] = parameter
    return decayed, exempt


def build_adamw(module: nn.Module, learning_rate: float, weight_decay: float) -> AdamW:
    """AdamW over the trainable parameters of a module, in the groups of `decayed_and_not`."""
    decayed, exempt = decayed_and_not(module)
    return adamw(decayed.values(), exempt.values(), learning_rate, weight_decay)


def warmup_poly(
    step: int, steps: int, warmup_steps: int, warmup_factor: float, power: float
) -> float:
    """Factor of the learning rate: polynomial decay from the first step, with linear warm-up.

    Args:
        step: 0-based.
        steps: of the whole training.
        warmup_steps: of the warm-up.
        warmup_factor: its first value.
        power: exponent of the decay.
    """
    decay = (1 - step / steps) ** power
    if step >= warmup_steps:
        return decay
    progress = step / warmup_steps
    return decay * (warmup_factor * (1 - progress) + progress)
