"""Where CLIP's weights come from: the package, a file, open_clip's collection, or training."""

import logging
from pathlib import Path

import torch
from lightning_fabric import Fabric

from scan_core.datasets.miniworld.captions import captioned_cutouts, captioned_images
from scan_core.errors import InputError
from scan_core.models.checkpoints import load_strict
from scan_core.models.clip import build_clip, pretrained_config, tokenizer_for
from scan_core.models.clip_towers import CLIP
from scan_core.models.packaged.files import load_packaged, packaged_file
from scan_core.params.provenance import package_hash
from scan_core.params.schema.clip import Clip, ClipArchitecture
from scan_core.storage.tensors import load_foreign
from scan_core.training.clip_pretrain import ClipTask
from scan_core.training.loop import LoopSettings, train
from scan_core.vocabulary.prompts import prompt_templates

_log = logging.getLogger(__name__)


def obtain_clip(
    fabric: Fabric, clip: Clip, seed: int, work: Path, workers: int = 1
) -> tuple[CLIP, Path | None]:
    """CLIP with its weights.

    Args:
        fabric: launched; used where CLIP is trained.
        clip: of the recipe.
        seed: of its training.
        work: folder for checkpoints of the training.
        workers: processes that draw its pictures.

    Returns:
        the model, and the record of its training, if it was trained.

    Raises:
        InputError: a missing or wrong file, an unknown tag, or weights that cannot be fetched.
    """
    torch.manual_seed(seed)
    if isinstance(clip.architecture, ClipArchitecture):
        model = build_clip(clip.architecture.model_dump())
    elif clip.source.startswith("open_clip:"):
        model = _from_collection(clip.architecture, clip.source.removeprefix("open_clip:"))
    else:
        model = build_clip(clip.architecture)
    if clip.source.startswith("file:"):
        path = Path(clip.source.removeprefix("file:"))
        load_strict(model, load_foreign(path), str(path))
    elif clip.source.startswith("packaged:"):
        path = packaged_file(clip.source.removeprefix("packaged:"), "clip.source")
        load_strict(model, load_packaged(path)[0], str(path))
    if clip.source != "train":
        return model, None
    return model, _pretrain(fabric, model, clip, seed, work, workers)


def _from_collection(architecture: str, tag: str) -> CLIP:
    import open_clip  # slow to import, and not needed where CLIP comes from a file

    # Refuses what cannot be used before anything is fetched.
    model = build_clip(architecture, pretrained_config(architecture, tag))
    try:
        fetched = open_clip.create_model(architecture, pretrained=tag)
    except Exception as error:  # open_clip and the hub raise errors of many kinds
        raise InputError(
            f"clip.source: the weights open_clip:{tag} cannot be fetched ({error}). Where there "
            "is no way out, fetch them elsewhere and use 'file:<path>'."
        ) from None
    load_strict(model, fetched.state_dict(), f"open_clip:{tag}")
    return model


def _pretrain(fabric: Fabric, model: CLIP, clip: Clip, seed: int, work: Path, workers: int) -> Path:
    settings = clip.pretraining
    assert settings is not None  # the schema demands it with `source: train`
    size = model.visual.image_size[0]
    _log.info("drawing %d captioned pictures", settings.images + settings.cutouts)
    task = ClipTask(
        fabric,
        model,
        tokenizer_for(clip.model_dump()["architecture"]),
        prompt_templates("vild"),
        list(captioned_images(seed, settings.images, size, workers)),
        list(captioned_cutouts(seed, settings.cutouts, size, workers)),
        settings,
        seed,
    )
    loop = LoopSettings(
        settings.steps, gradient_clip=1.0, checkpoint_every=None, validate_every=None
    )
    identity = {"clip": clip.model_dump(), "seed": seed, "code": package_hash(__name__)}
    return train(fabric, task, loop, work, identity)
