"""The two trainings of the method, from files to a trained model."""

import logging
import os
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.inference.assembly import assemble
from scan_core.inference.scan import Scan
from scan_core.models.checkpoints import import_foreign
from scan_core.params.provenance import package_hash
from scan_core.params.recipe_part import RecipePart, as_text
from scan_core.params.schema.segmenter import Segmenter
from scan_core.storage.digest import file_digest
from scan_core.training.clip_finetune import FinetuneTask
from scan_core.training.loop import LoopSettings, train
from scan_core.training.mask_text_pairs import load_pairs
from scan_core.training.segmenter import SegmenterTask


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
) -> tuple[Scan, Path, bool]:
    """Train the segmenter.

    Args:
        part: of the segmenter stage.
        clip_file: CLIP's weights.
        backbone_file: ImageNet weights of Swin; None: random.
        index_file: of the training benchmark, with `train`, and `val` for validations.
        work: folder for checkpoints; the same call continues from them.
        devices: for each node, in Fabric's words.
        nodes: machines.
        workers: processes that read images, for each device.
        micro_batches: of each step and device (gradient accumulation).

    Returns:
        the trained model, the record of the training, and whether this is the first process.

    Raises:
        InputError: files that do not fit, or a loss that is not a number.
    """
    settings = _segmenter(part).training
    fabric = _fabric(settings.precision, devices, nodes)
    fabric.seed_everything(part.seed)
    scan = assemble(part, clip_file)
    if backbone_file is not None:
        import_foreign(scan.network, backbone_file, "backbone")
    scan.network.to(fabric.device)
    training_images = BenchmarkImages(index_file, "train")
    has_validation = "val" in training_images.index.splits
    task = SegmenterTask(
        fabric,
        scan,
        training_images,
        BenchmarkImages(index_file, "val") if has_validation else None,
        settings,
        _segmenter(part).loss,
        _segmenter(part).augmentation,
        part.seed,
        workers,
        micro_batches,
    )
    torch.manual_seed(part.seed)
    loop = LoopSettings(
        settings.steps,
        settings.gradient_clip,
        settings.checkpoint_every,
        settings.validate_every if has_validation else None,
    )
    # The index has the digest of every image and label map.
    identity = {
        "part": as_text(part),
        "code": package_hash(__name__),
        "data": file_digest(index_file),
        "clip": file_digest(clip_file),
        "backbone": file_digest(backbone_file) if backbone_file else None,
    }
    return scan, train(fabric, task, loop, work, identity), fabric.is_global_zero


def finetune_clip(
    part: RecipePart,
    clip_file: Path,
    pairs_file: Path,
    index_file: Path,
    work: Path,
    devices: str = "auto",
    nodes: int = 1,
    workers: int = 1,
) -> tuple[Scan, Path, bool]:
    """Fine-tune CLIP's image tower with masks.

    Args:
        part: of the fine-tuning stage.
        clip_file: CLIP's weights before.
        pairs_file: mined.
        index_file: of the benchmark that the pairs were mined on.
        work: see `train_segmenter`.
        devices: see `train_segmenter`.
        nodes: see `train_segmenter`.
        workers: see `train_segmenter`.

    Returns:
        a model with the fine-tuned CLIP, the record of the training, and whether this is the
        first process.
    """
    settings = part.clip_finetune
    if settings is None:
        raise InputError("--recipe-part: this stage needs the key 'clip_finetune'")
    fabric = _fabric(settings.precision, devices, nodes)
    scan = assemble(part, clip_file)
    scan.network.to(fabric.device)
    pairs = load_pairs(pairs_file)
    images = BenchmarkImages(index_file, "train")
    task = FinetuneTask(fabric, scan, pairs, images, settings, part.seed, workers)
    torch.manual_seed(part.seed)
    loop = LoopSettings(task.steps, gradient_clip=1.0, checkpoint_every=None, validate_every=None)
    identity = {
        "part": as_text(part),
        "code": package_hash(__name__),
        "data": file_digest(index_file),
        "pairs": file_digest(pairs_file),
        "clip": file_digest(clip_file),
    }
    return scan, train(fabric, task, loop, work, identity), fabric.is_global_zero


def _fabric(precision: str, devices: str, nodes: int) -> Fabric:
    accelerator = "auto" if torch.cuda.is_available() else "cpu"
    if accelerator == "cpu" and devices == "auto":
        devices = "1"
    count: int | str = int(devices) if devices.isdecimal() else devices
    # Within a job of SLURM, but not started by srun, Fabric has to start the processes itself.
    by_srun = "SLURM_STEP_NUM_TASKS" in os.environ
    by_nobody = SLURMEnvironment.detect() and not by_srun
    fabric = Fabric(
        accelerator=accelerator,
        devices=count,
        num_nodes=nodes,
        precision=precision,  # type: ignore[arg-type]
        plugins=[LightningEnvironment()] if by_nobody else [],
    )
    fabric.launch()
    if not fabric.is_global_zero:
        logging.getLogger().setLevel(logging.WARNING)
    return fabric


def _segmenter(part: RecipePart) -> Segmenter:
    if part.segmenter is None:
        raise InputError("--recipe-part: this stage needs the key 'segmenter'")
    return part.segmenter
