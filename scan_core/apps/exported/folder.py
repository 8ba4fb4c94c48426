"""The folder of an exported model: its graphs, what else a prediction needs, and a class list."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scan_core.errors import InputError
from scan_core.params.settings import SettingsTable
from scan_core.storage.atomic import atomic_path

FORMAT = 1
DESCRIPTION, TEXT = "model.json", "text.npz"
PROPOSALS, CROPS = "proposals.onnx", "crops.onnx"


@dataclass(frozen=True)
class Pixels:
    """How a network takes its pixels: (value − mean) / std for each channel, RGB, of 0..255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class ClipPixels(Pixels):
    """How an image tower takes its images: squares, whose sides are `size` pixels."""

    size: int


@dataclass(frozen=True)
class Description:
    """What a prediction depends on besides the graphs, the class list and the image.

    Attributes:
        checkpoint: SHA-256 of the checkpoint; a class list belongs to the same one.
        test_settings: of the model, by benchmark.
        prompts: the templates of every set that the settings name.
        logit_scale: CLIP's own, where the settings say `learned`.
        seed: of contextual shift's draws.
        defects: the released defects, as the model repeats them.
        backbone: pixels of the proposal network.
        stride: images are padded below and to the right with zeros to multiples of it, pixels.
        largest_side: of an image with its padding, pixels.
        whole_image: the frozen CLIP's view of the whole image.
        crop: CLIP's view of a masked crop.
        crop_tokens: patches of a crop.
        crop_blocks: blocks of CLIP's image tower.
    """

    checkpoint: str
    test_settings: SettingsTable
    prompts: Mapping[str, tuple[str, ...]]
    logit_scale: float
    seed: int
    defects: Mapping[str, bool]
    backbone: Pixels
    stride: int
    largest_side: int
    whole_image: ClipPixels
    crop: ClipPixels
    crop_tokens: int
    crop_blocks: int

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        values = {
            **asdict(self),
            "format": FORMAT,
            "test_settings": self.test_settings.as_dict(),
        }
        path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def read_description(folder: Path) -> Description:
    """Read what `Description.write` wrote.

    Args:
        folder: of the exported model.

    Raises:
        InputError: no exported model, or of another version of this project.
    """
    path = folder / DESCRIPTION
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = values.pop("format")
        if found == FORMAT:
            table = SettingsTable.from_dict(values.pop("test_settings"))
            prompts = {name: tuple(templates) for name, templates in values.pop("prompts").items()}
            pixels: dict[str, Any] = {
                key: kind(**{k: _plain(v) for k, v in values.pop(key).items()})
                for key, kind in _PIXELS.items()
            }
            return Description(test_settings=table, prompts=prompts, **pixels, **values)
    except FileNotFoundError:
        raise InputError(
            f"{folder} is no exported model: it has no {DESCRIPTION}. Make one with "
            "`python -m scan_core.apps.export`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error}); export the model again") from None
    raise InputError(
        f"{path} has format {found}, this version reads {FORMAT}; export the model again"
    )


_PIXELS: dict[str, type[Pixels]] = {
    "backbone": Pixels,
    "whole_image": ClipPixels,
    "crop": ClipPixels,
}


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class ClassText:
    """A class list as text features.

    Attributes:
        names: K, of the classes.
        words: W, all synonyms, class by class.
        owners: (W,) int64, for each word its class.
        features: (W, E) float32, of unit length.
        no_object: (1, E) float32, of unit length.
        prompts: name of the set of templates around the words.
        checkpoint: see `Description`.
    """

    names: tuple[str, ...]
    words: tuple[str, ...]
    owners: NDArray[np.int64]
    features: NDArray[np.float32]
    no_object: NDArray[np.float32]
    prompts: str
    checkpoint: str

    def write(self, path: Path) -> None:
        """Write it atomically as .npz, which holds no pickles."""
        arrays = {name: np.asarray(value) for name, value in vars(self).items()}
        with atomic_path(path) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays)


def read_text(path: Path, model: Description) -> ClassText:
    """Read a class list.

    Args:
        path: of a file of `ClassText.write`.
        model: that it is for.

    Raises:
        InputError: unreadable, or made with another checkpoint.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            text = ClassText(
                names=tuple(map(str, file["names"])),
                words=tuple(map(str, file["words"])),
                owners=file["owners"],
                features=file["features"],
                no_object=file["no_object"],
                prompts=str(file["prompts"]),
                checkpoint=str(file["checkpoint"]),
            )
    except FileNotFoundError:
        raise InputError(f"text features {path} do not exist") from None
    except Exception as error:  # NumPy and zipfile raise whatever damage makes of their parts
        raise InputError(f"text features {path} cannot be read: {error}") from None
    if text.checkpoint != model.checkpoint:
        raise InputError(
            f"text features {path} were made with another checkpoint than the exported model; "
            "make them with its own: `python -m scan_core.apps.export --format text`"
        )
    return text
