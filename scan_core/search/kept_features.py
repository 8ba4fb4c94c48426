"""What the networks said about the images of a benchmark, on disk: a search begins with it."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from scan_core.errors import InputError
from scan_core.evaluation.unfinished import UnfinishedShard
from scan_core.inference.image_features import CropSetting, ImageFeatures
from scan_core.inference.views import ImageViews, View
from scan_core.params.settings import TestSettings
from scan_core.storage.digest import file_digest
from scan_core.storage.tensors import load_tensors, save_tensors

_OF_VIEW = ("mask_logits", "peaks", "embeddings")


class KeptFeatures:
    """A folder of features, a file for each image. It takes as much disk as a search takes memory.

    Args:
        folder: of the benchmark. What is there of another identity is removed.
        identity: what the features depend on, for JSON.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        if folder.is_dir():
            for other in folder.iterdir():
                if other != self.folder:
                    shutil.rmtree(other)

    def load(self, number: int) -> ImageViews | None:
        """The features of an image; None where they are not there, or are damaged."""
        try:
            tensors, header = load_tensors(self._file(number))
            return _views(tensors, header["views"])
        except (InputError, KeyError, TypeError):
            return None

    def save(self, number: int, seen: ImageViews) -> None:
        """Keep the features of an image.

        Raises:
            DiskFullError: there is no space for them.
        """
        tensors: dict[str, Tensor] = {}
        views = []
        for index, view in enumerate(seen.views):
            one = view.image_features
            tensors |= {f"{index}.{name}": getattr(one, name) for name in _OF_VIEW}
            for crop, features in enumerate(one.crop_features.values()):
                tensors[f"{index}.crops.{crop}"] = features
            views.append(
                {
                    "size": one.size,
                    "padded": one.padded,
                    "mirrored": view.mirrored,
                    "crops": [asdict(setting) for setting in one.crop_features],
                }
            )
        save_tensors(self._file(number), tensors, {"views": views})

    def counting(self) -> UnfinishedShard:
        """Counts of the trials that are being scored."""
        return UnfinishedShard(self.folder / "unfinished.npz")

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.safetensors"


def features_identity(
    model: Path,
    index: Path,
    code: str,
    settings: Sequence[TestSettings],
    names: Sequence[Sequence[str]],
) -> dict[str, Any]:
    """What features of a benchmark's images, and counts made from them, depend on, for JSON.

    Args:
        model: the file of the weights.
        index: the benchmark's, which has the digest of every image.
        code: a hash of what runs.
        settings: that the images are encoded for.
        names: of the classes: those that it is scored by, and those that are predicted.
    """
    return {
        "model": file_digest(model),
        "index": file_digest(index),
        "code": code,
        "shown": [[one.view, asdict(CropSetting.of(one))] for one in settings],
        "names": names,
    }


def _crop_setting(values: Mapping[str, Any]) -> CropSetting:
    return CropSetting(**{**values, "replace_layers": tuple(values["replace_layers"])})


def _views(tensors: Mapping[str, Tensor], listed: Sequence[Mapping[str, Any]]) -> ImageViews:
    views = []
    for index, about in enumerate(listed):
        image_features = ImageFeatures(
            tuple(about["size"]),
            tuple(about["padded"]),
            **{name: tensors[f"{index}.{name}"] for name in _OF_VIEW},
            crop_features={
                _crop_setting(values): tensors[f"{index}.crops.{crop}"]
                for crop, values in enumerate(about["crops"])
            },
        )
        views.append(View(image_features, about["mirrored"]))
    return ImageViews(tuple(views))
