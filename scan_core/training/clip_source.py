"""CLIP's weights: from the package, open_clip's collection, or training."""

from pathlib import Path

import torch
from lightning_fabric import Fabric
from open_clip import CLIP

from scan_core.errors import InputError
from scan_core.models.checkpoints import load_strict
from scan_core.models.clip import build_clip, pretrained_config, tokenizer_for
from scan_core.models.packaged.files import load_packaged, packaged_file
from scan_core.params.schema.clip import Clip, ClipArchitecture
from scan_core.training.clip_pretrain import pretrain_clip
from scan_core.training.loop import Record


def obtain_clip(
    fabric: Fabric,
    clip: Clip,
    seed: int,
    work: Path,
    workers: int = 1,
    record: Record | None = None,
) -> tuple[CLIP, Path | None]:
    """CLIP with its weights.

    Args:
        fabric: launched; used where CLIP is trained.
        clip: of the recipe.
        seed: of its training.
        work: folder for checkpoints of the training.
        workers: processes that draw its pictures.
        record: see `loop.train`.

    Returns:
        the model, and the record of its training, if it was trained.

    Raises:
        InputError: a missing or wrong file, an unknown tag, or weights that cannot be fetched.
    """
    torch.manual_seed(seed)
    kind, _, source = clip.source.partition(":")
    if isinstance(clip.architecture, ClipArchitecture):
        model = build_clip(clip.architecture.model_dump())
    else:
        model = download_clip(clip.architecture, source)
    if kind == "packaged":
        path = packaged_file(source, "clip.source")
        load_strict(model, load_packaged(path)[0], str(path))
    if kind != "train":
        return model, None
    tokenizer = tokenizer_for(clip.model_dump()["architecture"])
    return model, pretrain_clip(fabric, model, tokenizer, clip, seed, work, workers, record)


def download_clip(architecture: str, tag: str) -> CLIP:
    """A CLIP of open_clip's collection.

    Raises:
        InputError: an unknown tag, or weights that cannot be fetched.
    """
    import open_clip  # slow to import, and not needed where CLIP comes from a file

    # Refuses what cannot be used before anything is fetched.
    model = build_clip(architecture, pretrained_config(architecture, tag))
    try:
        fetched = open_clip.create_model(architecture, pretrained=tag)
    except Exception as error:  # open_clip and the hub raise errors of many kinds
        raise InputError(
            f"clip.source: the weights open_clip:{tag} cannot be fetched ({error}). Without "
            "access to the internet, fetch them elsewhere and use 'clip:<path>'."
        ) from None
    tensors = {n.removeprefix("text."): t for n, t in fetched.state_dict().items()}
    load_strict(model, tensors, f"open_clip:{tag}")
    return model
