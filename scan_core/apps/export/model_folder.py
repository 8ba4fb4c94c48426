"""A model and a class list, written as a folder for `scan_core.apps.exported`."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from scan_core.apps.export.onnx_files import crop_graph, proposal_graph, write_graph
from scan_core.apps.exported.folder import (
    CROPS,
    DESCRIPTION,
    PROPOSALS,
    TEXT,
    ClassText,
    ClipPixels,
    Description,
    Pixels,
)
from scan_core.apps.own_classes import OwnClasses
from scan_core.errors import InputError
from scan_core.inference.scan import Scan
from scan_core.models.clip import blocks
from scan_core.models.clip_towers import ClipInput
from scan_core.models.proposal_network import PIXEL_MEAN, PIXEL_STD, STRIDE
from scan_core.params.settings import SettingsTable, TestSettings
from scan_core.storage.atomic import atomic_folder
from scan_core.vocabulary.prompts import prompt_templates


def export_model(
    scan: Scan, classes: OwnClasses, folder: Path, largest_side: int | None = None
) -> None:
    """Write a model as ONNX graphs, with all that a prediction needs besides.

    Args:
        scan: from `chosen_model`, on the CPU; its settings become the default.
        classes: the class list.
        folder: to write; it must not exist, or be empty.
        largest_side: of the images that the graphs take, padding included, pixels, rounded up to a
            multiple of 32; None: what the settings can ask for.

    Raises:
        InputError: the folder is not empty, the model repeats a defect that no file can hold, or
            the class names cannot be read by CLIP.
    """
    check_empty(folder)
    if scan.defects.global_random_draws:
        raise InputError(
            "a model with the released defect 'global_random_draws' cannot be exported: its draws "
            "come from the state of a Python process. Export with a recipe that sets it to false"
        )
    description = _description(scan, largest_side)
    text = class_text(scan, classes)
    with atomic_folder(folder) as made:
        write_graph(made / PROPOSALS, proposal_graph(scan.network, description.largest_side))
        write_graph(made / CROPS, crop_graph(scan.network.clip.visual))
        text.write(made / TEXT)
        description.write(made / DESCRIPTION)


def export_text(scan: Scan, classes: OwnClasses, folder: Path) -> None:
    """Write a class list alone, for a model that is exported already.

    Args:
        scan: see `export_model`.
        classes: the class list.
        folder: see `export_model`.

    Raises:
        InputError: see `export_model`.
    """
    check_empty(folder)
    text = class_text(scan, classes)
    with atomic_folder(folder) as made:
        text.write(made / TEXT)


def check_empty(folder: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        InputError: it does, or it is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder} exists and is not an empty folder; name another --out, or remove it"
        )


def class_text(scan: Scan, classes: OwnClasses) -> ClassText:
    """The text features of a class list, by the prompts of the model's settings."""
    features = scan.embed(classes.words).cpu().numpy()
    return ClassText(
        names=classes.names,
        words=classes.words,
        owners=np.asarray(classes.owners, np.int64),
        features=features[:-1],
        no_object=features[-1:],
        prompts=scan.settings.prompts,
        checkpoint=scan.header["checkpoint"]["sha256"],
    )


def _description(scan: Scan, largest_side: int | None) -> Description:
    table = SettingsTable(
        _in_float32(scan.settings),
        {name: _in_float32(one) for name, one in scan.settings_table.benchmarks.items()},
    )
    every = [table.default, *table.benchmarks.values()]
    asked = max(round(scale * one.longest_side) for one in every for scale in one.scales)
    visual = scan.network.clip.visual
    return Description(
        checkpoint=scan.header["checkpoint"]["sha256"],
        test_settings=table,
        prompts={one.prompts: prompt_templates(one.prompts) for one in every},
        logit_scale=float(scan.network.clip.logit_scale.exp()),
        seed=scan.header["seed"],
        defects=scan.defects.model_dump(),
        backbone=Pixels(PIXEL_MEAN, PIXEL_STD),
        stride=STRIDE,
        largest_side=-(-(asked if largest_side is None else largest_side) // STRIDE) * STRIDE,
        whole_image=_clip_pixels(scan.network.original_clip.input),
        crop=_clip_pixels(visual.input),
        crop_tokens=len(visual.positional_embedding) - 1,
        crop_blocks=len(blocks(visual)),
    )


def _in_float32(settings: TestSettings) -> TestSettings:
    """The settings as the graphs compute."""
    return replace(settings, precision="float32")


def _clip_pixels(taken: ClipInput) -> ClipPixels:
    return ClipPixels(tuple(taken.mean), tuple(taken.std), taken.size)
